//===- VirtualDevice.h - A program counter and a memory --------------------===//
#ifndef MOAI_LIB_EXECUTE_VIRTUALDEVICE_H
#define MOAI_LIB_EXECUTE_VIRTUALDEVICE_H

#include "Kernels/Kernels.h"
#include "Rendezvous.h"
#include "absl/status/statusor.h"
#include "moai/Execute/Executor.h"
#include "moai/IR/Storage.h"
#include "moai/Plan/DeviceMesh.h"
#include <atomic>

namespace moai {

/// Bytes in use on a device, and the most there have been. Other threads may read both at any time.
struct DeviceMemory {
  std::atomic<int64_t> live{0}, peak{0};
  bool keepCurve = false;
  std::vector<int64_t> curve; ///< bytes while each op ran, if they are kept

  /// An op runs, whose kernel holds so many bytes beside its operands and results.
  void note(int64_t temporary) {
    int64_t bytes = live + temporary;
    if (bytes > peak)
      peak = bytes;
    if (keepCurve)
      curve.push_back(bytes);
  }
};

/// A storage on a device: in use for as long as anything refers to it.
class Allocation {
public:
  Allocation(DeviceMemory &memory, int64_t bytes) : memory(memory), bytes(bytes) { memory.live += bytes; }
  ~Allocation() { memory.live -= bytes; }
  Allocation(const Allocation &) = delete;
  Allocation &operator=(const Allocation &) = delete;

private:
  DeviceMemory &memory;
  int64_t bytes;
};

/// A tensor on a device: its numbers, and the storage that they take there, which views share.
struct DeviceValue {
  std::shared_ptr<const Tensor> tensor;
  std::shared_ptr<Allocation> storage;
};

/// Where a device stands.
struct DevicePlace {
  DeviceMesh mesh;
  int64_t rank = 0;

  int64_t stage() const { return mesh.stageOf(rank); }
  /// The device of another stage that works on the same samples.
  int64_t peer(int64_t otherStage) const { return mesh.memberAt(rank, MeshAxis::Stage, otherStage); }
};

/// Runs functions op by op, with the numbers of the reference kernels and the memory of an eager framework: results appear
/// with their op, and go after their last use. Stops where it has to wait for another device and goes on from there.
class VirtualDevice {
public:
  VirtualDevice(FunctionTable &functions, const KernelTable &kernels, const ExecuteOptions &options, const DevicePlace &place)
      : functions(functions), kernels(kernels), options(options), at(place) {}

  /// Options for the next step, whose memory curve begins anew.
  void beginStep(const ExecuteOptions &stepOptions);
  /// Begins a function. Values that nothing else refers to are freed as soon as it no longer needs them. InvalidArgument if
  /// an argument is not of its type's shape. `firstSample` is the place of its samples in the whole batch.
  absl::Status start(mlir::func::FuncOp function, std::vector<DeviceValue> arguments, int64_t firstSample);
  /// Runs until the function has ended (true) or waits for other devices (false).
  absl::StatusOr<bool> run(Rendezvous &others);
  /// Of the function that has ended.
  std::vector<DeviceValue> takeResults() { return std::move(results); }
  /// `device 3 waits at moai.receive`.
  std::string describePosition() const;
  /// Ops that have been run, ever: whether it gets further.
  size_t opsRun() const { return numOps; }

  /// Puts a tensor, of the type of `like`, on this device.
  DeviceValue allocate(std::shared_ptr<const Tensor> tensor, mlir::Value like);
  /// The same for what comes from outside: ResourceExhausted, naming it by `what`, if there is no room.
  absl::StatusOr<DeviceValue> place(std::shared_ptr<const Tensor> tensor, mlir::Value like, const std::string &what);

  /// Called ahead of each optimizer with the gradients that it gets.
  std::function<void(OptimizerOp, const TensorList &)> onUpdate;

  DeviceMemory memory;

private:
  struct Frame {
    mlir::func::FuncOp function;
    const FunctionFacts *facts = nullptr;
    uint64_t randomKey = 0;
    mlir::Block::iterator next;
    llvm::DenseMap<mlir::Value, DeviceValue> values;
    llvm::DenseMap<mlir::Value, unsigned> usesLeft;
  };

  void define(Frame &frame, mlir::Value value, DeviceValue content);
  void release(Frame &frame, mlir::Value value);
  void finishOp(Frame &frame, mlir::Operation &op, std::vector<DeviceValue> produced);
  absl::Status push(mlir::func::FuncOp function, std::vector<DeviceValue> arguments, uint64_t randomKey);
  absl::Status enter(mlir::func::CallOp call);
  void leave(mlir::Operation &terminator);
  absl::StatusOr<bool> runOp(mlir::Operation &op, Rendezvous &others);
  absl::Status compute(Frame &frame, mlir::Operation &op, TensorList &produced);
  absl::StatusOr<bool> communicate(Frame &frame, mlir::Operation &op, Rendezvous &others, TensorList &produced);
  absl::Status check(mlir::Operation &op, mlir::Value result, Tensor &tensor) const;
  absl::Status checkRoom(const std::string &what, int64_t added) const;
  absl::Status locate(const absl::Status &status) const;

  FunctionTable &functions;
  const KernelTable &kernels;
  ExecuteOptions options;
  DevicePlace at;
  int64_t firstSample = 0;
  size_t numOps = 0;
  std::vector<Frame> frames; ///< the innermost function last
  std::vector<DeviceValue> results;
};

/// The shape of a value's tensor; complex numbers are pairs, in a last dimension of 2.
Offsets concreteShape(SymTensorType type, const DimBinding &binding);

} // namespace moai

#endif // MOAI_LIB_EXECUTE_VIRTUALDEVICE_H
