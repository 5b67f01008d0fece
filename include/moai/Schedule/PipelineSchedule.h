//===- PipelineSchedule.h - Orders of micro-batches on pipeline stages ------===//
#ifndef MOAI_SCHEDULE_PIPELINESCHEDULE_H
#define MOAI_SCHEDULE_PIPELINESCHEDULE_H

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "moai/Plan/ParallelConfig.h"
#include "moai/Plan/PipelineTask.h"

namespace moai {

/// The order of every stage. GPipe: all forwards, then all backwards, last micro-batch first. 1F1B
/// (PipeDream-Flush, Narayanan et al. 2021): min(m, p-1-stage) forwards, then one forward and one backward in
/// turn, then the remaining backwards. The other kinds are refused (kUnimplemented), and counts below 1 (InvalidArgument).
absl::StatusOr<PipelineOrder> buildSchedule(ScheduleKind kind, int64_t stages, int64_t microBatches);

/// Ok if every stage runs each task exactly once, each forward before its backward, and all stages together reach
/// the end when a forward waits for the stage before it and a backward for the stage after it. Sends are taken to be
/// buffered. The error names the stage and the task.
absl::Status verifySchedule(const PipelineOrder &order, int64_t microBatches);

/// The most micro-batches that have run forward and not yet finished backward, the running one included.
/// 1F1B: min(m, p - stage).
int64_t maxInFlight(const StageOrder &order);

} // namespace moai

#endif // MOAI_SCHEDULE_PIPELINESCHEDULE_H
