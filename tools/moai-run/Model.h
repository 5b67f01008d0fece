//===- Model.h - The model that is run, and its numbers --------------------===//
#ifndef MOAI_TOOLS_MODEL_H
#define MOAI_TOOLS_MODEL_H

#include "RunRequest.h"
#include "moai/Execute/ModelTensors.h"

namespace moai {

/// The model of the command line, which must have a loss and gradients, bound to the batch that is asked for. Its warnings are told.
absl::StatusOr<ImportedModel> loadModel(const RunRequest &request, mlir::MLIRContext &context);

/// Weights from --weights, then from the archive, then random ones; inputs likewise, unless batches are to come from elsewhere.
absl::Status fillTensors(ModelTensors &tensors, const RunRequest &request, bool withInputs);

/// ResourceExhausted if this machine has less memory than is needed, with `advice`.
absl::Status checkMainMemory(const std::string &model, double bytes, const char *advice);

} // namespace moai

#endif // MOAI_TOOLS_MODEL_H
