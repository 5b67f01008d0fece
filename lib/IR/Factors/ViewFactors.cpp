//===- ViewFactors.cpp - Factors of views and joins ------------------------===//
#include "FactorBuilder.h"
#include <numeric>

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// reshape
//===----------------------------------------------------------------------===//

// A single term that divides both; all of them if they are equal.
static Dim commonDivisor(const Dim &a, const Dim &b) {
  if (a == b)
    return a;
  if (b.getTerms().size() == 1 && a.dividedBy(b))
    return b;
  if (a.getTerms().size() == 1 && b.dividedBy(a))
    return a;
  if (a.getTerms().size() != 1 || b.getTerms().size() != 1)
    return 1;
  Dim common = std::gcd(a.getTerms()[0].coefficient, b.getTerms()[0].coefficient);
  for (unsigned symbol = 0; symbol < kNumDimSymbols; ++symbol)
    for (unsigned power = std::min(a.degreeIn(symbol), b.degreeIn(symbol)); power > 0; --power)
      common = common * Dim::symbol(symbol);
  return common;
}

namespace {
/// Reads a shape from its outermost dimension on.
class ShapeReader {
public:
  explicit ShapeReader(ArrayRef<Dim> shape) : shape(shape), dims(shape.size()) { settle(); }

  bool isDone() const { return at == shape.size(); }
  /// What is left of the dimension.
  const Dim &rest() const { return left; }
  /// A divisor of the rest is that factor.
  void take(const Dim &size, const DimFactors &factor) {
    dims[at].append(factor.begin(), factor.end());
    left = *left.dividedBy(size);
    if (left.isConstant(1)) {
      ++at;
      settle();
    }
  }
  const ValueFactors &result() const { return dims; }

private:
  void settle() {
    while (at < shape.size() && shape[at].isConstant(1))
      ++at;
    left = at < shape.size() ? shape[at] : Dim(1);
  }

  ArrayRef<Dim> shape;
  ValueFactors dims;
  unsigned at = 0;
  Dim left = 1;
};
} // namespace

// Factors that both shapes have, as fine as they come: the outermost one that divides what is left of both, again and again. [b*s, 12] and
// [b, s, 3, 4] are (b s)(3 4). From where there is none, as between [4, 3] and [3, 4], up to where as many elements lie before both, all is
// whole.
static void matchShapes(FactorBuilder &factors, ShapeReader &from, ShapeReader &to) {
  Dim ahead = 1, behind = 1; // elements that only one of the two has passed
  auto skip = [&](ShapeReader &reader, Dim &passed) {
    Dim size = reader.rest();
    passed = passed * size;
    reader.take(size, factors.add(size, FactorKind::Whole));
  };
  while (!from.isDone() && !to.isDone()) {
    Dim common = commonDivisor(from.rest(), to.rest());
    if (ahead == behind && !common.isConstant(1)) {
      DimFactors factor = factors.add(common);
      from.take(common, factor);
      to.take(common, factor);
      continue;
    }
    // Whoever is behind goes on; which one that is only numbers tell.
    auto isAhead = ahead.dividedBy(behind);
    isAhead &&ahead != behind ? skip(to, behind) : skip(from, ahead);
  }
  while (!from.isDone())
    skip(from, ahead);
  while (!to.isDone())
    skip(to, behind);
}

OpFactors ReshapeOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> before = factors.operandShape(0), after = factors.resultShape(0);
  factors.linear({0});
  auto isEmpty = [](const Dim &dim) { return dim.isConstant(0) || dim.isOverflow(); };
  if (llvm::any_of(before, isEmpty) || llvm::any_of(after, isEmpty))
    return factors.finish();
  ShapeReader from(before), to(after);
  matchShapes(factors, from, to);
  factors.setOperand(0, from.result());
  factors.setResult(0, to.result());
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// Other views
//===----------------------------------------------------------------------===//

// The real and the imaginary part stay together.
OpFactors ComplexViewOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> from = factors.operandShape(0), to = factors.resultShape(0);
  ValueFactors numbers = factors.addAll(from.size() < to.size() ? from : to);
  ValueFactors pairs = joined(numbers, {factors.add(2, FactorKind::Whole)});
  factors.setOperand(0, from.size() < to.size() ? numbers : pairs);
  factors.setResult(0, from.size() < to.size() ? pairs : numbers);
  factors.linear({0});
  return factors.finish();
}

OpFactors TransposeOp::getFactors() {
  FactorBuilder factors(*this);
  ValueFactors input = factors.addAll(factors.operandShape(0)), result;
  for (int64_t dim : getPermutation())
    result.push_back(input[dim]);
  factors.setOperand(0, input);
  factors.setResult(0, result);
  factors.linear({0});
  return factors.finish();
}

OpFactors ExpandOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> shape = factors.resultShape(0);
  ValueFactors result = factors.addAll(shape);
  factors.setResult(0, result);
  factors.broadcastOperand(0, result, shape);
  factors.linear({0});
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// Slices and joins
//===----------------------------------------------------------------------===//

namespace {
/// A tensor and a slice of it. They share all dimensions but the one that is cut, if it is.
struct SliceDims {
  ValueFactors whole, part;
};
} // namespace

static SliceDims addSlice(FactorBuilder &factors, ArrayRef<Dim> whole, ArrayRef<Dim> part, int64_t dim) {
  SliceDims dims;
  dims.whole = dims.part = factors.addAll(whole);
  if (whole[dim] == part[dim]) // all of it, from the first
    return dims;
  factors.makeWhole(ArrayRef<unsigned>(dims.whole[dim]));
  dims.part[dim] = factors.add(part[dim], FactorKind::Whole);
  return dims;
}

OpFactors SliceOp::getFactors() {
  FactorBuilder factors(*this);
  SliceDims dims = addSlice(factors, factors.operandShape(0), factors.resultShape(0), getDim());
  factors.setOperand(0, dims.whole);
  factors.setResult(0, dims.part);
  factors.linear({0});
  return factors.finish();
}

OpFactors PadOp::getFactors() {
  FactorBuilder factors(*this);
  SliceDims dims = addSlice(factors, factors.resultShape(0), factors.operandShape(0), getDim());
  factors.setOperand(0, dims.part);
  factors.setResult(0, dims.whole);
  factors.linear({0});
  return factors.finish();
}

OpFactors InsertSliceOp::getFactors() {
  FactorBuilder factors(*this);
  SliceDims dims = addSlice(factors, factors.resultShape(0), factors.operandShape(1), getDim());
  factors.mapAll({0}, {0}, dims.whole);
  factors.setOperand(1, dims.part);
  factors.linear({0, 1});
  return factors.finish();
}

OpFactors ConcatOp::getFactors() {
  FactorBuilder factors(*this);
  int64_t dim = getDim();
  ValueFactors result = factors.addAll(factors.resultShape(0));
  SmallVector<unsigned, 4> all;
  if (getNumOperands() > 1)
    factors.makeWhole(ArrayRef<unsigned>(result[dim]));
  factors.setResult(0, result);
  for (unsigned i = 0; i < getNumOperands(); ++i) {
    ValueFactors part = result;
    if (getNumOperands() > 1)
      part[dim] = factors.add(factors.operandShape(i)[dim], FactorKind::Whole);
    factors.setOperand(i, part);
    all.push_back(i);
  }
  factors.linear(all);
  return factors.finish();
}
