//===- BlockCall.h - One call of a block, or one per instance --------------===//
#ifndef MOAI_IR_BLOCKCALL_H
#define MOAI_IR_BLOCKCALL_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/Moai.h"

namespace moai {

/// A func.call or a moai.repeat of a function. Null for other ops.
class BlockCall {
public:
  BlockCall() = default;
  BlockCall(mlir::Operation *op) : op(llvm::isa_and_nonnull<mlir::func::CallOp, RepeatOp>(op) ? op : nullptr) {}

  explicit operator bool() const { return op; }
  bool operator==(BlockCall other) const { return op == other.op; }
  mlir::Operation *operator->() const { return op; }
  mlir::Operation *getOperation() const { return op; }
  RepeatOp repeat() const { return llvm::dyn_cast_or_null<RepeatOp>(op); }

  /// How often the function runs.
  int64_t count() const { return repeat() ? static_cast<int64_t>(repeat().getCount()) : 1; }
  mlir::FlatSymbolRefAttr callee() const {
    return repeat() ? repeat().getCalleeAttr() : llvm::cast<mlir::func::CallOp>(op).getCalleeAttr();
  }
  void setCallee(mlir::StringRef name) const {
    if (RepeatOp repeated = repeat())
      repeated.setCallee(name);
    else
      llvm::cast<mlir::func::CallOp>(op).setCallee(name);
  }
  /// The result that is an operand of the next iteration in this one's place; -1 without.
  int64_t carry(unsigned operand) const { return repeat() ? repeat().getCarries()[operand] : -1; }

private:
  mlir::Operation *op = nullptr;
};

} // namespace moai

#endif // MOAI_IR_BLOCKCALL_H
