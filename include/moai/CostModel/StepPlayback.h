//===- StepPlayback.h - A step as it would be seen while it runs -----------===//
#ifndef MOAI_COSTMODEL_STEPPLAYBACK_H
#define MOAI_COSTMODEL_STEPPLAYBACK_H

#include "moai/CostModel/Hardware.h"
#include "moai/Plan/MemoryTimeline.h"
#include "moai/Plan/ParallelConfig.h"
#include "moai/Plan/StageProgram.h"

namespace moai {

/// What the devices of each stage do and hold at any moment of a step, as its cost and its memory plan have it: parameters are gathered,
/// the pipeline runs as stepCost plays it, gradients are reduced, the optimizer runs. All devices of a stage are alike. Within a task
/// memory is taken to change op by op in equal times.
class StepPlayback {
public:
  /// `timelines` are of one step of each stage, as traceMemory makes them.
  StepPlayback(llvm::ArrayRef<StageProgram> stages, const ParallelConfig &config, const Accelerator &accelerator,
               std::vector<MemoryTimeline> timelines);

  /// Of the whole step: stepCost's total.
  double seconds() const { return duration; }

  struct Moment {
    int64_t bytesInUse = 0; ///< on each device
    bool isBusy = false;    ///< kernels run
  };
  /// At a time from 0 to seconds().
  Moment at(int64_t stage, double time) const;
  /// Part of the step in which a stage's kernels run.
  double busyShare(int64_t stage) const;
  int64_t peakBytes(int64_t stage) const { return timelines[stage].peak(); }

private:
  /// A task of a timeline, and when it runs.
  struct Span {
    double begin, end;
    size_t firstOp, lastOp; ///< the second beyond it
  };
  std::vector<MemoryTimeline> timelines;
  std::vector<std::vector<Span>> spans; ///< by stage, in order of time
  double duration = 0;
};

} // namespace moai

#endif // MOAI_COSTMODEL_STEPPLAYBACK_H
