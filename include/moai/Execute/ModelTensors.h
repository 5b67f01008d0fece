//===- ModelTensors.h - The numbers of a training graph --------------------===//
#ifndef MOAI_EXECUTE_MODELTENSORS_H
#define MOAI_EXECUTE_MODELTENSORS_H

#include "mlir/IR/BuiltinOps.h"
#include "moai/Execute/CheckpointWeights.h"
#include "moai/IR/Moai.h"
#include <memory>

namespace moai {

/// A tensor that a training graph's @step takes, and its numbers before the first step.
struct ModelTensor {
  std::string role;                          ///< parameter, buffer, constant or input
  std::string name;                          ///< as the graph uses it
  llvm::SmallVector<std::string, 1> aliases; ///< further names of a tied parameter
  std::string type;                          ///< as files spell it
  mlir::Type elementType;
  std::shared_ptr<const Tensor> tensor;

  bool isTrained() const { return role == "parameter"; }
};

/// The tensors that a training graph takes, each of a stack by its own name, filled from files, from the model's own archive, or with
/// random numbers.
class ModelTensors {
public:
  /// `aliases` are further names of parameters, by the name that the graph uses. The module must outlive this.
  ModelTensors(mlir::ModuleOp trainingGraph, const std::vector<std::pair<std::string, std::string>> &aliases);

  /// Takes parameters, buffers and constants under `param.NAME`, `buffer.NAME`, `constant.NAME` or plain `NAME`; tensors
  /// under other prefixes (`input.`, `grad.`, ...) are for others. If no parameter is there under one of its names, its own or an alias,
  /// names are compared without the prefix that the graph's or the checkpoint's have more (`model.` of a module around the model), the one
  /// that fits most. Every parameter must be there, and of the graph's shape and type, or one that may stand for it (mayStandFor).
  absl::Status takeWeights(const CheckpointWeights &weights);
  /// The same of tensors in memory; `path` is for messages.
  absl::Status takeWeights(const StoredTensors &tensors, llvm::StringRef path);
  /// Takes the inputs under `input.NAME` or plain `NAME`; all must be there.
  absl::Status takeInputs(const StoredTensors &tensors, llvm::StringRef path);
  /// Takes what is still missing and stands among these tensors under its plain name, in its shape and type.
  void takeMissing(const StoredTensors &tensors);
  /// Takes what steps don't change out of a TrainingRun::trainingState, before anything else is taken. InvalidArgument if a parameter is
  /// missing that isn't trained.
  absl::Status takeFixed(const StoredTensors &state);
  /// Random numbers for what has not been given: parameters near 0 (vectors near 1, biases 0), integers within what they index. Without
  /// inputs where batches are to come from elsewhere.
  void fillTheRest(uint64_t seed, bool withInputs = true);

  llvm::ArrayRef<ModelTensor> all() const { return tensors; }
  /// Null if the graph has no argument of that name.
  const ModelTensor *find(llvm::StringRef name) const;
  /// Samples that the inputs hold.
  int64_t batch() const;

private:
  /// Whether a stored tensor may be the argument's.
  absl::Status check(const ModelTensor &argument, const std::string &key, const CheckpointWeights::Entry &stored,
                     llvm::StringRef path) const;
  int64_t indexLimit(const ModelTensor &tensor);
  SymTensorType typeOf(const ModelTensor &tensor) const;

  mlir::ModuleOp module;
  std::vector<ModelTensor> tensors;
  std::vector<unsigned> values; ///< by tensor: the argument of @step that it is, or that it is in
};

} // namespace moai

#endif // MOAI_EXECUTE_MODELTENSORS_H
