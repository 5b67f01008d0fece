//===- GradientPath.h - From an op without a gradient to a parameter -------===//
#ifndef MOAI_PASSES_GRADIENTPATH_H
#define MOAI_PASSES_GRADIENTPATH_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/Moai.h"

namespace moai {

/// Name of a parameter of @step that the op depends on, through calls as well; empty if it depends on none.
llvm::StringRef parameterBehind(mlir::Operation *op, mlir::func::FuncOp step);

/// Where the op stands in the framework's modules, with `*` for the instance inside a repeated block; empty if unknown.
std::string placeOf(mlir::Operation *op);

} // namespace moai

#endif // MOAI_PASSES_GRADIENTPATH_H
