//===- Model.cpp - The model that is run, and its numbers ------------------===//
#include "Model.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Execute/CheckpointWeights.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Weights.h"
#include "moai/Passes/Differentiable.h"
#include "moai/Support/Machine.h"

using namespace moai;

absl::StatusOr<ImportedModel> moai::loadModel(const RunRequest &request, mlir::MLIRContext &context) {
  context.loadDialect<MoaiDialect, mlir::func::FuncDialect>();
  auto imported = importPt2(request.model, request.import, context);
  if (!imported.ok())
    return imported;
  if (!imported->summary.hasLoss)
    return absl::InvalidArgumentError(absl::StrCat(request.model, ": the graph returns no loss, so there is no training step to run"));
  if (absl::Status status = checkDifferentiable(*imported->module); !status.ok())
    return absl::Status(status.code(), absl::StrCat(request.model, ": ", status.message()));
  if (request.import.batch || request.import.sequenceLength)
    setBinding(*imported->module, imported->summary.binding);
  return imported;
}

absl::Status moai::fillTensors(ModelTensors &tensors, const RunRequest &request, bool withInputs) {
  if (!request.weights.empty()) {
    auto stored = CheckpointWeights::open(request.weights);
    if (!stored.ok())
      return stored.status();
    if (absl::Status status = tensors.takeWeights(*stored); !status.ok())
      return status;
  }
  if (!request.inputs.empty()) {
    auto stored = readSafetensors(request.inputs);
    if (!stored.ok())
      return stored.status();
    if (absl::Status status = tensors.takeInputs(*stored, request.inputs); !status.ok())
      return status;
  }
  auto archived = readPt2Tensors(request.model);
  if (!archived.ok())
    return archived.status();
  StoredTensors own;
  for (const ArchivedTensor &tensor : *archived) {
    auto decoded = decodeTensor(tensor.name, tensor.type, tensor.shape, tensor.strides, tensor.offset, tensor.bytes);
    if (!decoded.ok())
      return absl::InvalidArgumentError(absl::StrCat(request.model, ": ", decoded.status().message()));
    own[tensor.name] = std::move(*decoded);
  }
  tensors.takeMissing(own);
  tensors.fillTheRest(request.execute.seed, withInputs);
  return absl::OkStatus();
}

absl::Status moai::checkMainMemory(const std::string &model, double bytes, const char *advice) {
  constexpr double kGiB = 1 << 30;
  double present = mainMemoryBytes();
  if (bytes <= present)
    return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("%s: its step needs about %.0f GiB to run, this machine has %.0f; %s", model, bytes / kGiB, present / kGiB, advice));
}
