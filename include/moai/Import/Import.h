//===- Import.h - From a framework's file to a moai module -----------------===//
#ifndef MOAI_IMPORT_IMPORT_H
#define MOAI_IMPORT_IMPORT_H

#include "absl/status/statusor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "moai/Plan/Model.h"
#include "llvm/ADT/StringMap.h"
#include <optional>

namespace moai {

/// Whose rules the casts in an autocast region follow. On CUDA more ops run in float32: pow, norms, softmax, losses, sums.
enum class AutocastDevice { Cpu, Cuda };

struct ImportOptions {
  /// Samples of the step that the summary describes, instead of the exported number.
  std::optional<int64_t> batch;
  /// Positions to plan for instead of the exported number.
  std::optional<int64_t> sequenceLength;
  /// Values for dimensions of the inputs, by the symbol of a dynamic export or by the names in the summary's inputs.
  llvm::StringMap<int64_t> shapes;
  /// Refuse ops that moai doesn't know instead of keeping them opaque.
  bool strict = false;
  /// Let @step also return the buffers that the forward changes (running statistics), each result with its name.
  bool bufferUpdates = false;
  /// An export on a CPU records what autocast did there.
  AutocastDevice autocast = AutocastDevice::Cpu;
};

struct ImportedModel {
  /// One function @step from arguments (roles and names as attributes) to the loss, calling one function per repeated
  /// block. Owned by the context it was imported into.
  mlir::OwningOpRef<mlir::ModuleOp> module;
  ModelSummary summary;
  /// Further names of parameters, each with the name of the argument that stands for it.
  std::vector<std::pair<std::string, std::string>> tiedParameters;
};

/// Reads a .pt2 archive written by torch.export.save. Weights are never read. The context must have the moai and func
/// dialects loaded. Fails with one sentence that names the file, the place, what was found and what was expected.
absl::StatusOr<ImportedModel> importPt2(llvm::StringRef path, const ImportOptions &options, mlir::MLIRContext &context);

} // namespace moai

#endif // MOAI_IMPORT_IMPORT_H
