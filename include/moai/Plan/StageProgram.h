//===- StageProgram.h - What one stage of a compiled candidate does --------===//
#ifndef MOAI_PLAN_STAGEPROGRAM_H
#define MOAI_PLAN_STAGEPROGRAM_H

#include "moai/Plan/Cost.h"
#include "moai/Plan/DeviceMesh.h"
#include "moai/Plan/PipelineTask.h"
#include <string>
#include <vector>

namespace moai {

/// A collective of a stage's program, run once per step.
struct StageCollective {
  std::string kind;      ///< all_gather, reduce_scatter or all_reduce
  AxisSet axes;          ///< that its group is along; none for a parameter shared between some stages
  int64_t groupSize = 1; ///< members
  int64_t bytes = 0;     ///< of the whole buffer
  int64_t count = 1;     ///< buckets
};

/// One stage as read off its compiled IR: plain numbers that cross threads, where IR may not.
struct StageProgram {
  double forwardSeconds = 0;   ///< kernels of one micro-batch
  double backwardSeconds = 0;  ///< recomputation included
  double recomputeSeconds = 0; ///< of them
  double updateSeconds = 0;    ///< optimizer kernels and casts of masters, once per step
  int64_t sendBytes = 0;       ///< to the next stage, one micro-batch; gradients come back in the same size
  std::vector<StageCollective> collectives;
  StageOrder order;
  StageMemory memory;
};

} // namespace moai

#endif // MOAI_PLAN_STAGEPROGRAM_H
