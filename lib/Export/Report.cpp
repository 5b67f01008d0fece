//===- Report.cpp - A plan for people --------------------------------------===//
#include "moai/Export/Report.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>

using namespace moai;

// More rows than this are counted, not shown; plan.json has all.
static constexpr size_t kShownCandidates = 8;

std::string moai::groupDigits(int64_t number) {
  std::string digits = std::to_string(number);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

static std::string scaledBytes(int64_t bytes) {
  const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double scaled = static_cast<double>(bytes);
  size_t unit = 0;
  for (; scaled >= 1024 && unit + 1 < std::size(units); ++unit)
    scaled /= 1024;
  return absl::StrFormat("%.2f %s", scaled, units[unit]);
}

static double toGiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

static int64_t peakOf(const Candidate &candidate) {
  int64_t peak = 0;
  for (const StageProgram &stage : candidate.stages)
    peak = std::max(peak, stage.memory.total());
  return peak;
}

// Survivors by time, then the rejected by how much they missed.
static std::vector<size_t> ranked(const Plan &plan) {
  std::vector<size_t> order;
  for (size_t i = 0; i < plan.candidates.size(); ++i)
    order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const Candidate &x = plan.candidates[a], &y = plan.candidates[b];
    if (x.rejected.has_value() != y.rejected.has_value())
      return !x.rejected;
    return x.rejected ? x.rejected->bytesOver < y.rejected->bytesOver : x.stepSeconds < y.stepSeconds;
  });
  return order;
}

static void printCandidates(const Plan &plan, llvm::raw_ostream &os) {
  os << "   stages  micro-batches  batch/device  recompute  low-prec      step  peak/device\n";
  std::vector<size_t> order = ranked(plan);
  for (size_t row = 0; row < order.size() && row < kShownCandidates; ++row) {
    const Candidate &candidate = plan.candidates[order[row]];
    const ParallelConfig &config = candidate.config;
    os << absl::StrFormat(" %s %6d  %13d  %12d  %9s  %8s  ", order[row] == plan.selected ? ">" : " ", config.numStages,
                          config.numMicroBatches, config.batchPerDevice, toString(config.recomputation),
                          config.lowPrecisionParams ? "yes" : "no");
    os << (candidate.stepSeconds > 0 ? absl::StrFormat("%7.3fs", candidate.stepSeconds) : "       -");
    if (!candidate.stages.empty())
      os << absl::StrFormat("  %7.1f GiB", toGiB(peakOf(candidate)));
    if (candidate.rejected)
      os << (candidate.rejected->phase == "memory" ? absl::StrFormat("  does not fit: %.1f GiB over", toGiB(candidate.rejected->bytesOver))
                                                   : "  " + candidate.rejected->reason);
    os << "\n";
  }
  if (order.size() > kShownCandidates)
    os << "   ... and " << order.size() - kShownCandidates << " more in plan.json\n";
}

void moai::printReport(const Plan &plan, llvm::raw_ostream &os) {
  const Candidate &best = plan.candidates[*plan.selected];
  os << "\n" << groupDigits(plan.model.parameters) << " parameters, global batch " << plan.globalBatches.front();
  if (plan.model.hasSequence)
    os << " x " << plan.model.binding.values[kSequenceSymbol] << " tokens";
  os << absl::StrFormat("; %.1f GiB of each device may be used (%.0f %%)\n\n", toGiB(plan.memoryLimit()), 100 * plan.memoryRatio);
  printCandidates(plan, os);

  os << absl::StrFormat("\nStep %.3f s", best.stepSeconds);
  if (plan.model.hasSequence)
    os << ", " << groupDigits(static_cast<int64_t>(plan.tokensPerSecond())) << " tokens/s";
  else
    os << absl::StrFormat(", %.1f samples/s", plan.samplesPerSecond());
  os << ", of which";
  struct Share {
    const char *name;
    double seconds;
  };
  for (const Share &share : {Share{"forward", best.cost.forward},
                             {"backward", best.cost.backward},
                             {"recompute", best.cost.recompute},
                             {"bubble", best.cost.bubble},
                             {"transfer", best.cost.transfer},
                             {"gather", best.cost.parameterGather},
                             {"reduce", best.cost.gradientReduce},
                             {"optimizer", best.cost.optimizer}})
    if (share.seconds / best.stepSeconds >= 0.001)
      os << absl::StrFormat("  %s %.1f %%", share.name, 100 * share.seconds / best.stepSeconds);
  os << "\n\n   stage  parameters  gradients  optimizer  activations  temporary     total  peak in the   (GiB per device)\n";
  for (auto [index, stage] : llvm::enumerate(best.stages)) {
    const StageMemory &m = stage.memory;
    os << absl::StrFormat("   %5d  %10.1f  %9.1f  %9.1f  %11.1f  %9.1f  %8.1f  %s\n", index, toGiB(m.parameters + m.buffers + m.inputs),
                          toGiB(m.gradients), toGiB(m.optimizerStates), toGiB(m.activations), toGiB(m.temporaries + m.workspace),
                          toGiB(m.total()), m.peakPhase);
  }
}

void moai::printDescription(const ModelSummary &model, llvm::raw_ostream &os) {
  os << model.path << "\n";
  for (const std::string &input : model.inputs)
    os << "  input       " << input << "\n";
  os << "  parameters  " << groupDigits(model.parameters) << absl::StrFormat(" (%.2f GiB)\n", toGiB(model.parameterBytes));
  os << "  forward     " << groupDigits(static_cast<int64_t>(model.forwardFlops)) << " FLOPs at batch "
     << model.binding.values[kBatchSymbol];
  if (model.hasSequence)
    os << ", sequence " << model.binding.values[kSequenceSymbol];
  if (model.totalFlops > 0)
    os << "\n  training    " << groupDigits(static_cast<int64_t>(model.totalFlops)) << " FLOPs with the backward";
  os << "\n  ops         " << model.ops << "\n";
  for (const ModelBlock &block : model.blocks)
    os << "  block       " << block.name << " x " << block.repeats << ": " << block.ops << " ops, " << groupDigits(block.parameters)
       << " parameters\n";
  for (const ModelAttention &kind : model.attention) {
    os << "  attention   " << kind.count << " x " << kind.kind;
    if (kind.window)
      os << " of " << kind.window;
    os << ", " << kind.queryHeads << " heads of " << kind.width;
    if (kind.keyHeads != kind.queryHeads)
      os << ", " << kind.keyHeads << " key heads";
    os << "\n";
  }
  if (model.experts)
    os << "  experts     " << model.experts << "\n";
  if (model.largestTensorBytes)
    os << "  largest     " << scaledBytes(model.largestTensorBytes) << " of one sample, by " << model.largestTensor << "\n";
  if (!model.hasLoss)
    os << "  no loss     the graph returns no scalar; it can be described, not planned\n";
  for (const std::string &target : model.opaqueOps)
    os << "  opaque op   " << target << "\n";
  for (const std::string &assumption : model.assumptions)
    os << "  assumed     " << assumption << "\n";
}

//===----------------------------------------------------------------------===//
// Saved tensors
//===----------------------------------------------------------------------===//

// `model.layers.3.mlp` -> `model.layers.*.mlp`
static std::string anyInstance(llvm::StringRef path) {
  llvm::SmallVector<llvm::StringRef> parts;
  path.split(parts, '.');
  for (llvm::StringRef &part : parts)
    if (!part.empty() && llvm::all_of(part, llvm::isDigit))
      part = "*";
  return path.empty() ? "(loss)" : llvm::join(parts, ".");
}

static std::string shapeText(const SavedTensor &tensor) {
  std::string text;
  for (int64_t size : tensor.shape)
    absl::StrAppend(&text, text.empty() ? "" : " x ", size);
  return absl::StrCat(tensor.type, " ", text.empty() ? "scalar" : text);
}

namespace {
/// Storages that differ in their instances alone.
struct SavedRow {
  std::string what, shape, holders;
  int64_t bytes = 0, count = 0;
};
} // namespace

static SavedRow rowOf(const SavedTensor &tensor) {
  SavedRow row;
  row.what = tensor.name.empty() ? absl::StrCat(anyInstance(tensor.maker.module), ": ", tensor.maker.op)
                                 : absl::StrCat(tensor.role, " ", anyInstance(tensor.name));
  row.shape = shapeText(tensor);
  row.bytes = tensor.bytes;
  std::vector<std::string> holders;
  for (const SavedTensorUser &holder : tensor.holders)
    if (std::string text = absl::StrCat(anyInstance(holder.module), ": ", holder.op); !llvm::is_contained(holders, text))
      holders.push_back(text);
  row.holders = llvm::join(holders, ", ");
  return row;
}

void moai::printSavedTensors(const std::vector<SavedTensor> &tensors, llvm::raw_ostream &os) {
  std::vector<SavedRow> rows;
  int64_t activations = 0;
  for (const SavedTensor &tensor : tensors) {
    SavedRow row = rowOf(tensor);
    auto same = llvm::find_if(
        rows, [&](const SavedRow &known) { return known.what == row.what && known.shape == row.shape && known.holders == row.holders; });
    (same == rows.end() ? rows.emplace_back(std::move(row)) : *same).count += 1;
    activations += tensor.role == "activation" ? tensor.bytes : 0;
  }
  os << "\nSaved for the backward: " << tensors.size() << " storages, of which activations hold " << groupDigits(activations)
     << " bytes\n\n";
  for (const SavedRow &row : rows)
    os << llvm::formatv("  {0,4} x {1,15}  {2}\n         {3}\n         held by {4}\n", row.count, groupDigits(row.bytes), row.shape,
                        row.what, row.holders);
}
