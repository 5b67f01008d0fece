//===- CallLike.h - Finding and making calls of blocks ---------------------===//
#ifndef MOAI_PASSES_CALLLIKE_H
#define MOAI_PASSES_CALLLIKE_H

#include "moai/IR/BlockCall.h"

namespace moai {

/// The calls of blocks in @step, in order.
inline llvm::SmallVector<BlockCall> findCalls(mlir::func::FuncOp step) {
  llvm::SmallVector<BlockCall> calls;
  for (mlir::Operation &op : step.getBody().front())
    if (BlockCall call = &op)
      calls.push_back(call);
  return calls;
}

/// A call like another one: of `function`, once or as often, the operands' carries given if it is repeated. Results of which
/// `isStacked` is true (by number) are stacks then. Labels and names of instances are taken over.
BlockCall createLike(mlir::OpBuilder &builder, BlockCall like, mlir::func::FuncOp function, mlir::ValueRange operands,
                     llvm::ArrayRef<int64_t> carries, llvm::function_ref<bool(unsigned)> isStacked);

} // namespace moai

#endif // MOAI_PASSES_CALLLIKE_H
