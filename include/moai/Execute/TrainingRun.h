//===- TrainingRun.h - Training steps on virtual devices -------------------===//
#ifndef MOAI_EXECUTE_TRAININGRUN_H
#define MOAI_EXECUTE_TRAININGRUN_H

#include "moai/Execute/DataSource.h"
#include "moai/Execute/DeviceGrid.h"
#include "moai/Execute/ModelTensors.h"

namespace moai {

/// Runs a compiled candidate step by step. Tensors are known by their names in the framework, whole, however the candidate
/// splits them.
class TrainingRun {
public:
  /// Puts the model's tensors, all of which must be filled but for inputs, on the devices of a compiled candidate of its graph; both must
  /// outlive the run. InvalidArgument if the module is no candidate, or is for another batch than the graph; ResourceExhausted if a
  /// device has no room.
  static absl::StatusOr<TrainingRun> create(const ModelTensors &model, mlir::ModuleOp program, const ExecuteOptions &options);

  /// The inputs from now on, until others are given: replica r takes the r-th part of the samples, in micro-batches one after the other.
  absl::Status setBatch(const Batch &batch);

  struct Step {
    double loss = 0;
    StoredTensors gradients; ///< `grad.NAME`, under every name of a parameter, as the optimizer got them
  };
  /// The next step. An error names the op where a NaN first appears, or at which a device is out of memory.
  absl::StatusOr<Step> run(bool keepGradients, double learningRateFactor = 1);
  /// The loss of the inputs without a step; see DeviceGrid::evaluate.
  absl::StatusOr<double> evaluate() { return grid->evaluate(); }
  /// Steps that have been run, those before a restored state included.
  int64_t steps() const { return numSteps; }

  /// `updated.NAME` of every parameter, under every name, and `updated_buffer.NAME` of every buffer that steps change.
  StoredTensors state() const;
  /// Every parameter, also those that aren't trained, and every buffer that steps change, in the graph's types under each of their plain
  /// names. Nothing is copied; what was viewed stays as it is.
  TensorViews weights() const;

  /// All that the next steps depend on, whole: `parameter.NAME`, in the type of its master where it has one, `first_moment.NAME`,
  /// `second_moment.NAME`, and `buffer.NAME` of buffers that steps change; `fixed.NAME` of all that they don't, inputs excepted, for
  /// ModelTensors::takeFixed. Numbers are exact. The same otherwise.
  TensorViews trainingState() const;
  /// Goes on from such a state, after so many steps: the next one is the one that would have followed, to the bit under the same
  /// configuration and to rounding under any other. InvalidArgument, naming the tensor, if the state is not of this model and optimizer;
  /// nothing is changed then.
  absl::Status restore(const StoredTensors &state, int64_t steps);

  const DeviceGrid &devices() const { return *grid; }

private:
  TrainingRun(const ModelTensors &model, std::unique_ptr<DeviceGrid> grid) : model(&model), grid(std::move(grid)) {}
  /// The tensor of an argument that is no input, before the first step.
  Tensor initialTensor(const DeviceGrid::Argument &argument, int64_t replica) const;
  absl::Status place();
  absl::Status placeInput(int64_t device, size_t argument, const Tensor &whole);
  void store(StoredTensors &into, llvm::StringRef prefix, const ModelTensor &tensor, Tensor content) const;

  /// What the devices of a stage hold of an argument, by replica, as whole tensors by name.
  using Parts = std::vector<std::shared_ptr<const Tensor>>;
  std::vector<std::pair<const ModelTensor *, Tensor>> join(const DeviceGrid::Argument &argument, const Parts &parts) const;
  /// The same of the argument with that number, where it lies, in its own type.
  std::vector<std::pair<const ModelTensor *, TensorView>> view(int64_t stage, size_t argument) const;
  /// The name under which the tensors of an argument stand in a training state, without a prefix for those that don't; empty then.
  static llvm::StringRef statePrefix(const DeviceGrid::Argument &argument);

  const ModelTensors *model;
  std::unique_ptr<DeviceGrid> grid;
  int64_t numSteps = 0;
};

} // namespace moai

#endif // MOAI_EXECUTE_TRAININGRUN_H
