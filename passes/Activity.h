//===- Activity.h - What gradients flow through ----------------------------===//
#ifndef MOAI_PASSES_ACTIVITY_H
#define MOAI_PASSES_ACTIVITY_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseSet.h"

namespace moai {

/// Adds to `active` the floating values of a function that depend on active ones, but through moai.detach.
void markActive(mlir::func::FuncOp function, llvm::DenseSet<mlir::Value> &active);

/// The floating values of @step that depend on a parameter, the parameters among them.
llvm::DenseSet<mlir::Value> findActive(mlir::func::FuncOp step);

} // namespace moai

#endif // MOAI_PASSES_ACTIVITY_H
