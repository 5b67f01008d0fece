//===- InsertRecompute.cpp - Forward work done again in the backward -------===//
#include "CandidateInput.h"
#include "OpLabels.h"
#include "Recompute.h"
#include "SplitRepeats.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"
#include "llvm/ADT/MapVector.h"
#include <numeric>

namespace moai {
#define GEN_PASS_DEF_INSERTRECOMPUTE
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {
struct InsertRecomputePass : public moai::impl::InsertRecomputeBase<InsertRecomputePass> {
  void runOnOperation() override;
};
} // namespace

unsigned BlockCalls::numOutputs() const {
  unsigned count = 0;
  for (auto [index, result] : llvm::enumerate(forward->getResults()))
    if (forward.repeat() ? !isa<StackType>(result.getType())
                         : llvm::any_of(result.getUsers(), [&](Operation *user) { return user != backward.getOperation(); }))
      count = index + 1;
  return count;
}

SmallVector<BlockCalls> moai::findBlockCalls(func::FuncOp step) {
  llvm::MapVector<Attribute, BlockCalls> byPosition;
  for (BlockCall call : findCalls(step))
    if (Attribute position = call->getAttr(attrs::kPosition)) {
      BlockCalls &calls = byPosition[position];
      (call->hasAttr(attrs::kPhase) ? calls.backward : calls.forward) = call;
    }
  SmallVector<BlockCalls> blocks;
  for (auto &[position, calls] : byPosition)
    if (calls.forward && calls.backward)
      blocks.push_back(calls);
  return blocks;
}

FailureOr<SmallVector<BlockCalls>> moai::takeFirstBlocks(func::FuncOp step, ArrayRef<int64_t> counts,
                                                         llvm::function_ref<int64_t(BlockCall)> stageOf) {
  OpLabels labels(step.getContext());
  SmallVector<int64_t> found(counts.size());
  RepeatCuts cuts;
  for (BlockCalls calls : findBlockCalls(step)) {
    int64_t stage = stageOf(calls.forward), missing = counts[stage] - found[stage];
    if (missing > 0 && missing < calls.forward.count())
      cuts[labels.position(calls.forward.getOperation())].push_back(missing);
    found[stage] += calls.forward.count();
  }
  for (auto [stage, count] : llvm::enumerate(counts))
    if (found[stage] < count)
      return step->getParentOfType<ModuleOp>().emitError()
             << "recomputation is to repeat " << count << " blocks of stage " << stage << ", which has " << found[stage]
             << " of the model's " << std::accumulate(found.begin(), found.end(), int64_t(0)) << "; give at most as many";
  splitRepeats(step, cuts);
  SmallVector<BlockCalls> taken;
  std::fill(found.begin(), found.end(), 0);
  for (BlockCalls calls : findBlockCalls(step)) {
    int64_t stage = stageOf(calls.forward);
    if (found[stage] < counts[stage])
      taken.push_back(calls);
    found[stage] += calls.forward.count();
  }
  return taken;
}

void moai::eraseDeadOps(func::FuncOp function) {
  for (Operation &op : llvm::make_early_inc_range(llvm::drop_begin(llvm::reverse(function.getBody().front()))))
    if (isOpTriviallyDead(&op))
      op.erase();
}

void InsertRecomputePass::runOnOperation() {
  ModuleOp module = getOperation();
  FailureOr<ParallelConfig> config = getConfig(module);
  func::FuncOp step = getStep(module);
  if (failed(config) || !step)
    return signalPassFailure();
  const RecomputationChoice &choice = config->recomputation;
  switch (choice.kind) {
  case Recomputation::None:
    return;
  case Recomputation::Selective:
    return recomputeSelectively(module, findBlockCalls(step));
  case Recomputation::Full:
    return recomputeFully(module, findBlockCalls(step));
  case Recomputation::FirstBlocks:
    // Which blocks are the first of a stage is known once the stages are cut: PartitionStages sees to it.
    if (config->numStages > 1)
      return;
    auto blocks = takeFirstBlocks(step, choice.firstBlocks, [](BlockCall) { return 0; });
    if (failed(blocks))
      return signalPassFailure();
    return recomputeFully(module, *blocks);
  }
}
