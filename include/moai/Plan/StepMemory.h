//===- StepMemory.h - Peak of a step as a framework runs it -----------------===//
#ifndef MOAI_PLAN_STEPMEMORY_H
#define MOAI_PLAN_STEPMEMORY_H

#include "absl/status/statusor.h"
#include "moai/Plan/Cost.h"
#include "moai/Plan/Model.h"
#include "llvm/ADT/StringRef.h"

namespace moai {

/// What a framework's optimizer does, which decides its temporaries: all parameters at once, one after the other, or in one
/// kernel.
enum class OptimizerImplementation : uint8_t { Foreach, ForLoop, Fused };

/// `foreach`, `forloop` or `fused`.
absl::StatusOr<OptimizerImplementation> parseOptimizerImplementation(llvm::StringRef text);

/// The peak of a step of AdamW or Adam on one device as PyTorch runs it on a CPU, micro-batch by micro-batch, from the stage's
/// memory as planned without granularity or workspace: in addition PyTorch keeps a step counter of four bytes per parameter, frees
/// gradients before the next step, and its optimizer holds temporaries: a copy of all parameters (foreach), the denominator
/// and the quotient of one parameter beside the denominator of the one before (forloop), or none (fused). States and
/// gradients are of the exported types.
StageMemory peakOfPyTorchStep(const ModelSummary &model, const StageMemory &stage, int64_t numMicroBatches,
                              OptimizerImplementation implementation);

} // namespace moai

#endif // MOAI_PLAN_STEPMEMORY_H
