//===- StepTime.h - Seconds of a whole step --------------------------------===//
#ifndef MOAI_COSTMODEL_STEPTIME_H
#define MOAI_COSTMODEL_STEPTIME_H

#include "moai/CostModel/Hardware.h"
#include "moai/CostModel/PipelineTime.h"
#include "moai/Plan/ParallelConfig.h"
#include "moai/Plan/StageProgram.h"

namespace moai {

/// The step of a compiled candidate: gather, the pipeline as its schedule plays out, reduction, update. Collectives of the
/// data axis run while no kernel does, as each stage needs all of them before its first, or after its last, micro-batch.
CostBreakdown stepCost(llvm::ArrayRef<StageProgram> stages, const ParallelConfig &config, const Accelerator &accelerator);

/// When the tasks of its pipeline run, by stage in its order, from the pipeline's start.
std::vector<std::vector<TaskTime>> timeStepTasks(llvm::ArrayRef<StageProgram> stages, const ParallelConfig &config,
                                                 const Accelerator &accelerator);

} // namespace moai

#endif // MOAI_COSTMODEL_STEPTIME_H
