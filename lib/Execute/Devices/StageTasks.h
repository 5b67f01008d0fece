//===- StageTasks.h - One device's way through a step ----------------------===//
#ifndef MOAI_LIB_EXECUTE_STAGETASKS_H
#define MOAI_LIB_EXECUTE_STAGETASKS_H

#include "VirtualDevice.h"
#include "moai/Execute/DeviceGrid.h"

namespace moai {

/// What a stage's function says: its parts, their order, and where their results go.
struct StageFacts {
  ParallelConfig config;
  mutable mlir::func::FuncOp function; ///< handles of ops have no const methods
  mutable mlir::func::CallOp load, forward, backward, update;
  std::vector<int64_t> schedule; ///< +k forward, -k backward of micro-batch k, from 1
  std::vector<DeviceGrid::Argument> arguments;
  /// Accumulators: the stage's argument, and the result of the backward that is its next value.
  std::vector<std::pair<unsigned, unsigned>> carried;
  /// By result of the stage's function: the argument whose next value it is, or -1 for the loss.
  std::vector<int64_t> updates;

  /// InvalidArgument if the function is no stage as SchedulePipeline makes it.
  static absl::StatusOr<StageFacts> read(mlir::func::FuncOp stage, const ParallelConfig &config, const DimBinding &binding);
};

/// A device with its stage's arguments, and its progress through the tasks of a step.
class StageTasks {
public:
  StageTasks(const StageFacts &facts, FunctionTable &functions, const KernelTable &kernels, const ExecuteOptions &options,
             const DevicePlace &place);

  /// ResourceExhausted if the device has no room for it.
  absl::Status set(size_t argument, std::shared_ptr<const Tensor> tensor, int64_t microBatch);
  std::shared_ptr<const Tensor> get(size_t argument) const;
  /// The tensors of all arguments but inputs, to go back to.
  TensorList snapshot() const;
  void restore(const TensorList &tensors);
  /// Whether a step has left a NaN in what it updates.
  bool holdsNan() const;

  /// Goes back to the first task.
  void beginStep(const ExecuteOptions &options, const DeviceGrid::GradientSink &onGradient);
  enum class Progress { Finished, Waiting };
  /// Runs tasks until the step is over or others are missing.
  absl::StatusOr<Progress> run(Rendezvous &others);

  VirtualDevice device;
  std::vector<double> losses;              ///< of the step's micro-batches, where the stage computes them
  std::atomic<int64_t> busyNanoseconds{0}; ///< in which it has run, ever

private:
  mlir::func::CallOp currentCall() const;
  int64_t currentMicroBatch() const;
  int64_t firstSample() const;
  DeviceValue lookUp(mlir::Value operand, int64_t microBatch);
  absl::Status startTask();
  void finishTask();
  void keepResults(mlir::func::CallOp call, const std::vector<DeviceValue> &results);
  void endStep();

  const StageFacts &facts;
  FunctionTable &functions;
  DevicePlace place;
  std::vector<DeviceValue> arguments;
  std::vector<std::vector<DeviceValue>> inputs; ///< by argument and micro-batch

  // Of the step at hand.
  size_t task = 0; ///< 0 is the load, then those of the schedule, then the update
  bool isRunning = false;
  bool isEvaluation = false;
  std::vector<DeviceValue> loaded, lastBackward, keptLosses;
  std::map<int64_t, std::vector<DeviceValue>> saved; ///< results of the forward, by micro-batch
};

} // namespace moai

#endif // MOAI_LIB_EXECUTE_STAGETASKS_H
