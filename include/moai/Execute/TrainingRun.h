//===- TrainingRun.h - Training steps on virtual devices -------------------===//
#ifndef MOAI_EXECUTE_TRAININGRUN_H
#define MOAI_EXECUTE_TRAININGRUN_H

#include "moai/Execute/DeviceGrid.h"
#include "moai/Execute/ModelTensors.h"

namespace moai {

/// Runs a compiled candidate step by step. Tensors are known by their names in the framework, whole, however the candidate
/// splits them.
class TrainingRun {
public:
  /// Puts the model's tensors, all of which must be filled, on the devices of a compiled candidate of its graph; both must
  /// outlive the run. Replica r takes the r-th part of the samples, in micro-batches one after the other. InvalidArgument
  /// if the module is no candidate, or is for another batch than the inputs hold.
  static absl::StatusOr<TrainingRun> create(const ModelTensors &model, mlir::ModuleOp program, const ExecuteOptions &options);

  struct Step {
    double loss = 0;
    StoredTensors gradients; ///< `grad.NAME`, under every name of a parameter, as the optimizer got them
  };
  /// The next step. An error names the op where a NaN first appears.
  absl::StatusOr<Step> run(bool keepGradients);
  /// `updated.NAME` of every parameter, under every name, and `updated_buffer.NAME` of every buffer that steps change.
  StoredTensors state() const;

  const DeviceGrid &devices() const { return *grid; }

private:
  TrainingRun(const ModelTensors &model, std::unique_ptr<DeviceGrid> grid) : model(&model), grid(std::move(grid)) {}
  void place();
  void placeInput(int64_t device, size_t argument, const Tensor &whole);
  void store(StoredTensors &into, llvm::StringRef prefix, const ModelTensor &tensor, Tensor content) const;

  /// What the devices of a stage hold of an argument, by replica, as whole tensors by name.
  using Parts = std::vector<std::shared_ptr<const Tensor>>;
  std::vector<std::pair<const ModelTensor *, Tensor>> join(const DeviceGrid::Argument &argument, const Parts &parts) const;

  const ModelTensors *model;
  std::unique_ptr<DeviceGrid> grid;
  int64_t steps = 0;
};

} // namespace moai

#endif // MOAI_EXECUTE_TRAININGRUN_H
