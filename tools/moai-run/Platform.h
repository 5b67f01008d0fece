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

/// Plans, with the planner's lines, and makes the module a training graph. An error says, where nothing fits, what would.
absl::StatusOr<Plan> planRun(const RunRequest &run, const PlanRequest &request, ImportedModel &model);

/// `8xLarge.4096GB would hold it, and so would a --global-batch of 8 on this one`: where the model's step fits, if anywhere near. `forward`
/// is the imported module, of which copies are planned.
std::string adviseWhatFits(mlir::ModuleOp forward, const ModelSummary &summary, const PlanRequest &request, const RunRequest &run);

} // namespace moai

#endif // MOAI_TOOLS_PLATFORM_H
