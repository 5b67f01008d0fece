//===- LowerLosses.cpp - Rules for losses ----------------------------------===//
#include "Compose.h"
#include "absl/strings/str_cat.h"
#include <cmath>

using namespace moai;

//===----------------------------------------------------------------------===//
// Classification
//===----------------------------------------------------------------------===//

namespace {

/// Scores and targets of a classification, a row for each target.
struct Rows {
  ValueId scores = kNoValue;         ///< [rows, classes]
  ValueId target = kNoValue;         ///< [rows] class numbers, or [rows, classes] probabilities
  llvm::SmallVector<DimId, 4> shape; ///< what the rows are of
  bool areProbabilities = false;
};

/// What rows count, of which [rows].
struct RowWeights {
  ValueId classes = kNoValue; ///< targets that index: those to be ignored are 0
  ValueId counted = kNoValue; ///< 1, or 0 where the target is to be ignored
  ValueId all = kNoValue;     ///< the same times the weight of the row's class
};

} // namespace

// [n, classes, places...] with a row for each place of each sample.
static ValueId classesLast(Lowering &l, ValueId value, DimId rows) {
  llvm::SmallVector<DimId, 4> from(l.dims(value)), shape;
  llvm::SmallVector<int64_t, 4> permutation{0};
  for (size_t i = 2; i < from.size(); ++i)
    permutation.push_back(i);
  permutation.push_back(1);
  for (int64_t dim : permutation)
    shape.push_back(from[dim]);
  if (from.size() > 2)
    value = l.emitOne(OpCode::Transpose, "", {value}, l.dtype(value), shape, permutation);
  return l.reshape(value, {rows, from[1]});
}

static Rows rowsOf(Lowering &l) {
  Rows rows{l.tensor("self"), l.tensor("target"), {}, false};
  llvm::SmallVector<DimId, 4> scores(l.dims(rows.scores)), target(l.dims(rows.target));
  rows.areProbabilities = isFloating(l.dtype(rows.target)) && scores.size() == target.size();
  if (scores.empty() || (!rows.areProbabilities && target.size() + 1 != scores.size()))
    l.fail(absl::StrCat("compares scores of rank ", scores.size(), " with targets of rank ", target.size()));
  if (scores.size() == 1) { // one row
    scores.insert(scores.begin(), l.one());
    rows.scores = l.reshape(rows.scores, scores);
    rows.target = l.reshape(rows.target, rows.areProbabilities ? scores : llvm::SmallVector<DimId, 4>{l.one()});
    return rows;
  }
  rows.shape = scores;
  rows.shape.erase(rows.shape.begin() + 1);
  llvm::SmallVector<DimId, 4> compared = target;
  if (rows.areProbabilities)
    compared.erase(compared.begin() + 1);
  for (auto [own, other] : llvm::zip(rows.shape, compared)) {
    if (l.graph.dims.hint(own) != l.graph.dims.hint(other))
      l.fail(absl::StrCat("compares ", l.graph.dims.hint(own), " rows with ", l.graph.dims.hint(other), " targets"));
    own = l.graph.dims.unify(own, other, /*sure=*/true);
  }
  Dim count = 1;
  for (DimId dim : rows.shape)
    count = count * l.graph.dims.dim(dim);
  DimId all = rows.shape.size() == 1 ? rows.shape[0] : l.graph.dims.get(count);
  if (scores.size() > 2) {
    rows.scores = classesLast(l, rows.scores, all);
    rows.target = rows.areProbabilities ? classesLast(l, rows.target, all) : l.reshape(rows.target, {all});
  }
  return rows;
}

// One kernel, as the framework has it for class numbers without weights.
static ValueId fusedCrossEntropy(Lowering &l, const Rows &rows) {
  llvm::StringRef reduction = reductionOf(l);
  llvm::SmallVector<DimId, 4> scores(l.dims(rows.scores)), shape;
  if (reduction == "none")
    shape.push_back(scores[0]);
  ValueId loss = l.newValue(l.outputMeta(0).dtype, shape), logProbabilities = l.newValue(l.dtype(rows.scores), scores);
  ValueId counted = l.newValue(l.dtype(rows.scores), {});
  GraphOp &op = l.emit(OpCode::CrossEntropy, reduction, {rows.scores, rows.target});
  op.ints = {l.integer("ignore_index", -100)};
  op.floats = {l.number("label_smoothing", 0)};
  op.results = {loss, logProbabilities, counted};
  for (ValueId v : op.results)
    l.graph.values[v].producer = static_cast<int32_t>(l.graph.ops.size() - 1);
  return reduction == "none" ? l.reshape(loss, rows.shape) : loss;
}

// By the classes' weights, if there are any.
static RowWeights weightsOf(Lowering &l, const Rows &rows) {
  llvm::SmallVector<DimId, 4> shape(l.dims(rows.target));
  ValueId counts =
      l.emitOne(OpCode::Elementwise, "ne", {rows.target}, DType::Bool, shape, {}, {static_cast<double>(l.integer("ignore_index", -100))});
  RowWeights weights;
  weights.classes = pointwise(l, "mul", {rows.target, l.cast(counts, l.dtype(rows.target))});
  weights.all = weights.counted = l.cast(counts, l.dtype(rows.scores));
  if (l.has("weight")) {
    ValueId weight = l.tensor("weight");
    weights.all = pointwise(
        l, "mul", {l.emitOne(OpCode::Gather, "index_select", {weight, weights.classes}, l.dtype(weight), shape, {0}), weights.counted});
  }
  return weights;
}

// -log of the probability of each row's class, times what the row counts.
static ValueId likelihoodOfRows(Lowering &l, ValueId logProbabilities, const RowWeights &weights) {
  llvm::SmallVector<DimId, 4> column{l.dims(weights.classes)[0], l.one()};
  ValueId at = l.reshape(weights.classes, column);
  ValueId chosen = l.emitOne(OpCode::Gather, "gather", {logProbabilities, at}, l.dtype(logProbabilities), column, {1});
  return pointwise(l, "mul", {pointwise(l, "neg", {l.reshape(chosen, {column[0]})}), weights.all});
}

// Of loss by row: all of them, their sum, or their sum over what the rows count.
static ValueId reduceRows(Lowering &l, ValueId loss, const RowWeights &weights, const Rows &rows) {
  llvm::StringRef reduction = reductionOf(l);
  if (reduction == "none")
    return l.reshape(loss, rows.shape);
  ValueId sum = l.reduce("sum", loss, {}, false, l.dtype(loss));
  return reduction == "sum" ? sum : pointwise(l, "div", {sum, l.reduce("sum", weights.all, {}, false, l.dtype(weights.all))});
}

static void negativeLogLikelihood(Lowering &l) {
  Rows rows = rowsOf(l);
  if (rows.areProbabilities)
    l.fail("takes class numbers as targets");
  RowWeights weights = weightsOf(l, rows);
  l.setOutput(reduceRows(l, likelihoodOfRows(l, rows.scores, weights), weights, rows));
  if (l.numOutputs() > 1)
    l.setOutput(1, l.reduce("sum", weights.all, {}, false, l.dtype(weights.all)));
}

// Each class of a row by the weight of the class, if there are weights.
static ValueId weighClasses(Lowering &l, ValueId value) {
  return l.has("weight") ? pointwise(l, "mul", {value, l.tensor("weight")}) : value;
}

// Smoothing takes a share of each row's loss from its class and spreads it over all classes, by their weights.
static ValueId weightedCrossEntropy(Lowering &l, const Rows &rows, ValueId logProbabilities) {
  RowWeights weights = weightsOf(l, rows);
  ValueId loss = likelihoodOfRows(l, logProbabilities, weights);
  if (double smoothing = l.number("label_smoothing", 0); smoothing > 0) {
    double share = smoothing / static_cast<double>(l.graph.dims.hint(l.dims(rows.scores)[1]));
    ValueId sum = l.reduce("sum", weighClasses(l, logProbabilities), {1}, false, l.dtype(logProbabilities));
    ValueId spread = pointwise(l, "mul", {pointwise(l, "mul", {sum}, {-share}), weights.counted});
    loss = pointwise(l, "add", {pointwise(l, "mul", {loss}, {1 - smoothing}), spread});
  }
  return reduceRows(l, loss, weights, rows);
}

// The mean is over rows, whatever the classes' weights are.
static ValueId probabilityCrossEntropy(Lowering &l, const Rows &rows, ValueId logProbabilities) {
  ValueId target = rows.target;
  if (double smoothing = l.number("label_smoothing", 0); smoothing > 0) {
    double share = smoothing / static_cast<double>(l.graph.dims.hint(l.dims(rows.scores)[1]));
    target = pointwise(l, "add", {pointwise(l, "mul", {target}, {1 - smoothing})}, {share});
  }
  ValueId products = weighClasses(l, pointwise(l, "mul", {logProbabilities, target}));
  ValueId loss = pointwise(l, "neg", {l.reduce("sum", products, {1}, false, l.dtype(products))});
  llvm::StringRef reduction = reductionOf(l);
  return reduction == "none" ? l.reshape(loss, rows.shape) : l.reduce(reduction, loss, {}, false, l.dtype(loss));
}

static void crossEntropy(Lowering &l) {
  Rows rows = rowsOf(l);
  if (!rows.areProbabilities && !l.has("weight"))
    return l.setOutput(fusedCrossEntropy(l, rows));
  llvm::SmallVector<DimId, 4> shape(l.dims(rows.scores));
  ValueId logProbabilities = l.emitOne(OpCode::Softmax, "", {rows.scores}, l.dtype(rows.scores), shape, {1, /*log=*/1});
  l.setOutput(rows.areProbabilities ? probabilityCrossEntropy(l, rows, logProbabilities) : weightedCrossEntropy(l, rows, logProbabilities));
}

// Every class as far as its score isn't `margin` below that of the row's class, which itself loses nothing.
static void multiMargin(Lowering &l) {
  Rows rows = rowsOf(l);
  if (rows.areProbabilities)
    l.fail("takes class numbers as targets");
  double p = l.number("p", 1), margin = l.number("margin", 1);
  llvm::SmallVector<DimId, 4> shape(l.dims(rows.target)), column{shape[0], l.one()};
  ValueId at = l.reshape(rows.target, column);
  ValueId own = l.emitOne(OpCode::Gather, "gather", {rows.scores, at}, l.dtype(rows.scores), column, {1});
  ValueId excess = pointwise(l, "clamp_min", {pointwise(l, "add", {pointwise(l, "sub", {rows.scores, own})}, {margin})}, {0});
  ValueId sum = l.reduce("sum", pointwise(l, "pow", {excess}, {p}), {1}, false, l.dtype(rows.scores));
  ValueId others = pointwise(l, "add", {sum}, {-std::pow(std::max(margin, 0.0), p)});
  ValueId loss = pointwise(l, "div", {others}, {static_cast<double>(l.graph.dims.hint(l.dims(rows.scores)[1]))});
  if (l.has("weight")) {
    ValueId weight = l.tensor("weight");
    loss = pointwise(l, "mul", {loss, l.emitOne(OpCode::Gather, "index_select", {weight, rows.target}, l.dtype(weight), shape, {0})});
  }
  setLoss(l, l.reshape(loss, rows.shape));
}

//===----------------------------------------------------------------------===//
// Element by element
//===----------------------------------------------------------------------===//

static ValueId squaredDifference(Lowering &l) { return pointwise(l, "squared_difference", {l.tensor("self"), l.tensor("target")}); }

static ValueId distance(Lowering &l) { return pointwise(l, "l1_loss", {l.tensor("self"), l.tensor("target")}); }

// A parabola that goes over into lines of slope `slope` where differences reach `limit`.
static ValueId roundedDistance(Lowering &l, double limit, double slope) {
  ValueId apart = distance(l);
  if (limit == 0)
    return apart;
  ValueId squares = pointwise(l, "mul", {pointwise(l, "mul", {apart, apart})}, {0.5 * slope / limit});
  ValueId lines = pointwise(l, "mul", {pointwise(l, "add", {apart}, {-0.5 * limit})}, {slope});
  return choose(l, compare(l, "lt", apart, limit), squares, lines);
}

static ValueId smoothDistance(Lowering &l) { return roundedDistance(l, l.number("beta", 1), 1); }

static ValueId huber(Lowering &l) {
  double delta = l.number("delta", 1);
  return roundedDistance(l, delta, delta);
}

// target (log target - self), where a probability of 0 adds nothing.
static ValueId divergence(Lowering &l) {
  ValueId self = l.tensor("self"), target = l.tensor("target");
  if (l.flag("log_target", false))
    return pointwise(l, "mul", {pointwise(l, "exp", {target}), pointwise(l, "sub", {target, self})});
  ValueId zero = scalarOf(l, 0, l.dtype(target));
  ValueId entropy = choose(l, compare(l, "gt", target, 0), pointwise(l, "mul", {target, pointwise(l, "log", {target})}), zero);
  return pointwise(l, "sub", {entropy, pointwise(l, "mul", {target, self})});
}

static ValueId weighed(Lowering &l, ValueId loss) { return l.has("weight") ? pointwise(l, "mul", {loss, l.tensor("weight")}) : loss; }

// With the positive targets' weight p: (1 + (p - 1) target) softplus(-self) + (1 - target) self.
static ValueId binaryCrossEntropyOfLogits(Lowering &l) {
  ValueId self = l.tensor("self"), target = l.tensor("target");
  if (!l.has("pos_weight"))
    return weighed(l, pointwise(l, "binary_cross_entropy_with_logits", {self, target}));
  ValueId extra = pointwise(l, "mul", {target, pointwise(l, "add", {l.tensor("pos_weight")}, {-1})});
  ValueId softplus = pointwise(l, "binary_cross_entropy_with_logits", {self, scalarOf(l, 1, l.dtype(self))});
  ValueId positive = pointwise(l, "mul", {pointwise(l, "add", {extra}, {1}), softplus});
  ValueId rest = pointwise(l, "mul", {self, pointwise(l, "rsub", {target}, {1})});
  return weighed(l, pointwise(l, "add", {positive, rest}));
}

// Logarithms of probabilities are not below -100, as in the framework.
static ValueId binaryCrossEntropy(Lowering &l) {
  ValueId self = l.tensor("self"), target = l.tensor("target");
  auto logarithm = [&](ValueId probability) { return pointwise(l, "clamp_min", {pointwise(l, "log", {probability})}, {-100}); };
  ValueId positive = pointwise(l, "mul", {logarithm(self), target});
  ValueId negative = pointwise(l, "mul", {logarithm(pointwise(l, "rsub", {self}, {1})), pointwise(l, "rsub", {target}, {1})});
  return weighed(l, pointwise(l, "neg", {pointwise(l, "add", {positive, negative})}));
}

static ValueId softMargin(Lowering &l) {
  ValueId margin = pointwise(l, "mul", {l.tensor("self"), l.tensor("target")});
  return pointwise(l, "binary_cross_entropy_with_logits", {margin, scalarOf(l, 1, l.dtype(margin))});
}

template <ValueId (*lossOf)(Lowering &)> static void byElement(Lowering &l) { setLoss(l, lossOf(l)); }

void moai::addLossRules(llvm::StringMap<LoweringRule> &rules) {
  rules["aten.cross_entropy_loss"] = crossEntropy;
  for (const char *name : {"nll_loss", "nll_loss_nd", "nll_loss2d", "nll_loss_forward", "nll_loss2d_forward"})
    rules[absl::StrCat("aten.", name)] = negativeLogLikelihood;
  rules["aten.multi_margin_loss"] = multiMargin;
  rules["aten.mse_loss"] = byElement<squaredDifference>;
  rules["aten.l1_loss"] = byElement<distance>;
  rules["aten.smooth_l1_loss"] = byElement<smoothDistance>;
  rules["aten.huber_loss"] = byElement<huber>;
  rules["aten.kl_div"] = byElement<divergence>;
  rules["aten.binary_cross_entropy"] = byElement<binaryCrossEntropy>;
  rules["aten.binary_cross_entropy_with_logits"] = byElement<binaryCrossEntropyOfLogits>;
  rules["aten.soft_margin_loss"] = byElement<softMargin>;
}
