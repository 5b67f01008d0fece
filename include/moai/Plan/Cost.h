//===- Cost.h - Predicted seconds and bytes of one candidate ----------------===//
#ifndef MOAI_PLAN_COST_H
#define MOAI_PLAN_COST_H

#include "llvm/Support/JSON.h"
#include <cstdint>

namespace moai {

/// Seconds of one training step by cause, as they pass on the slowest stage; they add up to the step.
struct CostBreakdown {
  double forward = 0;         ///< forward kernels of all micro-batches
  double backward = 0;        ///< backward kernels, recomputation excluded
  double recompute = 0;       ///< forward kernels run again during backward
  double bubble = 0;          ///< waiting for other stages
  double transfer = 0;        ///< exposed sends and receives between stages
  double parameterGather = 0; ///< exposed all-gather of distributed parameters
  double gradientReduce = 0;  ///< exposed reduction of gradients over the data axis
  double optimizer = 0;       ///< the update

  double total() const { return forward + backward + recompute + bubble + transfer + parameterGather + gradientReduce + optimizer; }
};

/// Bytes on each device of one stage at the moment of its peak.
struct StageMemory {
  int64_t parameters = 0; ///< compute copy and, where kept, the master copy's gathered part
  int64_t gradients = 0;
  int64_t optimizerStates = 0; ///< master parameters included
  int64_t activations = 0;     ///< saved for backward by the micro-batches in flight
  int64_t transient = 0;       ///< live only inside the op, block or collective that runs at the peak
  int64_t saved = 0;           ///< what one micro-batch's forward leaves behind: for its backward, and the loss
  int64_t forwardPeak = 0;     ///< most that one micro-batch's forward holds at once, what it saves included
  int64_t backwardPeak = 0;    ///< the same of its backward, from all that was saved to all gradients that it returns

  int64_t total() const { return parameters + gradients + optimizerStates + activations + transient; }
};

/// Seconds under snake-case keys (`parameter_gather`), and `total`.
llvm::json::Object toJSON(const CostBreakdown &cost);
/// Bytes under snake-case keys (`optimizer_states`), and `total`.
llvm::json::Object toJSON(const StageMemory &memory);

} // namespace moai

#endif // MOAI_PLAN_COST_H
