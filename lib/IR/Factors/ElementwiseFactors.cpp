//===- ElementwiseFactors.cpp - Factors of ops that work element by element ===//
#include "FactorBuilder.h"
#include "moai/Plan/OptimizerPolicy.h"

using namespace mlir;
using namespace moai;

using Group = SmallVector<unsigned, 2>;

// In which operands, taken together, a function is linear.
static SmallVector<Group, 2> linearGroups(StringRef kind, unsigned arity, ArrayRef<double> scalars) {
  bool isZero = !scalars.empty() && scalars[0] == 0;
  if (kind.contains("_backward")) // the gradient comes first
    return kind == "div_backward" ? SmallVector<Group, 2>{{0}, {1}} : SmallVector<Group, 2>{{0}};
  if (arity == 1) {
    if (kind == "neg" || kind == "tril" || kind == "triu" || (!scalars.empty() && (kind == "mul" || kind == "div")))
      return {{0}};
    return {};
  }
  if (kind == "mul" || kind == "mul_conj")
    return {{0}, {1}};
  if (kind == "div")
    return {{0}};
  if (kind == "add" || kind == "sub" || kind == "rsub" || kind == "lerp")
    return {{0, 1}};
  if (kind == "addcmul")
    return {{0, 1}, {0, 2}};
  if (kind == "addcdiv")
    return {{0, 1}};
  if (kind == "select" || kind == "select_not")
    return {{1}};
  if (kind == "where")
    return arity == 3 ? SmallVector<Group, 2>{{1, 2}} : isZero ? SmallVector<Group, 2>{{1}} : SmallVector<Group, 2>{};
  if (kind == "masked_fill")
    return arity == 3 ? SmallVector<Group, 2>{{0, 2}} : isZero ? SmallVector<Group, 2>{{0}} : SmallVector<Group, 2>{};
  return {};
}

// Whether a dimension was reduced, of the operands of a reduction's gradient: the gradient, the result, and the input, whose shape this is.
static bool isReduced(ArrayRef<Dim> reduced, ArrayRef<Dim> shape, unsigned dim) {
  unsigned extra = shape.size() - reduced.size();
  return dim < extra || reduced[dim - extra] != shape[dim];
}

// What a part of the result's dimension means.
static Role roleOf(ElementwiseOp op, const FactorBuilder &factors, unsigned dim) {
  StringRef kind = op.getKind();
  ArrayRef<Dim> shape = factors.resultShape(0);
  if (kind == "bernoulli") // random, but not by a place that is known
    return FactorKind::Whole;
  if ((kind == "tril" || kind == "triu") && dim + 2 >= shape.size())
    return special(rules::kPositions);
  if (kind == "mean_backward" && isReduced(factors.operandShape(0), shape, dim))
    return special(rules::kExtent);
  bool seesAll = llvm::is_contained({"amax_backward", "amin_backward", "prod_backward", "var_backward", "std_backward"}, kind);
  bool isWhole = seesAll && (op.getNumOperands() < 2 || isReduced(factors.operandShape(1), shape, dim));
  return isWhole ? FactorKind::Whole : FactorKind::Map;
}

OpFactors ElementwiseOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> shape = factors.resultShape(0);
  ValueFactors dims;
  for (unsigned dim = 0; dim < shape.size(); ++dim)
    dims.push_back(factors.add(shape[dim], roleOf(*this, factors, dim)));
  factors.setResult(0, dims);
  for (unsigned i = 0; i < getNumOperands(); ++i)
    factors.broadcastOperand(i, dims, shape);
  for (const Group &group : linearGroups(getKind(), getNumOperands(), getScalars()))
    factors.linear(group);
  return factors.finish();
}

static OpFactors mapElements(Operation *op, bool isLinear) {
  FactorBuilder factors(op);
  factors.mapAll({0}, {0}, factors.addAll(factors.operandShape(0)));
  if (isLinear)
    factors.linear({0});
  return factors.finish();
}

OpFactors CastOp::getFactors() {
  Type from = tensorOf(getInput()).getElementType(), to = tensorOf(getResult()).getElementType();
  return mapElements(*this, isa<FloatType>(from) && isa<FloatType>(to));
}
OpFactors CopyOp::getFactors() { return mapElements(*this, /*isLinear=*/true); }
OpFactors DetachOp::getFactors() { return mapElements(*this, /*isLinear=*/true); }

OpFactors DropoutOp::getFactors() {
  FactorBuilder factors(*this);
  factors.mapAll({0}, {0, 1}, factors.addDrawn(factors.operandShape(0)));
  factors.linear({0});
  return factors.finish();
}

OpFactors AccumulateOp::getFactors() {
  FactorBuilder factors(*this);
  unsigned count = getOutputs().size();
  Group all;
  for (unsigned i = 0; i < count; ++i)
    factors.mapAll({i, count + i}, {i}, factors.addAll(factors.resultShape(i)));
  for (unsigned i = 0; i < 2 * count; ++i)
    all.push_back(i);
  factors.linear(all);
  return factors.finish();
}

// Each element of a parameter by itself; the squared norm, where there is one, is given.
OpFactors OptimizerOp::getFactors() {
  FactorBuilder factors(*this);
  unsigned count = getGradients().size(), numStates = parseOptimizer(getPolicy().getText())->numStates();
  for (unsigned i = 0; i < count; ++i) {
    Group operands{i, count + i}, results{i};
    for (unsigned k = 0; k < numStates; ++k) {
      operands.push_back((2 + k) * count + i);
      results.push_back((1 + k) * count + i);
    }
    factors.mapAll(operands, results, factors.addAll(factors.operandShape(count + i)));
  }
  return factors.finish();
}
