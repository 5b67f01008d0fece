//===- IndexKernels.cpp - Sources, lookups, sorting ------------------------===//
#include "Kernels.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace moai;

static void generate(GenerateOp op, KernelCall &call) {
  Tensor &result = call.result(op.getResult());
  ArrayRef<double> scalars = op.getScalars();
  if (op.getKind() == "arange") {
    for (size_t i = 0; i < result.values.size(); ++i)
      result.values[i] = scalars[0] + scalars[1] * static_cast<double>(i);
  } else if (op.getKind() == "full") {
    std::fill(result.values.begin(), result.values.end(), scalars[0]);
  } else if (op.getKind() == "random") {
    RandomNumbers random = call.random(op.getStream(), op.getResult(), result.size());
    for (int64_t i = 0; i < result.size(); ++i)
      result.values[i] = random[i];
  } else if (op.getKind() != "empty") {
    call.fail("is of a kind that has no kernel");
  }
}

// A position along a dimension, counted from the end if negative.
static std::optional<int64_t> position(double index, int64_t size, KernelCall &call) {
  int64_t at = static_cast<int64_t>(index);
  if (at < -size || at >= size) {
    call.fail("has the index " + Twine(at) + ", expected less than " + Twine(size));
    return std::nullopt;
  }
  return at < 0 ? at + size : at;
}

//===----------------------------------------------------------------------===//
// embedding
//===----------------------------------------------------------------------===//

static void embedding(EmbeddingOp op, KernelCall &call) {
  const Tensor &weight = call[op.getWeight()], &indices = call[op.getIndices()];
  Tensor &result = call.result(op.getResult());
  int64_t width = weight.shape[1];
  for (int64_t i = 0; i < indices.size(); ++i) {
    auto row = position(indices.values[i], weight.shape[0], call);
    if (!row)
      return;
    std::copy_n(&weight.values[*row * width], width, &result.values[i * width]);
  }
}

static void embeddingBackward(EmbeddingBackwardOp op, KernelCall &call) {
  const Tensor &gradient = call[op.getGradient()], &indices = call[op.getIndices()];
  Tensor &result = call.result(op.getResult());
  int64_t width = result.shape[1];
  for (int64_t i = 0; i < indices.size(); ++i) {
    auto row = position(indices.values[i], result.shape[0], call);
    if (!row)
      return;
    if (*row == static_cast<int64_t>(op.getPaddingIndex()))
      continue;
    for (int64_t j = 0; j < width; ++j)
      result.values[*row * width + j] += gradient.values[i * width + j];
  }
}

//===----------------------------------------------------------------------===//
// gather, scatter
//===----------------------------------------------------------------------===//

// Where in the part the shape stands that several indices have in common: where the indexed dimensions were if they are adjacent, or else
// first.
static size_t placeOfCommon(ArrayRef<int64_t> dims) {
  return dims.back() - dims.front() + 1 == static_cast<int64_t>(dims.size()) ? dims.front() : 0;
}

// The shape that several indices are broadcast to.
static Offsets commonShapeOf(ArrayRef<const Tensor *> indices) {
  Offsets common;
  for (const Tensor *index : indices) {
    if (index->rank() > common.size())
      common.insert(common.begin(), index->rank() - common.size(), 1);
    int64_t *own = common.end() - index->rank();
    for (int64_t size : index->shape) {
      *own = *own == 1 ? size : *own;
      ++own;
    }
  }
  return common;
}

// The shape of what a gather of this kind reads.
static Offsets partShapeOf(StringRef kind, ArrayRef<int64_t> dims, ArrayRef<const Tensor *> indices, ArrayRef<int64_t> whole) {
  if (kind == "gather")
    return Offsets(indices[0]->shape);
  Offsets part;
  for (auto [dim, size] : llvm::enumerate(whole))
    if (!llvm::is_contained(dims, static_cast<int64_t>(dim)))
      part.push_back(size);
  size_t place = kind == "index" ? placeOfCommon(dims) : dims.front();
  Offsets common = commonShapeOf(indices);
  part.insert(part.begin() + place, common.begin(), common.end());
  return part;
}

// Whether a gather of this kind reads a part of that shape, or of one in a corner of it, as a scatter's values may have. Types alone don't
// tell for symbolic shapes.
static bool fits(StringRef kind, ArrayRef<int64_t> dims, ArrayRef<const Tensor *> indices, ArrayRef<int64_t> whole, ArrayRef<int64_t> part,
                 bool isScatter, KernelCall &call) {
  Offsets expected = partShapeOf(kind, dims, indices, whole);
  bool isFit = part.size() == expected.size() && (kind != "gather" || whole.size() == expected.size());
  for (size_t i = 0; isFit && i < expected.size(); ++i)
    isFit = kind == "gather" ? part[i] >= expected[i] : part[i] == expected[i];
  for (size_t i = 0; isFit && kind == "gather" && i < expected.size(); ++i)
    isFit = static_cast<int64_t>(i) == dims[0] || expected[i] <= whole[i];
  if (!isFit)
    call.fail("has indices of a shape that its operand and its " + Twine(isScatter ? "values" : "result") + " don't fit");
  return isFit;
}

// Calls visit(position in `whole`, position in `part`): what a gather of this kind reads, or a scatter writes.
template <typename Visit>
static void walkIndexed(StringRef kind, ArrayRef<int64_t> dims, ArrayRef<const Tensor *> indices, ArrayRef<int64_t> whole,
                        ArrayRef<int64_t> part, KernelCall &call, Visit visit) {
  Offsets strides = rowMajorStrides(whole), partStrides = rowMajorStrides(part);
  if (kind == "gather") {
    // The index has the part's rank; a part (of a scatter) may be larger than it.
    Offsets others = strides;
    others[dims[0]] = 0;
    const Tensor &index = *indices[0];
    size_t next = 0;
    walk<2>(index.shape, {others, partStrides}, [&](auto at) {
      if (auto row = position(index.values[next++], whole[dims[0]], call))
        visit(at[0] + *row * strides[dims[0]], at[1]);
    });
    return;
  }
  if (kind == "index_select") {
    Offsets others = strides;
    others[dims[0]] = 0;
    Offsets counter(part.size(), 0);
    counter[dims[0]] = 1;
    walk<3>(part, {others, partStrides, counter}, [&](auto at) {
      if (auto row = position(indices[0]->values[at[2]], whole[dims[0]], call))
        visit(at[0] + *row * strides[dims[0]], at[1]);
    });
    return;
  }
  size_t common = 0, place = placeOfCommon(dims);
  for (const Tensor *index : indices)
    common = std::max<size_t>(common, index->rank());
  Offsets commonShape(part.begin() + place, part.begin() + place + common);
  Offsets rest(part.size(), 0);
  size_t next = 0;
  for (size_t dim = 0; dim < whole.size(); ++dim) {
    if (llvm::is_contained(dims, static_cast<int64_t>(dim)))
      continue;
    if (next == place)
      next += common;
    rest[next++] = strides[dim];
  }
  // For each position of the common shape, where it leads in the whole.
  std::vector<int64_t> base(Tensor::countElements(commonShape), 0);
  for (auto [dim, index] : llvm::zip(dims, indices)) {
    size_t at = 0;
    walk<1>(commonShape, {broadcastStrides(index->shape, commonShape)}, [&, index = index, dim = dim](auto offset) {
      if (auto row = position(index->values[offset[0]], whole[dim], call))
        base[at++] += *row * strides[dim];
    });
  }
  if (!call.error.empty())
    return;
  Offsets counter(part.size(), 0);
  Offsets own = rowMajorStrides(commonShape);
  std::copy(own.begin(), own.end(), counter.begin() + place);
  walk<3>(part, {rest, partStrides, counter}, [&](auto at) { visit(base[at[2]] + at[0], at[1]); });
}

static void gather(GatherOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult());
  SmallVector<const Tensor *, 4> indices;
  for (Value index : op.getIndices())
    indices.push_back(&call[index]);
  if (fits(op.getKind(), op.getDims(), indices, input.shape, result.shape, /*isScatter=*/false, call))
    walkIndexed(op.getKind(), op.getDims(), indices, input.shape, result.shape, call,
                [&](int64_t whole, int64_t part) { result.values[part] = input.values[whole]; });
}

static void scatter(ScatterOp op, KernelCall &call) {
  Tensor &result = call.result(op.getResult());
  result.values = call[op.getInto()].values;
  SmallVector<const Tensor *, 4> indices;
  for (Value index : op.getInputs().take_front(op.getDims().size()))
    indices.push_back(&call[index]);
  // Without values each position gets the scalar.
  bool isScalar = !op.getScalars().empty();
  Tensor scalar;
  if (isScalar) {
    Offsets shape = partShapeOf(op.getKind(), op.getDims(), indices, result.shape);
    scalar.shape.assign(shape.begin(), shape.end());
    scalar.values.assign(Tensor::countElements(shape), op.getScalars()[0]);
  }
  const Tensor &values = isScalar ? scalar : call[op.getInputs().back()];
  if (!fits(op.getKind(), op.getDims(), indices, result.shape, values.shape, /*isScatter=*/true, call))
    return;
  walkIndexed(op.getKind(), op.getDims(), indices, result.shape, values.shape, call, [&](int64_t whole, int64_t part) {
    result.values[whole] = values.values[part] + (op.getAccumulate() ? result.values[whole] : 0);
  });
}

//===----------------------------------------------------------------------===//
// sort, histogram
//===----------------------------------------------------------------------===//

static void sort(SortOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &values = call.result(op.getValues()), &indices = call.result(op.getIndices());
  if (input.rank() == 0) {
    values.values = input.values;
    return;
  }
  int64_t dim = op.getDim(), size = input.shape[dim], kept = values.shape[dim];
  Offsets strides = rowMajorStrides(input.shape), out = rowMajorStrides(values.shape);
  int64_t step = strides[dim], outStep = out[dim];
  Offsets lines(input.shape);
  lines[dim] = 1;
  std::vector<int64_t> order(size);
  walk<2>(lines, {strides, out}, [&](auto at) {
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      double x = input.values[at[0] + a * step], y = input.values[at[0] + b * step];
      return op.getDescending() ? x > y : x < y;
    });
    for (int64_t i = 0; i < kept; ++i) {
      values.values[at[1] + i * outStep] = input.values[at[0] + order[i] * step];
      indices.values[at[1] + i * outStep] = static_cast<double>(order[i]);
    }
  });
}

static void histogram(HistogramOp op, KernelCall &call) {
  Tensor &result = call.result(op.getResult());
  double low = op.getLow().convertToDouble(), high = op.getHigh().convertToDouble(), bins = static_cast<double>(result.size());
  for (double value : call[op.getInput()].values)
    if (value >= low && value <= high) {
      double bin = high > low ? std::floor((value - low) * bins / (high - low)) : 0;
      ++result.values[static_cast<size_t>(std::min(bin, bins - 1))];
    }
}

void moai::addIndexKernels(KernelTable &table) {
  table.add<GenerateOp>(generate);
  table.add<EmbeddingOp>(embedding);
  table.add<EmbeddingBackwardOp>(embeddingBackward);
  table.add<GatherOp>(gather);
  table.add<ScatterOp>(scatter);
  table.add<SortOp>(sort);
  table.add<HistogramOp>(histogram);
}
