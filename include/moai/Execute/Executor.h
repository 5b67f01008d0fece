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
  /// Of random numbers; runs with the same seed draw the same ones.
  uint64_t seed = 0;
  /// Fail at the first op whose result holds a NaN, and name it.
  bool stopAtNan = false;
};

/// The reference: plain kernels, one after the other, on one device. Not thread-safe.
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

/// One AdamW update in place, as PyTorch computes it: `step` counts from 1.
struct AdamW {
  double learningRate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01;
  void update(Tensor &parameter, Tensor &firstMoment, Tensor &secondMoment, const Tensor &gradient, int64_t step) const;
};

/// Rounds every element to the nearest number of an element type; leaves integers alone.
void roundTo(mlir::Type elementType, std::vector<double> &values);

} // namespace moai

#endif // MOAI_EXECUTE_EXECUTOR_H
