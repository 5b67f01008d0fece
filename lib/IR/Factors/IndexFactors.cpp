//===- IndexFactors.cpp - Factors of sources, lookups and sorting ----------===//
#include "FactorBuilder.h"

using namespace mlir;
using namespace moai;

OpFactors GenerateOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> shape = factors.resultShape(0);
  if (getKind() == "full" || getKind() == "empty")
    factors.setResult(0, factors.addAll(shape));
  else if (getKind() == "arange")
    factors.setResult(0, factors.addAll(shape, special(rules::kPositions)));
  else if (getKind() == "random")
    factors.setResult(0, factors.addDrawn(shape));
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// embedding
//===----------------------------------------------------------------------===//

// [vocabulary, width] and, for each index, [width].
static void setLookup(FactorBuilder &factors, FactorKind indexKind, bool isBackward) {
  ArrayRef<Dim> table = isBackward ? factors.resultShape(0) : factors.operandShape(0);
  ValueFactors width{factors.add(table[1])}, indices = factors.addAll(factors.operandShape(1), indexKind);
  ValueFactors rows = joined(ValueFactors{factors.add(table[0], special(rules::kVocabulary))}, width);
  factors.setOperand(1, indices);
  factors.setOperand(0, isBackward ? joined(indices, width) : rows);
  factors.setResult(0, isBackward ? rows : joined(indices, width));
  factors.linear({0});
}

OpFactors EmbeddingOp::getFactors() {
  FactorBuilder factors(*this);
  setLookup(factors, FactorKind::Map, /*isBackward=*/false);
  return factors.finish();
}

OpFactors EmbeddingBackwardOp::getFactors() {
  FactorBuilder factors(*this);
  setLookup(factors, FactorKind::Sum, /*isBackward=*/true);
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// gather, scatter
//===----------------------------------------------------------------------===//

namespace {
/// A tensor, what is read of it or written into it, and the indices.
struct Places {
  ValueFactors whole, part;
  SmallVector<ValueFactors, 2> indices;
};
} // namespace

// The shape that indices are broadcast to; nothing if they may not be.
static std::optional<SmallVector<Dim, 4>> broadcastShape(FactorBuilder &factors, unsigned first, unsigned count) {
  SmallVector<Dim, 4> common;
  for (unsigned i = first; i < first + count; ++i) {
    ArrayRef<Dim> own = factors.operandShape(i);
    if (own.size() > common.size())
      common.insert(common.begin(), own.size() - common.size(), Dim(1));
    for (unsigned dim = 0, extra = common.size() - own.size(); dim < own.size(); ++dim) {
      Dim &size = common[dim + extra];
      if (size.isConstant(1))
        size = own[dim];
      else if (!own[dim].isConstant(1) && own[dim] != size)
        return std::nullopt;
    }
  }
  return common;
}

// The dimensions that indices have in common are of the given kind; what they count is only split by who knows where a part begins.
static std::optional<Places> addPlaces(FactorBuilder &factors, StringRef kind, ArrayRef<int64_t> dims, FactorKind indexKind) {
  ArrayRef<Dim> whole = factors.operandShape(0);
  Places places;
  places.whole = factors.addAll(whole);
  for (int64_t dim : dims) {
    factors.makeWhole(ArrayRef<unsigned>(places.whole[dim]));
    if (indexKind == FactorKind::Map)
      places.whole[dim] = factors.add(whole[dim], special(rules::kRows));
  }
  if (kind == "gather") { // one index per element of the part
    places.part = places.whole;
    if (factors.operandShape(1).size() != whole.size())
      return std::nullopt;
    places.part[dims[0]] = factors.add(factors.operandShape(1)[dims[0]], indexKind);
    places.indices = {places.part};
    return places;
  }
  auto common = broadcastShape(factors, 1, dims.size());
  if (!common || dims.empty())
    return std::nullopt;
  ValueFactors shared = factors.addAll(*common, indexKind);
  for (auto [dim, factor] : llvm::enumerate(places.whole))
    if (!llvm::is_contained(dims, static_cast<int64_t>(dim)))
      places.part.push_back(factor);
  // Where the indexed dimensions were if they are neighbours, or else first.
  bool isAdjacent = dims.back() - dims.front() + 1 == static_cast<int64_t>(dims.size());
  places.part.insert(places.part.begin() + (isAdjacent ? dims.front() : 0), shared.begin(), shared.end());
  for (unsigned i = 0; i < dims.size(); ++i) {
    ArrayRef<Dim> shape = factors.operandShape(1 + i);
    ValueFactors own(shared.end() - shape.size(), shared.end());
    for (auto [dim, size] : llvm::enumerate(shape))
      if (size.isConstant(1))
        own[dim] = {};
    places.indices.push_back(own);
  }
  return places;
}

// A mask in place of an index is as long as what it marks.
static bool hasMask(ValueRange indices) {
  return llvm::any_of(indices, [](Value index) { return tensorOf(index).getElementType().isInteger(1); });
}

OpFactors GatherOp::getFactors() {
  FactorBuilder factors(*this);
  factors.linear({0});
  if (hasMask(getIndices()))
    return factors.finish();
  auto places = addPlaces(factors, getKind(), getDims(), FactorKind::Map);
  if (!places)
    return FactorBuilder(*this).finish();
  factors.setOperand(0, places->whole);
  for (auto [i, index] : llvm::enumerate(places->indices))
    factors.setOperand(1 + i, index);
  factors.setResult(0, places->part);
  return factors.finish();
}

// Parts of the indices would each begin with the whole tensor, so their dimensions are whole.
OpFactors ScatterOp::getFactors() {
  FactorBuilder factors(*this);
  unsigned count = getDims().size();
  bool hasValues = getScalars().empty();
  if (hasValues)
    factors.linear({0, 1 + count});
  if (hasMask(getInputs().take_front(count)))
    return factors.finish();
  auto places = addPlaces(factors, getKind(), getDims(), FactorKind::Whole);
  if (!places)
    return FactorBuilder(*this).finish();
  factors.mapAll({0}, {0}, places->whole);
  for (auto [i, index] : llvm::enumerate(places->indices))
    factors.setOperand(1 + i, index);
  if (hasValues)
    factors.setOperand(1 + count, places->part);
  return factors.finish();
}

OpFactors SortOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> shape = factors.operandShape(0);
  ValueFactors input = factors.addAll(shape), kept = input;
  int64_t dim = getDim();
  if (!shape.empty()) {
    factors.makeWhole(ArrayRef<unsigned>(input[dim]));
    if (factors.resultShape(0)[dim] != shape[dim])
      kept[dim] = factors.add(factors.resultShape(0)[dim], FactorKind::Whole);
  }
  factors.setOperand(0, input);
  factors.setResult(0, kept);
  factors.setResult(1, kept);
  return factors.finish();
}
