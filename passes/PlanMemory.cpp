//===- PlanMemory.cpp - Peak memory of every stage -------------------------===//
#include "moai/Passes/Pipelines.h"
#include "moai/Plan/Cost.h"

namespace moai {
#define GEN_PASS_DEF_PLANMEMORY
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

struct PlanMemoryPass : public moai::impl::PlanMemoryBase<PlanMemoryPass> {
  using PlanMemoryBase::PlanMemoryBase;
  explicit PlanMemoryPass(CandidateAnalyses &analyses) : shared(&analyses) {}
  void runOnOperation() override;

private:
  CandidateAnalyses *shared = nullptr;
};

/// Plays a stage's tasks through. Parameters, states, accumulators and the step's inputs stay all the time, what `load` makes
/// until the end; a micro-batch in flight holds what its forward saved, which its backward takes over and frees.
class StagePlan {
public:
  StagePlan(func::FuncOp stage, MemoryWalk &walk, const MemoryModel &model);
  StageMemory plan();

private:
  void countArguments();
  void measureForward();
  ConsumedStorages storagesOfBackward();
  void visit(const char *phase, const FunctionMemory &running, StageMemory beside, int64_t ownSaved);

  func::FuncOp stage;
  MemoryWalk &walk;
  ArrayRef<int64_t> tasks;
  func::CallOp load, forward, backward, update;
  StageMemory base, worst;
  DenseMap<Value, unsigned> returned; ///< by the stage's function: number of its first result
  DenseSet<unsigned> stays;           ///< storages of the forward's results that the step returns
  int64_t saved = 0, loss = 0;        ///< of one micro-batch
};

} // namespace

StagePlan::StagePlan(func::FuncOp stage, MemoryWalk &walk, const MemoryModel &model)
    : stage(stage), walk(walk), tasks(stage->getAttrOfType<DenseI64ArrayAttr>(attrs::kSchedule).asArrayRef()) {
  for (auto call : stage.getOps<func::CallOp>()) {
    StringRef part = call.getCallee().rsplit('.').second;
    (part == "load" ? load : part == "forward" ? forward : part == "backward" ? backward : update) = call;
  }
  for (auto [number, value] : llvm::enumerate(stage.getBody().front().getTerminator()->getOperands()))
    returned.try_emplace(value, number);
  base.workspace = model.workspaceBytes;
  countArguments();
}

void StagePlan::countArguments() {
  int64_t microBatches = llvm::count_if(tasks, [](int64_t task) { return task > 0; });
  for (BlockArgument argument : stage.getArguments()) {
    auto attribute = stage.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole);
    StringRef role = attribute ? attribute.getValue() : "";
    int64_t size = walk.bytes(argument);
    if (role == "parameter" || role == "frozen")
      base.parameters += size;
    else if (role == "master_parameter" || role == "first_moment" || role == "second_moment")
      base.optimizerStates += size;
    else if (role == "gradient_accumulator")
      base.gradients += size;
    else if (role == "input")
      base.inputs += size * microBatches;
    else
      base.buffers += size;
  }
}

// Each storage that the forward returns once: the loss stays to the end, what the backward reads until it is done.
void StagePlan::measureForward() {
  const FunctionMemory &facts = walk.ofCallee(forward);
  DenseSet<unsigned> kept, losses; // storages that the backward reads, and that the step returns
  for (auto [result, parts] : llvm::zip(forward.getResults(), facts.results)) {
    bool isSaved = llvm::is_contained(result.getUsers(), backward);
    auto it = returned.find(result);
    for (const ResultPart &part : parts) {
      if (isSaved)
        kept.insert(part.storage);
      if (it == returned.end())
        continue;
      stays.insert(part.storage);
      if (!stage.getResultAttr(it->second, attrs::kUpdates))
        losses.insert(part.storage);
    }
  }
  for (const auto &parts : facts.results)
    for (const ResultPart &part : parts) {
      int64_t size = part.isFirst && part.argument < 0 ? part.bytes * part.storages : 0;
      if (losses.contains(part.storage))
        loss += size;
      else if (kept.contains(part.storage))
        saved += size;
    }
}

// What the forward left, and what has arrived for this backward alone.
ConsumedStorages StagePlan::storagesOfBackward() {
  ConsumedStorages consumed(backward.getNumOperands());
  if (!forward)
    return consumed;
  const FunctionMemory &facts = walk.ofCallee(forward);
  for (auto [number, operand] : llvm::enumerate(backward.getOperands())) {
    if (operand.getDefiningOp() != forward)
      continue;
    for (const ResultPart &part : facts.results[cast<OpResult>(operand).getResultNumber()]) {
      bool isTaken = part.argument < 0 && !stays.contains(part.storage);
      consumed[number].push_back({isTaken ? part.bytes : 0, part.count, part.storages, part.storage, /*isSaved=*/true});
    }
  }
  return consumed;
}

// `beside` is what stays while a part runs, of which `ownSaved` bytes are counted in the part's own memory.
void StagePlan::visit(const char *phase, const FunctionMemory &running, StageMemory beside, int64_t ownSaved) {
  beside.gradients += running.peakResults;
  beside.activations += ownSaved;
  beside.temporaries = running.peak - running.peakResults - ownSaved;
  if (beside.total() <= worst.total())
    return;
  worst = beside;
  worst.peakPhase = phase;
  worst.peakOp = running.peakOp;
}

static int64_t resultBytes(const FunctionMemory &memory) {
  int64_t total = 0;
  for (unsigned result = 0; result < memory.results.size(); ++result)
    total += memory.ownBytes(result);
  return total;
}

StageMemory StagePlan::plan() {
  worst = base;
  StageMemory now = base;
  auto withoutResults = [](FunctionMemory memory) {
    memory.peakResults = 0;
    return memory;
  };
  if (load) {
    visit("load", withoutResults(walk.ofCallee(load)), now, 0);
    now.parameters += resultBytes(walk.ofCallee(load));
  }
  if (forward)
    measureForward();
  ConsumedStorages consumed = backward ? storagesOfBackward() : ConsumedStorages();
  FunctionMemory forwardMemory = forward ? withoutResults(walk.ofCallee(forward)) : FunctionMemory();
  FunctionMemory backwardMemory = backward ? walk.ofCallee(backward, consumed) : FunctionMemory();
  for (int64_t task : tasks) {
    if (task > 0) {
      visit("forward", forwardMemory, now, std::min(saved, forwardMemory.peak));
      now.activations += saved + loss;
      continue;
    }
    now.activations -= saved;
    visit("backward", backwardMemory, now, backwardMemory.peakSaved);
    now.gradients += resultBytes(backwardMemory);
  }
  if (update)
    visit("optimizer", withoutResults(walk.ofCallee(update)), now, 0);
  worst.saved = saved + loss;
  worst.forwardPeak = forwardMemory.peak;
  worst.forwardPeakOp = forwardMemory.peakOp;
  worst.backwardPeak = backwardMemory.peak;
  worst.backwardPeakOp = backwardMemory.peakOp;
  return worst;
}

static DictionaryAttr toAttribute(const StageMemory &memory, Builder builder) {
  auto number = [&](StringRef name, int64_t value) { return builder.getNamedAttr(name, builder.getI64IntegerAttr(value)); };
  auto text = [&](StringRef name, StringRef value) { return builder.getNamedAttr(name, builder.getStringAttr(value)); };
  return builder.getDictionaryAttr({
      number("activations", memory.activations),
      number("backward_peak", memory.backwardPeak),
      text("backward_peak_op", memory.backwardPeakOp),
      number("buffers", memory.buffers),
      number("forward_peak", memory.forwardPeak),
      text("forward_peak_op", memory.forwardPeakOp),
      number("gradients", memory.gradients),
      number("inputs", memory.inputs),
      number("optimizer_states", memory.optimizerStates),
      number("parameters", memory.parameters),
      text("peak_op", memory.peakOp),
      text("peak_phase", memory.peakPhase),
      number("saved", memory.saved),
      number("temporaries", memory.temporaries),
      number("total", memory.total()),
      number("workspace", memory.workspace),
  });
}

void PlanMemoryPass::runOnOperation() {
  ModuleOp module = getOperation();
  MemoryWalk own(getBinding(module), granularity);
  MemoryWalk &walk = shared ? shared->memory : own;
  MemoryModel model = shared ? shared->memoryModel : MemoryModel{granularity, workspace};
  walk.forgetCandidate();
  for (auto stage : module.getOps<func::FuncOp>())
    if (stage->hasAttr(attrs::kSchedule))
      stage->setAttr(attrs::kMemory, toAttribute(StagePlan(stage, walk, model).plan(), Builder(&getContext())));
}

std::unique_ptr<Pass> moai::createPlanMemory(CandidateAnalyses &analyses) { return std::make_unique<PlanMemoryPass>(analyses); }
