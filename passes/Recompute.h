//===- Recompute.h - Forward work done again in the backward ---------------===//
#ifndef MOAI_PASSES_RECOMPUTE_H
#define MOAI_PASSES_RECOMPUTE_H

#include "CallLike.h"
#include "mlir/IR/BuiltinOps.h"

namespace moai {

/// The forward and backward of one block instance, or of several that are repeated.
struct BlockCalls {
  BlockCall forward, backward;

  /// How many leading results of the forward are the block's own; what it returns behind them is for the backward.
  unsigned numOutputs() const;
};

/// The blocks of @step that have a backward, in the order of their forwards.
llvm::SmallVector<BlockCalls> findBlockCalls(mlir::func::FuncOp step);

/// Runs each block's forward again right before its backward, so that of these instances only their arguments are saved.
void recomputeFully(mlir::ModuleOp module, llvm::ArrayRef<BlockCalls> blocks);

/// The first counts[s] of the block instances on each stage s, in calls of their own: repeats are cut where the count ends.
/// Fails, with an error on the module, where a stage has fewer.
mlir::FailureOr<llvm::SmallVector<BlockCalls>> takeFirstBlocks(mlir::func::FuncOp step, llvm::ArrayRef<int64_t> counts,
                                                               llvm::function_ref<int64_t(BlockCall)> stageOf);

/// Saves the arguments of these instances and every result of a product or of attention, and computes the rest of what the
/// backward reads from them. The calls are replaced.
void recomputeSelectively(mlir::ModuleOp module, llvm::ArrayRef<BlockCalls> blocks);

/// Erases what a function computes and doesn't use.
void eraseDeadOps(mlir::func::FuncOp function);

} // namespace moai

#endif // MOAI_PASSES_RECOMPUTE_H
