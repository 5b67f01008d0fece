//===- Recompute.h - Forward work done again in the backward ---------------===//
#ifndef MOAI_PASSES_RECOMPUTE_H
#define MOAI_PASSES_RECOMPUTE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace moai {

/// The forward and backward call of one block instance.
struct BlockCalls {
  mlir::func::CallOp forward, backward;
};

/// The block instances of @step that have a backward, in the order of their forwards.
llvm::SmallVector<BlockCalls> findBlockCalls(mlir::func::FuncOp step);

/// Calls each block's forward again right before its backward, so that of these instances only their arguments are saved.
void recomputeFully(mlir::ModuleOp module, llvm::ArrayRef<BlockCalls> blocks);

/// The first counts[s] of the blocks on each stage s; fails, with an error on the module, where a stage has fewer.
mlir::FailureOr<llvm::SmallVector<BlockCalls>> takeFirstBlocks(mlir::ModuleOp module, llvm::ArrayRef<BlockCalls> blocks,
                                                               llvm::ArrayRef<int64_t> counts,
                                                               llvm::function_ref<int64_t(mlir::func::CallOp)> stageOf);

/// Saves the arguments of these instances and every result of a product or of attention, and computes the rest of what the
/// backward reads from them. The calls are replaced.
void recomputeSelectively(mlir::ModuleOp module, llvm::ArrayRef<BlockCalls> blocks);

/// Erases what a function computes and doesn't use.
void eraseDeadOps(mlir::func::FuncOp function);

} // namespace moai

#endif // MOAI_PASSES_RECOMPUTE_H
