//===- StepMemory.h - Peak of a step as a framework runs it -----------------===//
#ifndef MOAI_PLAN_STEPMEMORY_H
#define MOAI_PLAN_STEPMEMORY_H

#include "absl/status/statusor.h"
#include "moai/Plan/Cost.h"
#include "moai/Plan/Model.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/JSON.h"

namespace moai {

/// What a framework's optimizer does, which decides its temporaries: all parameters at once, one after the other, or in one
/// kernel.
enum class OptimizerImplementation : uint8_t { Foreach, ForLoop, Fused };

/// `foreach`, `forloop` or `fused`.
absl::StatusOr<OptimizerImplementation> parseOptimizerImplementation(llvm::StringRef text);

/// Bytes on one device at the moment of a step's peak.
struct StepMemory {
  std::string phase; ///< forward, backward or optimizer
  int64_t parameters = 0, gradients = 0, optimizerStates = 0;
  int64_t activations = 0; ///< with the gradients of a running backward, and its temporaries
  int64_t temporaries = 0; ///< of the optimizer
  int64_t others = 0;      ///< buffers and inputs

  int64_t total() const { return parameters + gradients + optimizerStates + activations + temporaries + others; }
};

/// The peak of a step of AdamW on one device, one micro-batch, as PyTorch runs it on a CPU: parameters, gradients and both
/// moments in the exported types, four bytes of a step counter per parameter, gradients freed before the next step.
/// `others` is the bytes of buffers and inputs.
///  - forward: the most it holds; backward: the same, and the loss;
///  - optimizer: all gradients, and temporaries: a copy of all parameters (foreach), the denominator and the quotient of one
///    parameter beside the denominator of the one before (forloop), or none (fused).
StepMemory peakOfPyTorchStep(const ModelSummary &model, const StageMemory &stage, int64_t others, OptimizerImplementation implementation);

/// `peak`, `peak_phase` and `at_peak` by category.
llvm::json::Object toJSON(const StepMemory &memory);

} // namespace moai

#endif // MOAI_PLAN_STEPMEMORY_H
