//===- SplitMicroBatches.cpp - Binds the batch to one micro-batch ----------===//
#include "CandidateInput.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"

namespace moai {
#define GEN_PASS_DEF_SPLITMICROBATCHES
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {
struct SplitMicroBatchesPass : public moai::impl::SplitMicroBatchesBase<SplitMicroBatchesPass> {
  void runOnOperation() override;

private:
  static void scaleSeed(func::FuncOp step, const ParallelConfig &config);
};
} // namespace

// Whether the loss adds up over samples. All others are taken for means over them, as framework losses are by default.
static bool isSummedOverSamples(Value loss) {
  while (Operation *op = loss.getDefiningOp()) {
    auto reduce = dyn_cast<ReduceOp>(op);
    if (reduce && reduce.getKind() == "sum")
      for (int64_t dim : reduce.getDims())
        if (tensorOf(reduce.getInput()).getShape()[dim].degreeIn(kBatchSymbol))
          return true;
    if (op->getNumOperands() != 1)
      return false;
    loss = op->getOperand(0);
  }
  return false;
}

// Gradients are summed over micro-batches and replicas. Where the loss is a mean, theirs have to add up to its gradient.
void SplitMicroBatchesPass::scaleSeed(func::FuncOp step, const ParallelConfig &config) {
  int64_t parts = config.numMicroBatches * config.dataParallel;
  auto stepReturn = cast<func::ReturnOp>(step.getBody().front().getTerminator());
  if (parts == 1 || isSummedOverSamples(stepReturn.getOperand(0)))
    return;
  for (auto generate : step.getOps<GenerateOp>())
    if (generate->hasAttr(attrs::kSeed)) {
      generate.setScalars({1.0 / static_cast<double>(parts)});
      return;
    }
}

void SplitMicroBatchesPass::runOnOperation() {
  FailureOr<ParallelConfig> config = getConfig(getOperation());
  if (failed(config))
    return signalPassFailure();
  DimBinding binding = getBinding(getOperation());
  binding.values[kBatchSymbol] = config->batchPerDevice;
  setBinding(getOperation(), binding);
  if (auto step = getOperation().lookupSymbol<func::FuncOp>("step"); step && !step.getBody().empty())
    scaleSeed(step, *config);
}
