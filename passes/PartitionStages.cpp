//===- PartitionStages.cpp - Assigns ops to pipeline stages ----------------===//
#include "CandidateInput.h"
#include "OpLabels.h"
#include "Recompute.h"
#include "SplitRepeats.h"
#include "StageAtoms.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Schedule/PipelineSchedule.h"
#include "llvm/ADT/MapVector.h"

namespace moai {
#define GEN_PASS_DEF_PARTITIONSTAGES
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

struct PartitionStagesPass : public moai::impl::PartitionStagesBase<PartitionStagesPass> {
  using PartitionStagesBase::PartitionStagesBase;
  explicit PartitionStagesPass(CandidateAnalyses &analyses) : shared(&analyses) {}
  void runOnOperation() override;

private:
  LogicalResult splitWithCounts(func::FuncOp step, const ParallelConfig &config, ArrayRef<int64_t> inFlight, CandidateAnalyses &analyses);
  void labelOps(func::FuncOp step, ArrayRef<size_t> starts);
  void replicateInactive(func::FuncOp step, int64_t stages);
  void separateTied(func::FuncOp step);
  void insertTransfers(func::FuncOp step, int64_t stages);
  CandidateAnalyses *shared = nullptr;
  std::optional<OpLabels> labels;
  std::vector<Atom> atoms;
};

} // namespace

// Repeats are cut where a stage begins.
void PartitionStagesPass::labelOps(func::FuncOp step, ArrayRef<size_t> starts) {
  RepeatCuts cuts;
  for (Operation &op : step.getBody().front())
    if (auto repeat = dyn_cast<RepeatOp>(op); repeat && !labels->isBackward(&op))
      for (size_t start : llvm::drop_begin(starts)) {
        int64_t first = labels->position(&op), element = atoms[start].position - first;
        if (first >= 0 && element > 0 && element < static_cast<int64_t>(repeat.getCount()))
          cuts[first].push_back(element);
      }
  splitRepeats(step, cuts);
  DenseMap<int64_t, int64_t> stageOfPosition;
  size_t stage = 0;
  for (auto [index, atom] : llvm::enumerate(atoms)) {
    while (stage + 1 < starts.size() && index >= starts[stage + 1])
      ++stage;
    stageOfPosition[atom.position] = static_cast<int64_t>(stage);
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
  FailureOr<std::vector<Atom>> recomputed = collectAtoms(copiedStep, *labels, config, analyses);
  if (failed(recomputed))
    return failure();
  labelOps(step, splitAtoms(atoms, inFlight, analyses.memoryLimit, *recomputed, counts));
  auto blocks = takeFirstBlocks(step, counts, [&](BlockCall call) { return labels->stage(call.getOperation()); });
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
    auto sum = builder.create<AllReduceOp>(stepReturn.getLoc(), types, parts, AxesAttr(), builder.getDenseI64ArrayAttr(stages));
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
  FailureOr<std::vector<Atom>> collected = collectAtoms(step, *labels, *config, analyses);
  if (failed(collected))
    return signalPassFailure();
  atoms = std::move(*collected);
  if (static_cast<int64_t>(atoms.size()) < config->numStages) {
    module.emitError() << "the graph has " << atoms.size() << " ops to put on " << config->numStages << " stages";
    return signalPassFailure();
  }
  // The blocks of a single stage are InsertRecompute's.
  if (config->numStages == 1 || config->recomputation.kind != Recomputation::FirstBlocks)
    labelOps(step, splitAtoms(atoms, inFlight, analyses.memoryLimit, {}, {}));
  else if (failed(splitWithCounts(step, *config, inFlight, analyses)))
    return signalPassFailure();
  replicateInactive(step, config->numStages);
  separateTied(step);
  insertTransfers(step, config->numStages);
}

std::unique_ptr<Pass> moai::createPartitionStages(CandidateAnalyses &analyses) { return std::make_unique<PartitionStagesPass>(analyses); }
