//===- InsertRecompute.cpp - Forward work done again in the backward -------===//
#include "CandidateInput.h"
#include "Recompute.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"
#include "llvm/ADT/MapVector.h"

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

SmallVector<BlockCalls> moai::findBlockCalls(func::FuncOp step) {
  llvm::MapVector<Attribute, BlockCalls> byPosition;
  for (func::CallOp call : step.getOps<func::CallOp>())
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
    auto blocks = takeFirstBlocks(module, findBlockCalls(step), choice.firstBlocks, [](func::CallOp) { return 0; });
    if (failed(blocks))
      return signalPassFailure();
    return recomputeFully(module, *blocks);
  }
}
