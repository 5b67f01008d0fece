//===- ReductionFactors.cpp - Factors of reductions, norms and losses ------===//
#include "FactorBuilder.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace moai;

// How parts of what is reduced make the whole: of a product, a deviation or a place, they don't.
static FactorKind combinationOf(StringRef kind) {
  return llvm::StringSwitch<FactorKind>(kind)
      .Case("sum", FactorKind::Sum)
      .Case("mean", FactorKind::Mean)
      .Cases("amax", "any", FactorKind::Max)
      .Cases("amin", "all", FactorKind::Min)
      .Default(FactorKind::Whole);
}

OpFactors ReduceOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> shape = factors.operandShape(0);
  ValueFactors input, result;
  for (int64_t dim = 0; dim < static_cast<int64_t>(shape.size()); ++dim) {
    bool isReduced = llvm::is_contained(getDims(), dim);
    input.push_back(factors.add(shape[dim], isReduced ? combinationOf(getKind()) : FactorKind::Map));
    if (!isReduced || getKeepDims())
      result.push_back(isReduced ? DimFactors() : input.back());
  }
  factors.setOperand(0, input);
  factors.setResult(0, result);
  if (getKind() == "sum" || getKind() == "mean")
    factors.linear({0});
  return factors.finish();
}

// Every dimension but one, which is whole.
static ValueFactors addAllBut(FactorBuilder &factors, ArrayRef<Dim> shape, int64_t whole) {
  ValueFactors dims = factors.addAll(shape);
  if (whole < static_cast<int64_t>(dims.size()))
    factors.makeWhole(ArrayRef<unsigned>(dims[whole]));
  return dims;
}

OpFactors ScanOp::getFactors() {
  FactorBuilder factors(*this);
  factors.mapAll({0}, {0}, addAllBut(factors, factors.operandShape(0), getDim()));
  if (getKind() == "cumsum")
    factors.linear({0});
  return factors.finish();
}

OpFactors SoftmaxOp::getFactors() {
  FactorBuilder factors(*this);
  factors.mapAll({0}, {0}, addAllBut(factors, factors.operandShape(0), getDim()));
  return factors.finish();
}

OpFactors SoftmaxBackwardOp::getFactors() {
  FactorBuilder factors(*this);
  factors.mapAll({0, 1}, {0}, addAllBut(factors, factors.resultShape(0), getDim()));
  factors.linear({0});
  return factors.finish();
}

OpFactors HistogramOp::getFactors() {
  FactorBuilder factors(*this);
  factors.setOperand(0, factors.addAll(factors.operandShape(0), FactorKind::Sum));
  return factors.finish();
}

// Of one tensor alone: parts of one of several would count the others several times.
OpFactors SquaredNormOp::getFactors() {
  FactorBuilder factors(*this);
  if (getNumOperands() == 1 && isa<SymTensorType>(getOperand(0).getType()))
    factors.setOperand(0, factors.addAll(factors.operandShape(0), FactorKind::Sum));
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// pool
//===----------------------------------------------------------------------===//

// Samples and channels; windows reach over the borders of spatial parts.
static void setImages(FactorBuilder &factors, ArrayRef<unsigned> operands, ArrayRef<Dim> shape) {
  ValueFactors shared = factors.addAll(shape.take_front(2));
  auto image = [&](ArrayRef<Dim> own) { return joined(shared, factors.addAll(own.drop_front(2), FactorKind::Whole)); };
  for (unsigned operand : operands)
    factors.setOperand(operand, image(factors.operandShape(operand)));
  factors.setResult(0, image(factors.resultShape(0)));
}

OpFactors PoolOp::getFactors() {
  FactorBuilder factors(*this);
  setImages(factors, {0}, factors.operandShape(0));
  if (getKind() == "avg")
    factors.linear({0});
  return factors.finish();
}

OpFactors PoolBackwardOp::getFactors() {
  FactorBuilder factors(*this);
  setImages(factors, {0, 1}, factors.operandShape(1));
  factors.linear({0});
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// normalize
//===----------------------------------------------------------------------===//

namespace {
struct NormDims {
  ValueFactors input, parameter, statistics;
};
} // namespace

// What shares a mean and a deviation is whole: the last dimensions, the channels of a group with all places, or a channel's samples and
// places.
static NormDims addNorm(FactorBuilder &factors, StringRef kind, int64_t axes, ArrayRef<Dim> shape) {
  NormDims dims;
  DimFactors numbers = factors.add(kind == "rms_norm" ? 1 : 2, FactorKind::Whole);
  if (kind == "layer_norm" || kind == "rms_norm") {
    dims.statistics = factors.addAll(shape.drop_back(axes));
    dims.parameter = factors.addAll(shape.take_back(axes), FactorKind::Whole);
    dims.input = joined(dims.statistics, dims.parameter);
    dims.statistics.push_back(numbers);
    return dims;
  }
  dims.input = factors.addAll(shape, FactorKind::Whole);
  if (shape.size() < 2)
    return dims;
  if (kind == "batch_norm") {
    dims.input[1] = factors.add(shape[1]);
    dims.statistics = {dims.input[1], numbers};
  } else if (auto each = shape[1].dividedBy(axes)) {
    DimFactors groups = factors.add(axes, special(rules::kGroups));
    dims.input[0] = factors.add(shape[0]);
    dims.input[1] = joined(groups, factors.add(*each, FactorKind::Whole));
    dims.statistics = {dims.input[0], groups, numbers};
  }
  dims.parameter = {dims.input[1]};
  return dims;
}

OpFactors NormalizeOp::getFactors() {
  FactorBuilder factors(*this);
  NormDims dims = addNorm(factors, getKind(), getAxes(), factors.operandShape(0));
  factors.mapAll({0}, {0}, dims.input);
  for (unsigned i = 1; i < getNumOperands(); ++i)
    factors.setOperand(i, dims.parameter);
  factors.setResult(1, dims.statistics);
  return factors.finish();
}

OpFactors NormalizeBackwardOp::getFactors() {
  FactorBuilder factors(*this);
  NormDims dims = addNorm(factors, getKind(), getAxes(), factors.operandShape(1));
  factors.mapAll({0, 1}, {0}, dims.input);
  factors.setOperand(2, dims.statistics);
  if (getWeight())
    factors.setOperand(3, dims.parameter);
  for (unsigned i = 1; i < getNumResults(); ++i)
    factors.setResult(i, dims.parameter);
  factors.sumWhereMissing();
  factors.linear({0});
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// cross entropy
//===----------------------------------------------------------------------===//

OpFactors CrossEntropyOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> shape = factors.operandShape(0);
  bool isMean = getReduction() == "mean";
  ValueFactors rows = factors.addAll(shape.drop_back(), isMean ? special(rules::kCounted) : Role(FactorKind::Sum));
  ValueFactors logits = joined(rows, {factors.add(shape.back(), special(rules::kVocabulary))});
  factors.mapAll({0}, {1}, logits);
  factors.setOperand(1, rows);
  factors.setResult(0, getReduction() == "none" ? rows : ValueFactors());
  return factors.finish();
}

// The number of targets that count is given, and is that of all of them.
OpFactors CrossEntropyBackwardOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> shape = factors.resultShape(0);
  if (shape.empty())
    return factors.finish();
  ValueFactors rows = factors.addAll(shape.drop_back());
  ValueFactors logits = joined(rows, {factors.add(shape.back(), special(rules::kVocabulary))});
  factors.mapAll({1}, {0}, logits);
  factors.setOperand(2, rows);
  factors.setOperand(0, getReduction() == "none" ? rows : ValueFactors());
  factors.linear({0});
  return factors.finish();
}
