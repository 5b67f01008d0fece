//===- RepeatBody.h - What one repeat does in each iteration ---------------===//
#ifndef MOAI_PASSES_REPEATBODY_H
#define MOAI_PASSES_REPEATBODY_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "moai/IR/Moai.h"

namespace moai {

/// A new private function with moai.body, at the end of the module. Its name is a stage's, so that nothing is remembered of it.
mlir::func::FuncOp createBody(mlir::ModuleOp module, int64_t stage, llvm::StringRef name, llvm::ArrayRef<mlir::Type> arguments);

/// The body that the repeat has alone, so that it can be changed: one that calls what the repeat called, if it has none yet.
mlir::func::FuncOp getOwnBody(RepeatOp repeat, int64_t stage);

/// Follows a body's block with its type.
void updateBodyType(mlir::func::FuncOp body);

/// The same repeat of a body that takes more operands, or returns other types. The old one is gone; its results are replaced by number.
RepeatOp replaceRepeat(RepeatOp repeat, mlir::func::FuncOp body, mlir::ValueRange addedOperands);

} // namespace moai

#endif // MOAI_PASSES_REPEATBODY_H
