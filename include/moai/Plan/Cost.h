//===- Cost.h - Predicted seconds and bytes of one candidate ----------------===//
#ifndef MOAI_PLAN_COST_H
#define MOAI_PLAN_COST_H

#include "llvm/Support/JSON.h"
#include <cstdint>
#include <string>

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

/// What a device adds to the bytes that a program asks for.
struct MemoryModel {
  int64_t granularity = 1;    ///< every storage takes a multiple of so many bytes
  int64_t workspaceBytes = 0; ///< held by kernel libraries for the whole step
};

/// Bytes on each device of one stage at the moment of its peak, by category.
struct StageMemory {
  int64_t parameters = 0;      ///< what kernels read, gathered copies included
  int64_t gradients = 0;       ///< accumulators, and without them the gradients of blocks whose backward has ended
  int64_t optimizerStates = 0; ///< masters, or their shards, and moments
  int64_t activations = 0;     ///< saved for the backward by the micro-batches in flight, and the losses
  int64_t temporaries = 0;     ///< live only inside the op, block or collective that runs at the peak
  int64_t buffers = 0;         ///< and constants
  int64_t inputs = 0;          ///< of all the step's micro-batches
  int64_t workspace = 0;       ///< of kernel libraries

  std::string peakPhase;    ///< load, forward, backward or optimizer
  std::string peakOp;       ///< `layers.3: moai.contract of linear_5`: the op that runs at the peak
  int64_t saved = 0;        ///< what one micro-batch's forward leaves behind: for its backward, and the loss
  int64_t forwardPeak = 0;  ///< most that one micro-batch's forward holds at once, what it saves included
  int64_t backwardPeak = 0; ///< the same of its backward, from all that was saved to all gradients that it returns
  std::string forwardPeakOp, backwardPeakOp;

  int64_t total() const { return parameters + gradients + optimizerStates + activations + temporaries + buffers + inputs + workspace; }
};

/// Seconds under snake-case keys (`parameter_gather`), and `total`.
llvm::json::Object toJSON(const CostBreakdown &cost);
/// `saved_at_end_of_forward`, `peak`, `peak_phase`, `peak_op`, and `at_peak`: bytes by category under snake-case keys.
llvm::json::Object toJSON(const StageMemory &memory);

} // namespace moai

#endif // MOAI_PLAN_COST_H
