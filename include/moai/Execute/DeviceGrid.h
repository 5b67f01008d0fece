//===- DeviceGrid.h - A compiled candidate on virtual devices --------------===//
#ifndef MOAI_EXECUTE_DEVICEGRID_H
#define MOAI_EXECUTE_DEVICEGRID_H

#include "absl/status/statusor.h"
#include "moai/Execute/Executor.h"
#include "moai/Plan/DeviceMesh.h"
#include <functional>
#include <string>
#include <vector>

namespace moai {

/// A program per stage, as the candidate pipeline makes it, on the virtual devices of its mesh, which are known by their ranks.
/// Each has its own memory and program counter, runs its stage's tasks in the order of its schedule, and stops where a
/// message or the other members of a collective are missing. Several threads may run them: sums are in the order of the
/// devices, so numbers are the same on any number of threads. Not thread-safe, but for what says so.
class DeviceGrid {
public:
  using TensorPtr = std::shared_ptr<const Tensor>;

  /// An argument of a stage's function, which every device of the stage has its own tensor for.
  struct Argument {
    std::string role;                            ///< parameter, master_parameter, first_moment, gradient_accumulator, buffer, input, ...
    llvm::SmallVector<std::string, 2> names;     ///< in the framework; several for a flat shard of several parameters
    mlir::Type elementType;                      ///< of the tensor
    llvm::SmallVector<int64_t, 4> shape;         ///< of the tensor, for an input that of one micro-batch
    llvm::SmallVector<int64_t, 2> batchMultiple; ///< per dimension: positions for one sample, 0 for one that samples don't extend

    bool isShard = false;   ///< one flat part of its tensors, of which the data axis holds all
    bool isUpdated = false; ///< a step gives it its next value
  };

  /// The module, which must outlive the grid, holds the functions @stageK of a compiled candidate, with its moai.config, and no
  /// moai.repeat: every call is written out. InvalidArgument if it doesn't.
  static absl::StatusOr<std::unique_ptr<DeviceGrid>> create(mlir::ModuleOp program, const ExecuteOptions &options);
  ~DeviceGrid();

  const ParallelConfig &config() const;
  const DeviceMesh &mesh() const;
  int64_t numDevices() const { return mesh().numDevices(); }
  llvm::ArrayRef<Argument> arguments(int64_t stage) const;

  /// Gives a device the tensor of an argument; of an input, for one micro-batch. All but accumulators, which start a step at
  /// zero, must be set before the first step. ResourceExhausted if the device has no room for it.
  absl::Status set(int64_t device, size_t argument, TensorPtr tensor, int64_t microBatch = 0);
  /// Its tensor now: what the last step left.
  TensorPtr get(int64_t device, size_t argument) const;

  /// Told, from one thread at a time, of each gradient before it is applied: the device, the number of the argument that it updates (a
  /// parameter or its master), and the gradient in that argument's shape.
  using GradientSink = std::function<void(int64_t device, size_t argument, const Tensor &gradient)>;
  /// Runs a step, numbered from 1, on all devices, and returns its loss. An error names the op, where the loss or
  /// a gradient has a NaN the first one whose result has; the grid is of no use afterwards.
  /// ResourceExhausted if a device is out of memory, with the device, its stage, the op and by how much.
  absl::StatusOr<double> runStep(int64_t step, double learningRateFactor = 1, const GradientSink &onGradient = nullptr);
  /// The loss of the inputs that are set, nothing dropped out and nothing updated: the step's forwards alone. A batch norm still takes
  /// its statistics from the batch.
  absl::StatusOr<double> evaluate();
  /// ExecuteOptions::float64.
  bool computesInDouble() const;

  /// Bytes in use on a device now. From any thread, also during a step.
  int64_t bytesInUse(int64_t device) const;
  /// Seconds for which a device has computed, ever. From any thread, also during a step.
  double busySeconds(int64_t device) const;
  /// Seconds in which any device has computed, ever. From any thread.
  double computingSeconds() const;
  /// The most bytes that were in use on a device at once, from the moment its arguments were set. From any thread, also during a step.
  int64_t peakBytes(int64_t device) const;
  /// Bytes in use on a device while each op of the last step ran; empty unless ExecuteOptions::keepMemoryCurve.
  llvm::ArrayRef<int64_t> memoryCurve(int64_t device) const;

private:
  struct State;
  explicit DeviceGrid(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

} // namespace moai

#endif // MOAI_EXECUTE_DEVICEGRID_H
