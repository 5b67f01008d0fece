//===- PipelineTime.h - Seconds of a pipeline schedule ----------------------===//
#ifndef MOAI_COSTMODEL_PIPELINETIME_H
#define MOAI_COSTMODEL_PIPELINETIME_H

#include "moai/Plan/PipelineTask.h"
#include "llvm/ADT/ArrayRef.h"
#include <vector>

namespace moai {

/// A schedule played through. For every stage, busy + bubble + transferSeconds = seconds.
struct PipelineTime {
  double seconds = 0;                ///< from the first start to the last end of any stage
  double transferSeconds = 0;        ///< of them, what would vanish if transfers took no time
  std::vector<double> busySeconds;   ///< by stage: running tasks
  std::vector<double> bubbleSeconds; ///< by stage: waiting, also before its first task and after its last
  int64_t criticalStage = 0;         ///< the stage that is busy longest, the first of equals
};

/// When a task runs, in seconds from the first start of any.
struct TaskTime {
  double begin = 0, end = 0;
};

/// Runs the order: a stage runs its tasks in turn, each once its input has arrived. `forwardSeconds` and
/// `backwardSeconds` are of one micro-batch on each stage; `transferSeconds[i]` is one message between stage i and i+1 in
/// either direction (p-1 values). Transfers overlap with computation and never wait for each other. The order must have
/// passed verifySchedule. O(stages x micro-batches), at most two passes.
PipelineTime simulatePipeline(const PipelineOrder &order, llvm::ArrayRef<double> forwardSeconds, llvm::ArrayRef<double> backwardSeconds,
                              llvm::ArrayRef<double> transferSeconds);

/// The same, as the times of every stage's tasks in its order.
std::vector<std::vector<TaskTime>> timeTasks(const PipelineOrder &order, llvm::ArrayRef<double> forwardSeconds,
                                             llvm::ArrayRef<double> backwardSeconds, llvm::ArrayRef<double> transferSeconds);

} // namespace moai

#endif // MOAI_COSTMODEL_PIPELINETIME_H
