// Random cases of views and joins.
#include "RandomGraph.h"

using namespace moai;

static void drawTranspose(Draw &draw) {
  Shape shape = draw.shape(1, 5, 3), order = draw.permutation(static_cast<int64_t>(shape.size())), result;
  for (int64_t dim : order)
    result.push_back(shape[dim]);
  draw.finish("transpose", {draw.operand(shape)}, "permutation = " + listText(order), result);
}

// The same factors in the same order, neighbours merged at random, and some ones.
static Shape mergeFactors(Draw &draw, const Shape &factors) {
  Shape merged;
  for (int64_t factor : factors) {
    if (draw.below(5) == 0)
      merged.push_back(1);
    if (merged.empty() || draw.flip())
      merged.push_back(factor);
    else
      merged.back() *= factor;
  }
  return merged;
}

static void drawReshape(Draw &draw) {
  Shape factors = draw.shape(0, 5, 3), from = mergeFactors(draw, factors);
  draw.finish("reshape", {draw.operand(from)}, "", mergeFactors(draw, factors));
}

static void drawExpand(Draw &draw) {
  Shape result = draw.shape(1, 4);
  draw.finish("expand", {draw.operand(draw.broadcastTo(result))}, "", result);
}

//===----------------------------------------------------------------------===//
// Slices and joins
//===----------------------------------------------------------------------===//

namespace {
/// A shape, and a larger one that it is a slice of.
struct Slice {
  Shape narrow, wide;
  std::string attributes;
};
} // namespace

static Slice drawSliceOf(Draw &draw) {
  Slice slice;
  slice.narrow = slice.wide = draw.shape(1, 3);
  int64_t dim = draw.below(static_cast<int64_t>(slice.narrow.size())), step = draw.between(1, 3), start = draw.between(0, 2);
  slice.wide[dim] = start + (slice.narrow[dim] - 1) * step + draw.between(1, 3);
  slice.attributes = absl::StrCat("dim = ", dim, " : i64, start = \"", start, "\", step = ", step, " : i64");
  return slice;
}

static void drawSlice(Draw &draw) {
  Slice slice = drawSliceOf(draw);
  draw.finish("slice", {draw.operand(slice.wide)}, slice.attributes, slice.narrow);
}

static void drawPad(Draw &draw) {
  Slice slice = drawSliceOf(draw);
  draw.finish("pad", {draw.operand(slice.narrow)}, slice.attributes, slice.wide);
}

static void drawInsertSlice(Draw &draw) {
  Slice slice = drawSliceOf(draw);
  draw.finish("insert_slice", {draw.operand(slice.wide), draw.operand(slice.narrow)}, slice.attributes, slice.wide);
}

static void drawConcat(Draw &draw) {
  Shape result = draw.shape(1, 4);
  int64_t dim = draw.below(static_cast<int64_t>(result.size())), total = 0;
  std::vector<Drawn> operands;
  for (int64_t i = draw.between(1, 3); i > 0; --i) {
    Shape part = result;
    total += part[dim] = draw.between(1, 3);
    operands.push_back(draw.operand(part));
  }
  result[dim] = total;
  draw.finish("concat", operands, absl::StrCat("dim = ", dim, " : i64"), result);
}

std::vector<Family> moai::viewFamilies() {
  return {{"Views", {drawTranspose, drawReshape, drawExpand, drawSlice}}, {"Joins", {drawPad, drawInsertSlice, drawConcat}}};
}
