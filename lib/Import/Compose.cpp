//===- Compose.cpp - Ops that rules are put together from ------------------===//
#include "Compose.h"
#include <cmath>

using namespace moai;

ValueId moai::pointwise(Lowering &l, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands, llvm::ArrayRef<double> scalars) {
  return l.emitOne(OpCode::Elementwise, kind, operands, l.dtype(operands[0]), l.broadcast(operands), {}, scalars);
}

ValueId moai::compare(Lowering &l, llvm::StringRef kind, ValueId value, double number) {
  llvm::SmallVector<DimId, 4> shape(l.dims(value));
  return l.emitOne(OpCode::Elementwise, kind, {value}, DType::Bool, shape, {}, {number});
}

ValueId moai::compareWith(Lowering &l, llvm::StringRef kind, ValueId lhs, ValueId rhs) {
  return l.emitOne(OpCode::Elementwise, kind, {lhs, rhs}, DType::Bool, l.broadcast({lhs, rhs}));
}

ValueId moai::choose(Lowering &l, ValueId condition, ValueId yes, ValueId no) {
  return l.emitOne(OpCode::Elementwise, "where", {condition, yes, no}, l.dtype(yes), l.broadcast({condition, yes, no}));
}

ValueId moai::scalarOf(Lowering &l, double value, DType dtype) { return l.emitOne(OpCode::Generate, "full", {}, dtype, {}, {}, {value}); }

ValueId moai::detachedFrom(Lowering &l, ValueId value) {
  llvm::SmallVector<DimId, 4> shape(l.dims(value));
  return l.emitOne(OpCode::Detach, "", {value}, l.dtype(value), shape);
}

ValueId moai::broadcastTo(Lowering &l, ValueId value, llvm::ArrayRef<DimId> shape) {
  return l.dims(value) == shape ? value : l.emitOne(OpCode::Expand, "", {value}, l.dtype(value), shape);
}

bool moai::isNormOrder(double p) { return p > 0 || std::isinf(p); }

// x^p, and 0 with a gradient of 0 where x is 0, which has no slope there if p is less than 1.
static ValueId powerOrZero(Lowering &l, ValueId value, double p) {
  DType dtype = l.dtype(value);
  ValueId isZero = compare(l, "eq", value, 0);
  ValueId power = pointwise(l, "pow", {choose(l, isZero, scalarOf(l, 1, dtype), value)}, {p});
  return choose(l, isZero, scalarOf(l, 0, dtype), power);
}

ValueId moai::vectorNorm(Lowering &l, ValueId value, double p, llvm::ArrayRef<int64_t> dims, bool keep) {
  llvm::SmallVector<int64_t, 4> reduced(dims);
  DType dtype = l.dtype(value);
  if (p == 2)
    return l.reduce("norm", value, reduced, keep, dtype);
  ValueId sizes = pointwise(l, "abs", {value});
  if (std::isinf(p))
    return l.reduce(p > 0 ? "amax" : "amin", sizes, reduced, keep, dtype);
  if (p == 1)
    return l.reduce("sum", sizes, reduced, keep, dtype);
  ValueId powers = p < 1 ? powerOrZero(l, sizes, p) : pointwise(l, "pow", {sizes}, {p});
  return powerOrZero(l, l.reduce("sum", powers, reduced, keep, dtype), 1 / p);
}

ValueId moai::pairwiseDistance(Lowering &l, ValueId lhs, ValueId rhs, double p, double eps, bool keep) {
  ValueId apart = pointwise(l, "add", {pointwise(l, "sub", {lhs, rhs})}, {eps});
  if (l.rank(apart) == 0)
    l.fail("measures the distance of scalars");
  return vectorNorm(l, apart, p, {static_cast<int64_t>(l.rank(apart)) - 1}, keep);
}

llvm::StringRef moai::reductionOf(Lowering &l) {
  int64_t reduction = l.integer("reduction", 1);
  return reduction == 0 ? "none" : reduction == 2 ? "sum" : "mean";
}

void moai::setLoss(Lowering &l, ValueId loss) {
  llvm::StringRef reduction = reductionOf(l);
  l.setOutput(reduction == "none" ? loss : l.reduce(reduction, loss, {}, false, l.outputMeta(0).dtype));
}
