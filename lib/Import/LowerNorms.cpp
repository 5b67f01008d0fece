//===- LowerNorms.cpp - Rules for variances, lengths and distances ---------===//
#include "Compose.h"

using namespace moai;

static llvm::StringRef nameOf(Lowering &l) {
  llvm::StringRef name = l.node->target;
  name = name.drop_front(name.find('.') + 1);
  return name.take_front(name.find('.'));
}

// Half precision is too narrow for sums of powers.
static DType wide(DType dtype) { return dtype == DType::BF16 || dtype == DType::F16 ? DType::F32 : dtype; }

//===----------------------------------------------------------------------===//
// Variances and deviations
//===----------------------------------------------------------------------===//

namespace {
/// What a variance or deviation is taken over, and what its divisor is less than the count.
struct Spread {
  bool isDeviation;
  double correction;
  llvm::SmallVector<int64_t, 4> dims;
  bool keep;
};
} // namespace

static Spread spreadOf(Lowering &l, ValueId self) {
  double correction = l.has("correction") ? l.number("correction", 1) : l.flag("unbiased", true);
  Spread spread{nameOf(l).starts_with("std"), correction, l.dimensions("dim", l.rank(self)), l.flag("keepdim", false)};
  if (spread.dims.empty())
    for (size_t i = 0; i < l.rank(self); ++i)
      spread.dims.push_back(static_cast<int64_t>(i));
  return spread;
}

// How many elements become one, less the correction. The batch may be among the dimensions, so ones are counted.
static ValueId divisorOf(Lowering &l, ValueId value, const Spread &spread) {
  llvm::SmallVector<DimId, 4> shape;
  for (int64_t dim : spread.dims)
    shape.push_back(l.dims(value)[dim]);
  ValueId ones = l.emitOne(OpCode::Generate, "full", {}, l.dtype(value), shape, {}, {1});
  ValueId count = l.reduce("sum", ones, {}, false, l.dtype(value));
  return pointwise(l, "clamp_min", {pointwise(l, "sub", {count}, {spread.correction})}, {0});
}

// The mean has no part in the gradient: what it adds for each element sums up to 0. A deviation is a length, which has a gradient
// of 0 where all elements are equal.
static ValueId composedSpread(Lowering &l, ValueId self, const Spread &spread) {
  ValueId value = l.cast(self, wide(l.dtype(self)));
  DType dtype = l.dtype(value);
  ValueId mean = detachedFrom(l, l.reduce("mean", value, spread.dims, /*keep=*/true, dtype));
  ValueId apart = pointwise(l, "sub", {value, mean});
  if (spread.isDeviation)
    return pointwise(l, "div",
                     {l.reduce("norm", apart, spread.dims, spread.keep, dtype), pointwise(l, "sqrt", {divisorOf(l, value, spread)})});
  ValueId squares = pointwise(l, "square", {apart});
  if (spread.correction == 0)
    return l.reduce("mean", squares, spread.dims, spread.keep, dtype);
  return pointwise(l, "div", {l.reduce("sum", squares, spread.dims, spread.keep, dtype), divisorOf(l, value, spread)});
}

static void spread(Lowering &l) {
  ValueId self = l.tensor("self");
  DType dtype = l.outputMeta(0).dtype;
  Spread spread = spreadOf(l, self);
  l.setOutput(0, spread.correction == 1 ? l.reduce(spread.isDeviation ? "std" : "var", self, spread.dims, spread.keep, dtype)
                                        : l.cast(composedSpread(l, self, spread), dtype));
  if (nameOf(l).ends_with("_mean"))
    l.setOutput(1, l.reduce("mean", self, spread.dims, spread.keep, dtype));
}

//===----------------------------------------------------------------------===//
// Lengths
//===----------------------------------------------------------------------===//

static void norm(Lowering &l) {
  ValueId self = l.tensor("self");
  DType dtype = l.outputMeta(0).dtype;
  double p = l.number("ord", l.number("p", 2));
  auto dims = l.dimensions("dim", l.rank(self));
  bool keep = l.flag("keepdim", false);
  if (!isNormOrder(p))
    return l.lowerOpaque();
  if (p == 2)
    return l.setOutput(l.reduce("norm", self, dims, keep, dtype));
  l.setOutput(l.cast(vectorNorm(l, l.cast(self, wide(dtype)), p, dims, keep), dtype));
}

// Of two dimensions an order names a norm of matrices, and of all of a tensor it needs a vector.
static void linalgNorm(Lowering &l) {
  size_t dims = l.has("dim") ? l.integers("dim").size() : l.rank(l.tensor("self"));
  const pt2::Argument *order = l.argument("ord");
  if (order && (order->kind == pt2::Argument::Kind::String || dims != 1))
    return l.lowerOpaque();
  norm(l);
}

static void dist(Lowering &l) {
  double p = l.number("p", 2);
  if (!isNormOrder(p))
    return l.lowerOpaque();
  l.setOutput(vectorNorm(l, pointwise(l, "sub", {l.tensor("self"), l.tensor("other")}), p, {}, /*keep=*/false));
}

static void distance(Lowering &l) {
  double p = l.number("p", 2);
  if (!isNormOrder(p))
    return l.lowerOpaque();
  l.setOutput(pairwiseDistance(l, l.tensor("x1"), l.tensor("x2"), p, l.number("eps", 1e-6), l.flag("keepdim", false)));
}

// At least `eps`; the gradient is the length's nevertheless, as in the framework.
static ValueId boundedLength(Lowering &l, ValueId value, int64_t dim, double eps) {
  ValueId length = vectorNorm(l, value, 2, {dim}, /*keep=*/true), fixed = detachedFrom(l, length);
  return pointwise(l, "add", {length, pointwise(l, "sub", {pointwise(l, "clamp_min", {fixed}, {eps}), fixed})});
}

static void cosineSimilarity(Lowering &l) {
  ValueId lhs = l.tensor("x1"), rhs = l.tensor("x2");
  auto shape = l.broadcast({lhs, rhs});
  int64_t dim = l.dimension("dim", 1, shape.size());
  auto unit = [&](ValueId value) {
    value = broadcastTo(l, l.cast(value, l.outputMeta(0).dtype), shape);
    return pointwise(l, "div", {value, boundedLength(l, value, dim, l.number("eps", 1e-8))});
  };
  ValueId products = pointwise(l, "mul", {unit(lhs), unit(rhs)});
  l.setOutput(l.reduce("sum", products, {dim}, /*keep=*/false, l.dtype(products)));
}

void moai::addNormRules(llvm::StringMap<LoweringRule> &rules) {
  for (const char *name : {"aten.var", "aten.std", "aten.var_mean", "aten.std_mean"})
    rules[name] = spread;
  rules["aten.linalg_vector_norm"] = rules["aten.norm"] = rules["aten.frobenius_norm"] = norm;
  rules["aten.linalg_norm"] = linalgNorm;
  rules["aten.dist"] = dist;
  rules["aten.pairwise_distance"] = distance;
  rules["aten.cosine_similarity"] = cosineSimilarity;
}
