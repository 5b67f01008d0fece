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
  void runOnOperation() override {
    FailureOr<ParallelConfig> config = getConfig(getOperation());
    if (failed(config))
      return signalPassFailure();
    DimBinding binding = getBinding(getOperation());
    binding.values[kBatchSymbol] = config->batchPerDevice;
    setBinding(getOperation(), binding);
  }
};
} // namespace
