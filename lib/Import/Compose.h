//===- Compose.h - Ops that rules are put together from --------------------===//
#ifndef MOAI_LIB_IMPORT_COMPOSE_H
#define MOAI_LIB_IMPORT_COMPOSE_H

#include "Lowering.h"

namespace moai {

/// An elementwise op of the first operand's type, over broadcast operands and then constants.
ValueId pointwise(Lowering &l, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands, llvm::ArrayRef<double> scalars = {});
/// Where a comparison ("lt", "eq" ...) with a number holds.
ValueId compare(Lowering &l, llvm::StringRef kind, ValueId value, double number);
/// Where a comparison of two tensors holds.
ValueId compareWith(Lowering &l, llvm::StringRef kind, ValueId lhs, ValueId rhs);
/// `yes` where the condition holds, else `no`, in the type of `yes`.
ValueId choose(Lowering &l, ValueId condition, ValueId yes, ValueId no);
/// A number as a scalar tensor.
ValueId scalarOf(Lowering &l, double value, DType dtype);
ValueId detachedFrom(Lowering &l, ValueId value);
/// The tensor in a shape that it broadcasts to.
ValueId broadcastTo(Lowering &l, ValueId value, llvm::ArrayRef<DimId> shape);

/// Whether `vectorNorm` has the norm of that order: the positive ones, infinity and its negative.
bool isNormOrder(double p);
/// (sum |x|^p)^(1/p) over some dimensions or, if none are named, over all, in x's type. As in the framework, no gradient passes
/// where it is 0.
ValueId vectorNorm(Lowering &l, ValueId value, double p, llvm::ArrayRef<int64_t> dims, bool keep);
/// The norm of lhs - rhs + eps along the last dimension, of an order that `isNormOrder` knows.
ValueId pairwiseDistance(Lowering &l, ValueId lhs, ValueId rhs, double p, double eps, bool keep);

/// "mean", "sum" or "none", as the argument `reduction` says.
llvm::StringRef reductionOf(Lowering &l);
/// Binds the output of a loss that was computed by element: their mean, their sum, or all of them.
void setLoss(Lowering &l, ValueId loss);

} // namespace moai

#endif // MOAI_LIB_IMPORT_COMPOSE_H
