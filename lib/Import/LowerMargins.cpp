//===- LowerMargins.cpp - Rules for losses of margins and of rates ---------===//
#include "Compose.h"
#include <cmath>

using namespace moai;

// What is above 0.
static ValueId excess(Lowering &l, ValueId value) { return pointwise(l, "clamp_min", {value}, {0}); }

static void marginRanking(Lowering &l) {
  ValueId ahead = pointwise(l, "sub", {l.tensor("input1"), l.tensor("input2")});
  ValueId wanted = pointwise(l, "mul", {pointwise(l, "neg", {ahead}), l.tensor("target")});
  setLoss(l, excess(l, pointwise(l, "add", {wanted}, {l.number("margin", 0)})));
}

// `similar` where the target is 1, `other` where it is -1, both for any other target where `bothElse`, else neither.
static ValueId byTarget(Lowering &l, ValueId similar, ValueId other, bool bothElse) {
  ValueId target = l.tensor("target"), zero = scalarOf(l, 0, l.dtype(similar));
  auto isWanted = [&](double own, double opposite) { return compare(l, bothElse ? "ne" : "eq", target, bothElse ? opposite : own); };
  return pointwise(l, "add", {choose(l, isWanted(1, -1), similar, zero), choose(l, isWanted(-1, 1), other, zero)});
}

static void hingeEmbedding(Lowering &l) {
  ValueId self = l.tensor("self");
  setLoss(l, byTarget(l, self, excess(l, pointwise(l, "rsub", {self}, {l.number("margin", 1)})), /*bothElse=*/true));
}

// The framework adds 1e-12 to squared lengths here, where its cosine similarity bounds lengths.
static void cosineEmbedding(Lowering &l) {
  ValueId lhs = l.tensor("input1"), rhs = l.tensor("input2");
  int64_t dim = static_cast<int64_t>(l.rank(l.tensor("target")));
  if (l.rank(lhs) != l.rank(rhs) || static_cast<int64_t>(l.rank(lhs)) != dim + 1)
    l.fail("compares tensors that don't have one dimension more than the target");
  auto product = [&](ValueId a, ValueId b) { return l.reduce("sum", pointwise(l, "mul", {a, b}), {dim}, false, l.dtype(a)); };
  auto squared = [&](ValueId value) { return pointwise(l, "add", {product(value, value)}, {1e-12}); };
  ValueId cosine = pointwise(l, "div", {product(lhs, rhs), pointwise(l, "sqrt", {pointwise(l, "mul", {squared(lhs), squared(rhs)})})});
  ValueId apart = pointwise(l, "rsub", {cosine}, {1}), close = excess(l, pointwise(l, "sub", {cosine}, {l.number("margin", 0)}));
  setLoss(l, byTarget(l, apart, close, /*bothElse=*/false));
}

static void tripletMargin(Lowering &l) {
  double p = l.number("p", 2), eps = l.number("eps", 1e-6);
  if (!isNormOrder(p))
    return l.lowerOpaque();
  ValueId anchor = l.tensor("anchor"), positive = l.tensor("positive"), negative = l.tensor("negative");
  auto distance = [&](ValueId lhs, ValueId rhs) { return pairwiseDistance(l, lhs, rhs, p, eps, /*keep=*/false); };
  ValueId near = distance(anchor, positive), far = distance(anchor, negative);
  if (l.flag("swap", false))
    far = pointwise(l, "minimum", {far, distance(positive, negative)});
  setLoss(l, excess(l, pointwise(l, "add", {pointwise(l, "sub", {near, far})}, {l.number("margin", 1)})));
}

// Stirling's approximation of log target!, where the target is above 1.
static ValueId logFactorial(Lowering &l, ValueId target) {
  ValueId isAbove = compare(l, "gt", target, 1);
  ValueId safe = choose(l, isAbove, target, scalarOf(l, 1, l.dtype(target)));
  ValueId logarithm = pointwise(l, "log", {safe});
  ValueId products = pointwise(l, "sub", {pointwise(l, "mul", {safe, logarithm}), safe});
  ValueId rest = pointwise(l, "add", {pointwise(l, "mul", {logarithm}, {0.5})}, {0.5 * std::log(2 * M_PI)});
  return choose(l, isAbove, pointwise(l, "add", {products, rest}), scalarOf(l, 0, l.dtype(target)));
}

static void poissonLikelihood(Lowering &l) {
  ValueId input = l.tensor("input"), target = l.cast(l.tensor("target"), l.dtype(input));
  bool isLog = l.flag("log_input", true);
  ValueId rate = isLog ? pointwise(l, "exp", {input}) : input;
  ValueId logRate = isLog ? input : pointwise(l, "log", {pointwise(l, "add", {input}, {l.number("eps", 1e-8)})});
  ValueId loss = pointwise(l, "sub", {rate, pointwise(l, "mul", {target, logRate})});
  setLoss(l, l.flag("full", false) ? pointwise(l, "add", {loss, logFactorial(l, target)}) : loss);
}

void moai::addMarginRules(llvm::StringMap<LoweringRule> &rules) {
  rules["aten.margin_ranking_loss"] = marginRanking;
  rules["aten.hinge_embedding_loss"] = hingeEmbedding;
  rules["aten.cosine_embedding_loss"] = cosineEmbedding;
  rules["aten.triplet_margin_loss"] = tripletMargin;
  rules["aten.poisson_nll_loss"] = poissonLikelihood;
}
