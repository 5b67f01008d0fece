// Random cases of lookups, writes at indices, and sorting.
#include "RandomGraph.h"
#include <algorithm>

using namespace moai;

static void drawEmbedding(Draw &draw) {
  Shape table{draw.between(1, 5), draw.between(1, 4)}, indices = draw.shape(0, 3), result = indices;
  result.push_back(table[1]);
  draw.finish("embedding", {draw.operand(table), draw.integers(indices, table[0])}, "padding_index = -1 : i64", result);
}

static void drawSort(Draw &draw) {
  Shape input = draw.shape(1, 3, 5), result = input;
  int64_t dim = draw.below(static_cast<int64_t>(input.size())), k = draw.flip() ? 0 : draw.between(1, input[dim]);
  result[dim] = k ? k : input[dim];
  draw.finish("sort", {draw.operand(input)},
              absl::StrCat("dim = ", dim, " : i64, k = ", k, " : i64, descending = ", draw.flip() ? "true" : "false"), result,
              {i64(result)});
}

//===----------------------------------------------------------------------===//
// Places that a gather reads and a scatter writes
//===----------------------------------------------------------------------===//

namespace {
/// A tensor, the indices into it, and what has one element per place.
struct Places {
  Shape whole, part;
  std::string attributes;
  std::vector<Drawn> indices;
};

using PlacesDrawer = Places (*)(Draw &, bool);
} // namespace

static int64_t countOf(const Shape &shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}

// A place along a dimension, at times counted from the end.
static double asIndex(Draw &draw, int64_t place, int64_t limit) { return static_cast<double>(draw.below(4) ? place : place - limit); }

// An index tensor, whose numbers differ along one of its dimensions if they must.
static Drawn indexAlong(Draw &draw, const Shape &shape, size_t dim, int64_t limit, bool distinct) {
  std::vector<double> values(countOf(shape));
  for (double &value : values)
    value = asIndex(draw, draw.below(limit), limit);
  if (!distinct)
    return draw.given(shape, values);
  int64_t step = countOf(Shape(shape.begin() + dim + 1, shape.end())), lines = countOf(shape) / shape[dim];
  for (int64_t line = 0; line < lines; ++line) {
    Shape places = draw.permutation(limit);
    for (int64_t i = 0; i < shape[dim]; ++i)
      values[(line / step * shape[dim] + i) * step + line % step] = asIndex(draw, places[i], limit);
  }
  return draw.given(shape, values);
}

static std::string placesText(const char *kind, const Shape &dims) {
  return absl::StrCat("kind = \"", kind, "\", dims = ", listText(dims));
}

// One index per element, of the tensor's rank, and in the other dimensions perhaps smaller.
static Places placesOfGather(Draw &draw, bool distinct) {
  Places places;
  places.whole = places.part = draw.shape(1, 3);
  size_t dim = draw.below(static_cast<int64_t>(places.whole.size()));
  for (size_t i = 0; i < places.part.size(); ++i)
    places.part[i] = draw.between(1, i == dim && !distinct ? 5 : places.whole[i]);
  places.indices = {indexAlong(draw, places.part, dim, places.whole[dim], distinct)};
  places.attributes = placesText("gather", {static_cast<int64_t>(dim)});
  return places;
}

static Places placesOfIndexSelect(Draw &draw, bool distinct) {
  Places places;
  places.whole = places.part = draw.shape(1, 4);
  size_t dim = draw.below(static_cast<int64_t>(places.whole.size()));
  places.part[dim] = draw.between(1, distinct ? places.whole[dim] : 5);
  places.indices = {indexAlong(draw, {places.part[dim]}, 0, places.whole[dim], distinct)};
  places.attributes = placesText("index_select", {static_cast<int64_t>(dim)});
  return places;
}

// What several shapes are broadcast to.
static Shape join(const std::vector<Shape> &shapes) {
  Shape joined;
  for (const Shape &shape : shapes) {
    if (shape.size() > joined.size())
      joined.insert(joined.begin(), shape.size() - joined.size(), 1);
    for (size_t i = 0; i < shape.size(); ++i) {
      int64_t &size = joined[joined.size() - shape.size() + i];
      size = std::max(size, shape[i]);
    }
  }
  return joined;
}

// The joined shape stands where the indexed dimensions were if they are neighbours, or else first; as x[i, j] in PyTorch and NumPy.
static Shape indexedShape(const Shape &whole, const Shape &dims, const Shape &joined) {
  bool adjacent = dims.back() - dims.front() + 1 == static_cast<int64_t>(dims.size());
  Shape part(whole.begin(), whole.begin() + (adjacent ? dims.front() : 0));
  part.insert(part.end(), joined.begin(), joined.end());
  for (int64_t dim = static_cast<int64_t>(part.size() - joined.size()); dim < static_cast<int64_t>(whole.size()); ++dim)
    if (std::find(dims.begin(), dims.end(), dim) == dims.end())
      part.push_back(whole[dim]);
  return part;
}

// Up to three dimensions, often with others before and between them.
static Shape drawIndexed(Draw &draw, int64_t rank) {
  if (rank > 3 && draw.flip())
    return {1, draw.between(3, rank - 1)};
  return draw.choose(draw.between(1, std::min<int64_t>(rank, 3)), rank);
}

// One shape per index. Where places must differ, index i has no dimension but the joined shape's i-th.
static std::vector<Shape> drawIndexShapes(Draw &draw, const Shape &whole, const Shape &dims, bool distinct) {
  Shape common = draw.shape(0, 3, 3);
  std::vector<Shape> shapes;
  for (size_t i = 0; i < dims.size(); ++i) {
    shapes.push_back(distinct ? Shape(dims.size() - i, 1) : draw.broadcastTo(common));
    if (distinct)
      shapes.back()[0] = draw.between(1, whole[dims[i]]);
  }
  return shapes;
}

// Several indices, broadcast together.
static Places placesOfIndex(Draw &draw, bool distinct) {
  Places places;
  places.whole = draw.shape(1, 5, 3);
  Shape dims = drawIndexed(draw, static_cast<int64_t>(places.whole.size()));
  std::vector<Shape> shapes = drawIndexShapes(draw, places.whole, dims, distinct);
  for (size_t i = 0; i < dims.size(); ++i)
    places.indices.push_back(indexAlong(draw, shapes[i], 0, places.whole[dims[i]], distinct));
  places.part = indexedShape(places.whole, dims, join(shapes));
  places.attributes = placesText("index", dims);
  return places;
}

static Drawer drawGather(PlacesDrawer drawPlaces) {
  return [drawPlaces](Draw &draw) {
    Places places = drawPlaces(draw, /*distinct=*/false);
    std::vector<Drawn> operands{draw.operand(places.whole)};
    operands.insert(operands.end(), places.indices.begin(), places.indices.end());
    draw.finish("gather", operands, places.attributes, places.part);
  };
}

// Without accumulation the places must differ, since one of several numbers for a place is written. Of values for a `gather` only as many
// as there are indices are read.
static Drawer drawScatter(PlacesDrawer drawPlaces, bool accumulate) {
  return [=](Draw &draw) {
    Places places = drawPlaces(draw, !accumulate);
    std::vector<Drawn> operands{draw.operand(places.whole)};
    operands.insert(operands.end(), places.indices.begin(), places.indices.end());
    if (drawPlaces == placesOfGather)
      for (int64_t &size : places.part)
        size += draw.below(2);
    bool isNumber = draw.below(3) == 0;
    if (!isNumber)
      operands.push_back(draw.operand(places.part));
    draw.finish(
        "scatter", operands,
        absl::StrCat(places.attributes, ", accumulate = ", accumulate ? "true" : "false", isNumber ? ", scalars = array<f64: 3.0>" : ""),
        places.whole);
  };
}

std::vector<Family> moai::indexFamilies() {
  Family gathers{"Gathers", {drawEmbedding}}, scatters{"Scatters", {}};
  for (PlacesDrawer places : {placesOfGather, placesOfIndexSelect, placesOfIndex}) {
    gathers.drawers.push_back(drawGather(places));
    for (bool accumulate : {true, false})
      scatters.drawers.push_back(drawScatter(places, accumulate));
  }
  return {gathers, scatters, {"Sorting", {drawSort}}};
}
