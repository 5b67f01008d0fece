//===- PartitionStages.cpp - Assigns ops to pipeline stages ----------------===//
#include "CandidateInput.h"
#include "OpLabels.h"
#include "Recompute.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Schedule/PipelineSchedule.h"
#include "llvm/ADT/MapVector.h"
#include <cmath>

namespace moai {
#define GEN_PASS_DEF_PARTITIONSTAGES
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

/// A forward op that depends on parameters, with the backward ops that belong to it.
struct Atom {
  Operation *op;
  int64_t picoseconds = 0;    ///< forward, backward and recomputation
  int64_t stateBytes = 0;     ///< parameters that it reads, their gradients and optimizer states
  int64_t savedBytes = 0;     ///< kept for the backward by each micro-batch in flight
  int64_t transientBytes = 0; ///< while it runs
  int64_t crossingBytes = 0;  ///< forward values needed after it
  bool isBlock = false;       ///< a call whose forward can be repeated in the backward
};

/// What a stage's atoms add up to.
struct Load {
  int64_t picoseconds = 0, bytes = 0, transientBytes = 0;
  void add(const Atom &atom, int64_t inFlight) {
    picoseconds += atom.picoseconds;
    bytes += atom.stateBytes + atom.savedBytes * inFlight;
    transientBytes = std::max(transientBytes, atom.transientBytes);
  }
};

/// How good a split is, most important first.
struct Score {
  int64_t missing = 0; ///< blocks to be recomputed that a stage doesn't have
  int64_t excess = 0;  ///< bytes beyond the limit, on the worst stage
  int64_t slowest = 0; ///< picoseconds
  int64_t largest = 0; ///< bytes
  int64_t traffic = 0; ///< bytes
  bool operator<(const Score &o) const {
    return std::tie(missing, excess, slowest, largest, traffic) < std::tie(o.missing, o.excess, o.slowest, o.largest, o.traffic);
  }
};

struct PartitionStagesPass : public moai::impl::PartitionStagesBase<PartitionStagesPass> {
  using PartitionStagesBase::PartitionStagesBase;
  explicit PartitionStagesPass(CandidateAnalyses &analyses) : shared(&analyses) {}
  void runOnOperation() override;

private:
  FailureOr<std::vector<Atom>> collectAtoms(func::FuncOp step, const ParallelConfig &config, CandidateAnalyses &analyses);
  LogicalResult splitWithCounts(func::FuncOp step, const ParallelConfig &config, ArrayRef<int64_t> inFlight, CandidateAnalyses &analyses);
  std::pair<Load, int64_t> loadWithCount(size_t first, size_t end, int64_t count, int64_t inFlight) const;
  /// First atom of each stage, which has that many micro-batches in flight.
  SmallVector<size_t> split(ArrayRef<int64_t> inFlight, int64_t limit, ArrayRef<int64_t> firstBlocks) const;
  void labelOps(func::FuncOp step, ArrayRef<size_t> starts);
  void replicateInactive(func::FuncOp step, int64_t stages);
  void separateTied(func::FuncOp step);
  void insertTransfers(func::FuncOp step, int64_t stages);
  CandidateAnalyses *shared = nullptr;
  std::optional<OpLabels> labels;
  std::vector<Atom> atoms;
  std::vector<Atom> recomputed; ///< the same, each block repeated, without ops; empty unless stages repeat their first blocks
};

} // namespace

/// Bytes of a parameter on each device of its stage, as DistributeParams will lay it out.
static int64_t countStateBytes(SymTensorType type, const ParallelConfig &config, const OptimizerPolicy &policy, const DimBinding &binding) {
  int64_t elements = type.countElements(binding), exported = elements ? type.countBytes(binding) / elements : 0;
  const PrecisionPolicy &precision = policy.precision;
  int64_t copy = widthOf(config.lowPrecisionParams ? precision.parameter : FloatKind::Float32, exported);
  int64_t master = widthOf(precision.master, exported), states = policy.numStates() * widthOf(precision.state, exported);
  int64_t gradient = config.numMicroBatches > 1 ? widthOf(precision.accumulation, exported) : exported;
  if (config.zero > 0)
    return elements * (master + states) / config.dataParallel + elements * (copy + gradient);
  return elements * (states + master + (master == copy ? 0 : copy) + gradient);
}

FailureOr<std::vector<Atom>> PartitionStagesPass::collectAtoms(func::FuncOp step, const ParallelConfig &config,
                                                               CandidateAnalyses &analyses) {
  std::vector<Atom> atoms;
  OptimizerPolicy policy = getOptimizer(step->getParentOfType<ModuleOp>());
  MemoryWalk &memory = analyses.memory;
  auto storageBytes = [&](OpResult result) {
    auto call = dyn_cast<func::CallOp>(result.getOwner());
    return call ? memory.of(call).resultBytes[result.getResultNumber()] : memory.bytes(result);
  };
  auto peakOf = [&](Operation *op) {
    if (auto call = dyn_cast<func::CallOp>(op))
      return memory.of(call).peak;
    int64_t peak = 0;
    for (Value result : op->getResults())
      peak += memory.bytes(result);
    return peak;
  };
  DenseMap<int64_t, size_t> byPosition;
  for (Operation &op : step.getBody().front().without_terminator()) {
    int64_t position = labels->position(&op);
    if (position < 0)
      continue;
    bool isBackward = labels->isBackward(&op);
    if (!isBackward) {
      byPosition[position] = atoms.size();
      atoms.emplace_back();
      Atom &atom = atoms.back();
      atom.op = &op;
      for (Value operand : op.getOperands())
        if (auto argument = dyn_cast<BlockArgument>(operand))
          if (step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole) == "parameter")
            atom.stateBytes += countStateBytes(tensorOf(argument), config, policy, memory.bytes.getBinding());
      for (OpResult result : op.getResults())
        if (llvm::any_of(result.getUsers(), [&](Operation *user) { return labels->isBackward(user); }))
          atom.savedBytes += storageBytes(result);
    }
    auto it = byPosition.find(position);
    if (it == byPosition.end())
      return op.emitOpError() << "belongs to position " << position << ", where no forward op is";
    Atom &atom = atoms[it->second];
    atom.isBlock |= isBackward && isa<func::CallOp>(op);
    atom.picoseconds += std::llround(analyses.cost.seconds(&op) * 1e12);
    // A recomputed block lives until its backward is done.
    atom.transientBytes = isBackward ? atom.transientBytes + peakOf(&op) : std::max<int64_t>(0, peakOf(&op) - atom.savedBytes);
  }
  // Values alive across each boundary, from where they are made to their last forward use.
  DenseMap<Operation *, size_t> indices;
  for (auto [index, atom] : llvm::enumerate(atoms))
    indices[atom.op] = index;
  for (auto [index, atom] : llvm::enumerate(atoms))
    for (Value result : atom.op->getResults()) {
      size_t last = index;
      for (Operation *user : result.getUsers())
        if (auto it = indices.find(user); it != indices.end())
          last = std::max(last, it->second);
      for (size_t i = index; i < last; ++i)
        atoms[i].crossingBytes += memory.bytes(result);
    }
  return atoms;
}

// The load of some atoms whose first `count` blocks are repeated, and how many blocks they lack for that.
std::pair<Load, int64_t> PartitionStagesPass::loadWithCount(size_t first, size_t end, int64_t count, int64_t inFlight) const {
  Load load;
  for (size_t i = first; i < end; ++i) {
    bool repeats = count > 0 && atoms[i].isBlock;
    count -= repeats;
    load.add(repeats ? recomputed[i] : atoms[i], inFlight);
  }
  return {load, count};
}

// Dynamic programming over (stages, atoms): the best score of putting the first `i` atoms on `s` stages, none empty.
SmallVector<size_t> PartitionStagesPass::split(ArrayRef<int64_t> inFlight, int64_t limit, ArrayRef<int64_t> firstBlocks) const {
  size_t n = atoms.size(), stages = inFlight.size();
  std::vector<std::vector<Score>> best(stages + 1, std::vector<Score>(n + 1));
  std::vector<std::vector<size_t>> from(stages + 1, std::vector<size_t>(n + 1));
  for (size_t s = 1; s <= stages; ++s)
    for (size_t i = s; i <= n; ++i) {
      bool found = false;
      Load load;
      int64_t missing = 0;
      // The last of the `s` stages begins at atom `j`. Earlier starts only make it slower and larger; stop once it alone is
      // worse than the best split.
      for (size_t j = i; j-- + 1 > s;) {
        load.add(atoms[j], inFlight[s - 1]);
        if (s == 1 && j > 0)
          continue;
        if (!firstBlocks.empty())
          std::tie(load, missing) = loadWithCount(j, i, firstBlocks[s - 1], inFlight[s - 1]);
        int64_t bytes = load.bytes + load.transientBytes;
        Score score{missing, limit > 0 ? std::max<int64_t>(0, bytes - limit) : 0, load.picoseconds, bytes, 0};
        if (found && firstBlocks.empty() && std::tie(best[s][i].excess, best[s][i].slowest) < std::tie(score.excess, score.slowest))
          break;
        if (s > 1) {
          const Score &before = best[s - 1][j];
          score = {before.missing + score.missing, std::max(before.excess, score.excess), std::max(before.slowest, score.slowest),
                   std::max(before.largest, score.largest), before.traffic + atoms[j - 1].crossingBytes};
        }
        if (!found || score < best[s][i]) {
          best[s][i] = score;
          from[s][i] = j;
          found = true;
        }
      }
    }
  SmallVector<size_t> starts(stages);
  size_t end = n;
  for (size_t s = stages; s > 1; --s)
    end = starts[s - 1] = from[s][end];
  starts[0] = 0;
  return starts;
}

void PartitionStagesPass::labelOps(func::FuncOp step, ArrayRef<size_t> starts) {
  DenseMap<int64_t, int64_t> stageOfPosition;
  size_t stage = 0;
  for (auto [index, atom] : llvm::enumerate(atoms)) {
    while (stage + 1 < starts.size() && index >= starts[stage + 1])
      ++stage;
    stageOfPosition[labels->position(atom.op)] = static_cast<int64_t>(stage);
  }
  for (Operation &op : step.getBody().front().without_terminator())
    if (int64_t position = labels->position(&op); position >= 0)
      labels->setStage(&op, stageOfPosition[position]);
}

// Each stage repeats its first blocks. What an atom is like then is seen in a copy of the module where all are repeated.
LogicalResult PartitionStagesPass::splitWithCounts(func::FuncOp step, const ParallelConfig &config, ArrayRef<int64_t> inFlight,
                                                   CandidateAnalyses &analyses) {
  ArrayRef<int64_t> counts = config.recomputation.firstBlocks;
  OwningOpRef<ModuleOp> copy = getOperation().clone();
  func::FuncOp copiedStep = getStep(*copy);
  recomputeFully(*copy, findBlockCalls(copiedStep));
  FailureOr<std::vector<Atom>> collected = collectAtoms(copiedStep, config, analyses);
  if (failed(collected))
    return failure();
  recomputed = std::move(*collected);
  for (Atom &atom : recomputed)
    atom.op = nullptr; // the copy's
  labelOps(step, split(inFlight, analyses.memoryLimit, counts));
  auto blocks = takeFirstBlocks(getOperation(), findBlockCalls(step), counts, [&](func::CallOp call) { return labels->stage(call); });
  if (failed(blocks))
    return failure();
  recomputeFully(getOperation(), *blocks);
  return success();
}

// What depends on no parameter (positions, rotary tables) is cheap: every stage that needs it makes its own.
void PartitionStagesPass::replicateInactive(func::FuncOp step, int64_t stages) {
  for (Operation &op : llvm::make_early_inc_range(llvm::drop_begin(llvm::reverse(step.getBody().front())))) {
    if (labels->stage(&op) >= 0)
      continue;
    SmallVector<int64_t> users;
    for (Operation *user : op.getUsers())
      if (int64_t stage = labels->stage(user); stage >= 0 && !llvm::is_contained(users, stage))
        users.push_back(stage);
    llvm::sort(users);
    if (users.empty() && op.use_empty()) {
      op.erase();
      continue;
    }
    // What only the step's results need (a counter of steps) stands at the end of the forward, which is the last stage's.
    if (users.empty())
      users.push_back(stages - 1);
    for (int64_t stage : llvm::drop_begin(users)) {
      Operation *copy = op.clone();
      labels->setStage(copy, stage);
      op.getBlock()->getOperations().insertAfter(op.getIterator(), copy);
      for (auto [from, to] : llvm::zip(op.getResults(), copy->getResults()))
        from.replaceUsesWithIf(to, [&](OpOperand &use) { return labels->stage(use.getOwner()) == stage; });
    }
    labels->setStage(&op, users.front());
  }
}

// A parameter used on several stages lives on each of them. Its gradients are summed once per step, not sent per
// micro-batch: the adds between stages become one all-reduce of what each stage has.
void PartitionStagesPass::separateTied(func::FuncOp step) {
  auto stepReturn = cast<func::ReturnOp>(step.getBody().front().getTerminator());
  OpBuilder builder(stepReturn);
  for (OpOperand &returned : stepReturn->getOpOperands().drop_front()) {
    // What the sum adds up, however its adds are nested.
    SmallVector<ElementwiseOp> adds;
    llvm::MapVector<int64_t, SmallVector<Value>> byStage;
    SmallVector<Value> queue{returned.get()};
    while (!queue.empty()) {
      Value value = queue.pop_back_val();
      auto add = value.getDefiningOp<ElementwiseOp>();
      if (add && add.getKind() == "add" && add.getInputs().size() == 2 && add.getScalars().empty() && value.hasOneUse()) {
        adds.push_back(add);
        queue.append({add.getInputs()[0], add.getInputs()[1]});
      } else {
        byStage[labels->stage(value.getDefiningOp())].push_back(value);
      }
    }
    if (byStage.size() < 2)
      continue;
    SmallVector<Value> parts;
    SmallVector<Type> types;
    SmallVector<int64_t> stages;
    for (auto &[stage, leaves] : byStage) {
      llvm::sort(leaves, [](Value a, Value b) { return a.getDefiningOp()->isBeforeInBlock(b.getDefiningOp()); });
      Value part = leaves.front();
      for (Value leaf : llvm::drop_begin(leaves)) {
        builder.setInsertionPointAfter(leaf.getDefiningOp());
        auto add = builder.create<ElementwiseOp>(leaf.getLoc(), part.getType(), ValueRange{part, leaf}, "add", ArrayRef<double>());
        labels->place(add, stage, /*isBackward=*/true);
        part = add;
      }
      parts.push_back(part);
      types.push_back(part.getType());
      stages.push_back(stage);
    }
    builder.setInsertionPoint(stepReturn);
    llvm::sort(stages);
    auto sum = builder.create<AllReduceOp>(stepReturn.getLoc(), types, parts, "tied", static_cast<int64_t>(parts.size()),
                                           builder.getDenseI64ArrayAttr(stages));
    sum->setAttr(attrs::kPart, builder.getStringAttr("update"));
    returned.set(sum.getOutputs()[0]);
    for (ElementwiseOp add : adds)
      add->erase();
  }
}

// Each boundary in turn hands over all that later stages still need, so a value that skips a stage is passed on by it.
void PartitionStagesPass::insertTransfers(func::FuncOp step, int64_t stages) {
  OpBuilder builder(&getContext());
  Location loc = step.getLoc();
  DenseMap<Operation *, int64_t> stageOf; // of ops inside the micro-batches
  std::vector<SmallVector<Operation *>> ops[2] = {std::vector<SmallVector<Operation *>>(stages),
                                                  std::vector<SmallVector<Operation *>>(stages)};
  for (Operation &op : step.getBody().front().without_terminator())
    if (int64_t stage = labels->stage(&op); stage >= 0 && !labels->part(&op)) {
      stageOf[&op] = stage;
      ops[labels->isBackward(&op)][stage].push_back(&op);
    }
  auto connect = [&](int64_t from, int64_t to, bool backward) {
    auto isBeyond = [&](Operation *user) {
      auto it = stageOf.find(user);
      return it != stageOf.end() && (from < to ? it->second > from : it->second < from);
    };
    SmallVector<Value> crossing;
    for (Operation *op : ops[backward][from])
      for (Value result : op->getResults())
        if (llvm::any_of(result.getUsers(), isBeyond))
          crossing.push_back(result);
    if (crossing.empty())
      return;
    builder.setInsertionPointAfter(ops[backward][from].back());
    auto send = builder.create<SendOp>(loc, TypeRange(), crossing, to);
    labels->place(send, from, backward);
    auto receive = builder.create<ReceiveOp>(loc, ValueRange(crossing).getTypes(), ValueRange(), from);
    labels->place(receive, to, backward);
    for (auto [value, received] : llvm::zip(crossing, receive.getOutputs()))
      value.replaceUsesWithIf(received, [&](OpOperand &use) { return isBeyond(use.getOwner()); });
    stageOf[send] = from;
    stageOf[receive] = to;
    ops[backward][to].insert(ops[backward][to].begin(), receive);
  };
  for (int64_t stage = 0; stage + 1 < stages; ++stage)
    connect(stage, stage + 1, /*backward=*/false);
  for (int64_t stage = stages - 1; stage > 0; --stage)
    connect(stage, stage - 1, /*backward=*/true);
}

void PartitionStagesPass::runOnOperation() {
  ModuleOp module = getOperation();
  func::FuncOp step = getStep(module);
  FailureOr<ParallelConfig> config = getConfig(module);
  if (failed(config) || !step)
    return signalPassFailure();
  labels.emplace(&getContext());
  auto order = buildSchedule(config->schedule, config->numStages, config->numMicroBatches);
  if (!order.ok()) {
    module.emitError() << std::string(order.status().message());
    return signalPassFailure();
  }
  SmallVector<int64_t> inFlight;
  for (const StageOrder &stage : *order)
    inFlight.push_back(maxInFlight(stage));

  std::optional<Accelerator> ownAccelerator;
  std::optional<CandidateAnalyses> own;
  if (!shared) {
    auto resolved = resolveAccelerator(accelerator);
    if (!resolved.ok()) {
      module.emitError() << std::string(resolved.status().message());
      return signalPassFailure();
    }
    ownAccelerator = *resolved;
    own.emplace(*ownAccelerator, getBinding(module), 1.0, memoryLimit);
  }
  CandidateAnalyses &analyses = shared ? *shared : *own;
  FailureOr<std::vector<Atom>> collected = collectAtoms(step, *config, analyses);
  if (failed(collected))
    return signalPassFailure();
  atoms = std::move(*collected);
  if (static_cast<int64_t>(atoms.size()) < config->numStages) {
    module.emitError() << "has " << atoms.size() << " ops to put on " << config->numStages << " stages";
    return signalPassFailure();
  }
  recomputed.clear();
  // The blocks of a single stage are InsertRecompute's.
  if (config->numStages == 1 || config->recomputation.kind != Recomputation::FirstBlocks)
    labelOps(step, split(inFlight, analyses.memoryLimit, {}));
  else if (failed(splitWithCounts(step, *config, inFlight, analyses)))
    return signalPassFailure();
  replicateInactive(step, config->numStages);
  separateTied(step);
  insertTransfers(step, config->numStages);
}

std::unique_ptr<Pass> moai::createPartitionStages(CandidateAnalyses &analyses) { return std::make_unique<PartitionStagesPass>(analyses); }
