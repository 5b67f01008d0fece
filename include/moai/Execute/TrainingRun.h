//===- TrainingRun.h - Steps of a training graph ---------------------------===//
#ifndef MOAI_EXECUTE_TRAININGRUN_H
#define MOAI_EXECUTE_TRAININGRUN_H

#include "moai/Execute/Executor.h"
#include "moai/Execute/Safetensors.h"
#include "llvm/ADT/StringMap.h"
#include <optional>

namespace moai {

/// Runs a training graph (a @step that returns the loss and a gradient per parameter) step by step, with AdamW between.
class TrainingRun {
public:
  /// `aliases` are further names of parameters, by the name that the graph uses. The module must outlive the run.
  TrainingRun(mlir::ModuleOp trainingGraph, const std::vector<std::pair<std::string, std::string>> &aliases, const ExecuteOptions &options);

  /// Takes parameters, buffers and constants under `param.NAME`, `buffer.NAME`, `constant.NAME` or plain `NAME`; tensors
  /// under other prefixes (`input.`, `grad.`, ...) are for others. Every parameter must be there, under one of its names, and
  /// of the graph's type; one integer type may stand for another.
  absl::Status takeWeights(const StoredTensors &tensors, llvm::StringRef path);
  /// Takes the inputs under `input.NAME` or plain `NAME`; all must be there.
  absl::Status takeInputs(const StoredTensors &tensors, llvm::StringRef path);
  /// Takes what is still missing and stands among these tensors under its plain name, in its shape and type.
  void takeMissing(const StoredTensors &tensors);
  /// Random numbers for what has not been given: parameters near 0 (vectors near 1, biases 0), integers within what they index.
  void fillTheRest(uint64_t seed);

  struct Step {
    double loss = 0;
    StoredTensors gradients; ///< `grad.NAME`, under every name of a parameter
  };
  /// One step: loss and gradients, then the update. An error names the op where a NaN first appears.
  absl::StatusOr<Step> run(const AdamW &optimizer, bool keepGradients);
  /// `updated.NAME` of every parameter, under every name, and `updated_buffer.NAME` of every buffer that steps change.
  StoredTensors state() const;

private:
  struct Argument {
    std::string role, name, type;
    llvm::SmallVector<std::string, 1> aliases;
    mlir::Type elementType;
    std::shared_ptr<const Tensor> tensor;
    Tensor firstMoment, secondMoment;
    bool trained = false, updated = false;
  };
  absl::Status take(Argument &argument, const std::string &key, const StoredTensor &stored, llvm::StringRef path);
  int64_t indexLimit(unsigned argument);

  mlir::ModuleOp module;
  ExecuteOptions options;
  std::vector<Argument> arguments;
  int64_t steps = 0;
};

} // namespace moai

#endif // MOAI_EXECUTE_TRAININGRUN_H
