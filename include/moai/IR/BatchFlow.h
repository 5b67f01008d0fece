//===- BatchFlow.h - What splitting the batch makes of each value ----------===//
#ifndef MOAI_IR_BATCHFLOW_H
#define MOAI_IR_BATCHFLOW_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "moai/IR/Moai.h"
#include "llvm/ADT/DenseMap.h"

namespace moai {

enum class BatchKind : uint8_t {
  Invariant, ///< no sample has a part in it: a parameter, a penalty of weights
  BySample,  ///< a part of the batch has its samples' part of it
  Terms,     ///< a sum of what BatchState::terms says
  Mixed,     ///< something else, or not known to be one of these, from the op `mixer` on
};

/// What a value is, if each part of the batch computes it from its own samples.
///
/// `mean(loss)` is {Terms, means}: the whole batch's is the mean of the parts', weighted by their samples. `sum(loss) + penalty` is {Terms,
/// sums and invariants}. `sum(x * mask) / sum(mask)` is {Terms, sums} with `sum(mask)` in `wholeBatch`: the parts add up if each of them
/// divides by the count of the whole batch, which inputs alone decide. A mean over labels of which some are ignored is of that kind, with
/// the loss's number of targets that count.
struct BatchState {
  BatchKind kind = BatchKind::Invariant;

  /// What terms a value has: sums over samples, means over samples, and some that no sample has a part in.
  bool sums = false, means = false, invariants = false;

  /// Of one that is by sample: in which dimension, which is (outer, b, inner).
  unsigned dim = 0;
  Dim outer = 1, inner = 1;

  /// It depends on inputs and constants, but on no parameter: it can be known of the whole batch before anything else runs.
  bool isInputOnly = false;
  /// Values that depend on inputs alone, and are to be those of the whole batch in every part, in the order of their use.
  llvm::SmallVector<mlir::Value, 1> wholeBatch;
  mlir::Operation *mixer = nullptr;

  bool isSum() const { return kind == BatchKind::Terms && sums && !means && !invariants; }
  /// Also of a term without samples, which is its own mean.
  bool isMean() const { return kind == BatchKind::Terms && means && !sums; }
  bool operator==(const BatchState &other) const;
};

/// Follows the batch forward through a function and the blocks it calls, op by op, by their factors.
class BatchFlow {
public:
  /// Arguments are what their roles say. The module must outlive this.
  explicit BatchFlow(mlir::func::FuncOp step);

  /// Of any value of the function; within blocks, of their last call.
  const BatchState &of(mlir::Value value) const { return states.find(value)->second; }

private:
  llvm::SmallVector<BatchState> follow(mlir::func::FuncOp function, llvm::ArrayRef<BatchState> arguments);
  llvm::SmallVector<BatchState> followRepeat(RepeatOp repeat, llvm::ArrayRef<BatchState> operands);

  llvm::DenseMap<mlir::Value, BatchState> states;
};

} // namespace moai

#endif // MOAI_IR_BATCHFLOW_H
