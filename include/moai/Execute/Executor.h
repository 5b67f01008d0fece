//===- Executor.h - Runs a moai module -------------------------------------===//
#ifndef MOAI_EXECUTE_EXECUTOR_H
#define MOAI_EXECUTE_EXECUTOR_H

#include "absl/status/statusor.h"
#include "mlir/IR/BuiltinOps.h"
#include "moai/Execute/Tensor.h"
#include <memory>

namespace moai {

struct ExecuteOptions {
  /// Compute every floating type in double and round nothing: for checks.
  bool float64 = false;
  /// A random number is a function of these two, of the op's stream, of the block instance and of the element's place in the
  /// whole batch: whoever runs the op again, or runs it on some of the samples, draws the same ones.
  uint64_t seed = 0;
  /// Of the training run, from 1; optimizers correct their moments by it as well.
  int64_t step = 1;
  /// Where the samples of the arguments begin in the whole batch.
  int64_t firstSample = 0;
  /// Fail at the first op whose result holds a NaN, and name it.
  bool stopAtNan = false;
  /// Note the bytes that are in use while each op runs.
  bool keepMemoryCurve = false;
  /// Of each virtual device: one that would hold more fails with ResourceExhausted. 0: as much as it takes.
  int64_t deviceMemoryBytes = 0;
  /// On the learning rate that the program's optimizer has.
  double learningRateFactor = 1;
  /// Dropout keeps everything.
  bool isEvaluation = false;
  /// Threads that run virtual devices; 0: one per core. Numbers are the same on any number.
  int threads = 1;
};

/// The reference: plain kernels, one after the other, on one virtual device that has no others to talk to. Not thread-safe.
class Executor {
public:
  using Values = std::vector<std::shared_ptr<const Tensor>>;

  /// The module must outlive the executor. Dimensions take the values of the module's binding.
  Executor(mlir::ModuleOp module, const ExecuteOptions &options);
  ~Executor();

  /// Runs a function of the module on arguments of its types. InvalidArgument, with the op, where an argument has another
  /// shape, an index is out of range, or an op has no kernel.
  absl::StatusOr<Values> run(llvm::StringRef function, Values arguments);

private:
  struct State;
  std::unique_ptr<State> state;
};

/// The kinds of moai.elementwise with a derivative of their own, each with its number of operands that are tensors; without those whose
/// rule is made of other kinds.
std::vector<std::pair<std::string, unsigned>> differentiableElementwiseKinds();

/// Rounds every element to the nearest number of an element type; leaves integers alone.
void roundTo(mlir::Type elementType, std::vector<double> &values);

} // namespace moai

#endif // MOAI_EXECUTE_EXECUTOR_H
