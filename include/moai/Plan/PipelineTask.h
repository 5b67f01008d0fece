//===- PipelineTask.h - What a pipeline stage runs, in order ----------------===//
#ifndef MOAI_PLAN_PIPELINETASK_H
#define MOAI_PLAN_PIPELINETASK_H

#include <cstdint>
#include <vector>

namespace moai {

/// The forward or backward of one micro-batch on one stage. Backward includes the weight gradient.
struct PipelineTask {
  enum Kind : uint8_t { Forward, Backward };
  Kind kind = Forward;
  int64_t microBatch = 0; ///< from 0

  bool operator==(const PipelineTask &other) const { return kind == other.kind && microBatch == other.microBatch; }
};

/// The tasks of one stage, first to last.
using StageOrder = std::vector<PipelineTask>;
/// Indexed by stage; stage 0 holds the inputs.
using PipelineOrder = std::vector<StageOrder>;

} // namespace moai

#endif // MOAI_PLAN_PIPELINETASK_H
