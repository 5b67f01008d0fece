//===- OpSupport.h - Shared by the op definitions --------------------------===//
#ifndef MOAI_LIB_IR_OPSUPPORT_H
#define MOAI_LIB_IR_OPSUPPORT_H

#include "moai/IR/Gradient.h"
#include "moai/IR/Moai.h"

namespace moai {

/// Emits "operand 'x' has dimension 1 = 8, expected 16".
mlir::LogicalResult expectDim(mlir::Operation *op, llvm::StringRef what, SymTensorType type, unsigned index, const Dim &expected);
/// Emits if the rank differs.
mlir::LogicalResult expectRank(mlir::Operation *op, llvm::StringRef what, SymTensorType type, unsigned rank);
/// Emits if shapes differ.
mlir::LogicalResult expectSameShape(mlir::Operation *op, llvm::StringRef what, SymTensorType type, SymTensorType expected);
/// Emits unless 0 <= index < rank.
mlir::LogicalResult expectDimIndex(mlir::Operation *op, int64_t index, unsigned rank);

bool isLowPrecision(SymTensorType type);

} // namespace moai

#endif // MOAI_LIB_IR_OPSUPPORT_H
