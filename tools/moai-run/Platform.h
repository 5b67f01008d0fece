//===- Platform.h - An accelerator is taken, and planned for ---------------===//
#ifndef MOAI_TOOLS_PLATFORM_H
#define MOAI_TOOLS_PLATFORM_H

#include "RunRequest.h"
#include "moai/Planner/Planner.h"

namespace moai {

/// The accelerator that a run takes: --accelerator, or as many devices as --config names, or the current one; with the memory of
/// --device-memory.
absl::StatusOr<Accelerator> chooseAccelerator(const RunRequest &request);

/// The platform's lines while it is made ready.
void logConnection(const Accelerator &accelerator);

/// What a run plans for on an accelerator: its flags, and the batch that the model is bound to.
absl::StatusOr<PlanRequest> planRequestFor(const RunRequest &request, const Accelerator &accelerator, const DimBinding &binding);

/// Plans, with the planner's lines, and makes the module a training graph.
absl::StatusOr<Plan> planRun(const RunRequest &run, const PlanRequest &request, ImportedModel &model);

} // namespace moai

#endif // MOAI_TOOLS_PLATFORM_H
