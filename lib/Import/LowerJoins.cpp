//===- LowerJoins.cpp - Rules for joins, borders and rearrangements --------===//
#include "Lowering.h"
#include "absl/strings/str_cat.h"

using namespace moai;

static ValueId concat(Lowering &l, llvm::SmallVector<ValueId, 4> values, int64_t dim, DimId *knownSize = nullptr) {
  llvm::SmallVector<DimId, 4> shape(l.dims(values[0]));
  if (shape.empty())
    l.fail("joins scalars");
  Dim total = 0;
  for (ValueId value : values) {
    if (l.rank(value) != shape.size())
      l.fail("joins tensors of different rank");
    for (size_t i = 0; i < shape.size(); ++i)
      if (static_cast<int64_t>(i) != dim) {
        if (l.graph.dims.hint(shape[i]) != l.graph.dims.hint(l.dims(value)[i]))
          l.fail(absl::StrCat("joins tensors whose dimension ", i, " differs: ", l.graph.dims.hint(shape[i]), " and ",
                              l.graph.dims.hint(l.dims(value)[i])));
        shape[i] = l.graph.dims.unify(shape[i], l.dims(value)[i], /*sure=*/true);
      }
    total = total + l.graph.dims.dim(l.dims(value)[dim]);
  }
  shape[dim] = knownSize ? *knownSize : l.graph.dims.get(total);
  return l.emitOne(OpCode::Concat, "", values, l.dtype(values[0]), shape, {dim});
}

static llvm::SmallVector<ValueId, 4> joined(Lowering &l) {
  llvm::SmallVector<ValueId, 4> values;
  DType dtype = l.outputMeta(0).dtype;
  for (ValueId value : l.tensors("tensors"))
    // torch.cat ignores empty vectors.
    if (value != kNoValue && !(l.rank(value) == 1 && l.graph.dims.hint(l.dims(value)[0]) == 0))
      values.push_back(l.cast(value, dtype));
  if (values.empty())
    l.fail("joins no tensors");
  return values;
}

static void cat(Lowering &l) {
  auto values = joined(l);
  l.setOutput(concat(l, values, l.dimension("dim", 0, l.rank(values[0]))));
}

static void stack(Lowering &l) {
  auto values = joined(l);
  int64_t dim = l.dimension("dim", 0, l.rank(values[0]) + 1);
  for (ValueId &value : values) {
    llvm::SmallVector<DimId, 4> shape(l.dims(value));
    shape.insert(shape.begin() + dim, l.one());
    value = l.reshape(value, shape);
  }
  l.setOutput(concat(l, values, dim));
}

// Tensors of too small a rank get dimensions of one: ahead, or for dstack behind two.
static void stackAlong(Lowering &l, size_t rank, int64_t dim) {
  auto values = joined(l);
  for (ValueId &value : values) {
    llvm::SmallVector<DimId, 4> shape(l.dims(value));
    while (shape.size() < std::min<size_t>(rank, 2))
      shape.insert(shape.begin(), l.one());
    while (shape.size() < rank)
      shape.push_back(l.one());
    value = l.reshape(value, shape);
  }
  l.setOutput(concat(l, values, l.rank(values[0]) == 1 ? 0 : dim));
}

// The elements along a dimension of a fixed size, in the order of `indices`.
static ValueId pick(Lowering &l, ValueId self, int64_t dim, ValueId indices) {
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  shape[dim] = l.dims(indices)[0];
  return l.emitOne(OpCode::Gather, "index_select", {self, indices}, l.dtype(self), shape, {dim});
}

static ValueId count(Lowering &l, int64_t start, int64_t step, int64_t size) {
  return l.emitOne(OpCode::Generate, "arange", {}, DType::I64, {l.constant(size)}, {},
                   {static_cast<double>(start), static_cast<double>(step)});
}

// Borders that repeat what is inside: mirrored, the outermost, or from the other end.
static void padByElements(Lowering &l, llvm::StringRef mode, llvm::ArrayRef<int64_t> amounts) {
  ValueId self = l.tensor("self");
  for (size_t i = 0; i + 1 < amounts.size(); i += 2) {
    int64_t dim = static_cast<int64_t>(l.rank(self) - 1 - i / 2), before = amounts[i], after = amounts[i + 1];
    Dim size = l.graph.dims.dim(l.dims(self)[dim]);
    // How far a dimension that isn't fixed reaches can't be written as an index.
    if (!size.isConstant() || before < -size.constant() || after < -size.constant() || std::max(before, after) > size.constant())
      return l.lowerOpaque();
    double last = static_cast<double>(size.constant() - 1);
    ValueId at = count(l, -before, 1, size.constant() + before + after);
    auto apply = [&](llvm::StringRef kind, llvm::ArrayRef<double> scalars) {
      llvm::SmallVector<DimId, 4> shape(l.dims(at));
      at = l.emitOne(OpCode::Elementwise, kind, {at}, DType::I64, shape, {}, scalars);
    };
    if (mode == "reflect") {
      for (int end = 0; end < 2; ++end) {
        apply("abs", {});
        apply("rsub", {last});
      }
    } else if (mode == "replicate") {
      apply("clamp", {0, last});
    } else {
      apply("remainder", {last + 1});
    }
    self = pick(l, self, dim, at);
  }
  l.setOutput(self);
}

static void flip(Lowering &l) {
  ValueId self = l.tensor("self");
  for (int64_t dim : l.dimensions("dims", l.rank(self))) {
    Dim size = l.graph.dims.dim(l.dims(self)[dim]);
    if (!size.isConstant())
      return l.lowerOpaque();
    self = pick(l, self, dim, count(l, size.constant() - 1, -1, size.constant()));
  }
  l.setOutput(self);
}

// Splits some dimensions, puts the parts into another order, and joins them to the result's dimensions.
static void rearrange(Lowering &l, llvm::ArrayRef<DimId> split, llvm::ArrayRef<int64_t> order, llvm::ArrayRef<DimId> shape) {
  ValueId value = l.reshape(l.tensor("self"), split);
  llvm::SmallVector<DimId, 4> moved;
  for (int64_t dim : order)
    moved.push_back(split[dim]);
  value = l.emitOne(OpCode::Transpose, "", {value}, l.dtype(value), moved, order);
  l.setOutput(l.reshape(value, shape));
}

// [n, c r r, h, w] to [n, c, h r, w r], or back.
static void pixelShuffle(Lowering &l) {
  bool isBack = l.node->target.contains("unshuffle");
  int64_t factor = l.integer(isBack ? "downscale_factor" : "upscale_factor", 1);
  llvm::SmallVector<DimId, 4> dims(l.dims(l.tensor("self")));
  if (dims.size() != 4 || factor < 1)
    return l.lowerOpaque();
  auto times = [&](DimId dim, int64_t by) { return l.graph.dims.get(l.graph.dims.dim(dim) * Dim(by)); };
  auto over = [&](DimId dim, int64_t by) { return l.graph.dims.dim(dim).dividedBy(Dim(by)); };
  DimId r = l.constant(factor);
  if (isBack) {
    auto h = over(dims[2], factor), w = over(dims[3], factor);
    if (!h || !w)
      return l.lowerOpaque();
    DimId height = l.graph.dims.get(*h), width = l.graph.dims.get(*w);
    return rearrange(l, {dims[0], dims[1], height, r, width, r}, {0, 1, 3, 5, 2, 4},
                     {dims[0], times(times(dims[1], factor), factor), height, width});
  }
  auto c = over(dims[1], saturatingMultiply(factor, factor));
  if (!c)
    return l.lowerOpaque();
  DimId channels = l.graph.dims.get(*c);
  rearrange(l, {dims[0], channels, r, r, dims[2], dims[3]}, {0, 1, 4, 2, 5, 3},
            {dims[0], channels, times(dims[2], factor), times(dims[3], factor)});
}

static void channelShuffle(Lowering &l) {
  llvm::SmallVector<DimId, 4> dims(l.dims(l.tensor("self")));
  int64_t groups = l.integer("groups", 1);
  auto own = dims.size() > 1 && groups > 0 ? l.graph.dims.dim(dims[1]).dividedBy(Dim(groups)) : std::nullopt;
  if (!own)
    return l.lowerOpaque();
  llvm::SmallVector<DimId, 4> split{dims[0], l.constant(groups), l.graph.dims.get(*own)};
  llvm::SmallVector<int64_t, 4> order{0, 2, 1};
  for (size_t i = 2; i < dims.size(); ++i) {
    split.push_back(dims[i]);
    order.push_back(static_cast<int64_t>(i + 1));
  }
  rearrange(l, split, order, dims);
}

static constexpr int64_t kMaxPadding = int64_t(1) << 48;

static void pad(Lowering &l) {
  ValueId self = l.tensor("self");
  auto amounts = l.integers("pad");
  if (amounts.size() % 2 || amounts.size() / 2 > l.rank(self))
    return l.lowerOpaque();
  if (llvm::StringRef mode = l.text("mode", "constant"); mode != "constant")
    return padByElements(l, mode, amounts);
  for (size_t i = 0; i < amounts.size(); ++i) {
    int64_t dim = static_cast<int64_t>(l.rank(self) - 1 - i / 2), amount = amounts[i];
    if (amount < -kMaxPadding || amount > kMaxPadding)
      l.fail(absl::StrCat("pads by ", amount, ", expected 2^48 at most"));
    DimId sizeId = l.dims(self)[dim];
    if (amount < 0)
      self = l.slice(self, dim, i % 2 ? Dim(0) : Dim(-amount), l.graph.dims.get(l.graph.dims.dim(sizeId) + Dim(amount)));
    if (amount <= 0)
      continue;
    llvm::SmallVector<DimId, 4> shape(l.dims(self));
    shape[dim] = l.constant(amount);
    ValueId border = l.emitOne(OpCode::Generate, "full", {}, l.dtype(self), shape, {}, {l.number("value", 0)});
    self = i % 2 ? concat(l, {self, border}, dim) : concat(l, {border, self}, dim);
  }
  l.setOutput(self);
}

static void roll(Lowering &l) {
  ValueId self = l.tensor("self");
  auto shifts = l.integers("shifts");
  auto dims = l.dimensions("dims", l.rank(self));
  if (shifts.size() != dims.size())
    return l.lowerOpaque();
  for (auto [shift, dim] : llvm::zip(shifts, dims)) {
    DimId sizeId = l.dims(self)[dim];
    int64_t size = l.graph.dims.hint(sizeId);
    int64_t by = size > 0 ? ((shift % size) + size) % size : 0;
    if (by == 0)
      continue;
    Dim head = l.graph.dims.dim(sizeId) - Dim(by);
    self = concat(l, {l.slice(self, dim, head, l.constant(by)), l.slice(self, dim, 0, l.graph.dims.get(head))}, dim, &sizeId);
  }
  l.setOutput(self);
}

// diff(x) = x[1:] - x[:-1], after joining what is prepended.
static void diff(Lowering &l) {
  ValueId self = l.tensor("self"), prepend = l.optionalTensor("prepend");
  if (l.integer("n", 1) != 1 || l.has("append") || l.rank(self) == 0)
    return l.lowerOpaque();
  int64_t dim = l.dimension("dim", -1, l.rank(self));
  DimId result = l.dims(self)[dim];
  Dim size = l.graph.dims.dim(result);
  if (prepend != kNoValue) {
    if (l.rank(prepend) != l.rank(self))
      l.fail("prepends a tensor of another rank");
    size = size + l.graph.dims.dim(l.dims(prepend)[dim]);
    self = concat(l, {prepend, self}, dim);
  }
  if (prepend == kNoValue || !l.graph.dims.isOne(l.dims(prepend)[dim]))
    result = l.graph.dims.get(size - Dim(1));
  ValueId later = l.slice(self, dim, 1, result), earlier = l.slice(self, dim, 0, result);
  llvm::SmallVector<DimId, 4> shape(l.dims(later));
  l.setOutput(l.emitOne(OpCode::Elementwise, "sub", {later, earlier}, l.dtype(self), shape));
}

// Each vector along a dimension of its own, repeated along the others.
static void meshgrid(Lowering &l) {
  auto vectors = l.allTensors("tensors");
  bool swapped = l.text("indexing", "ij") == "xy" && vectors.size() >= 2;
  llvm::SmallVector<DimId, 4> shape;
  for (ValueId vector : vectors) {
    if (l.rank(vector) > 1)
      l.fail("has a tensor that is no vector");
    shape.push_back(l.rank(vector) ? l.dims(vector)[0] : l.one());
  }
  if (swapped)
    std::swap(shape[0], shape[1]);
  for (auto [index, vector] : llvm::enumerate(vectors)) {
    size_t dim = swapped && index < 2 ? 1 - index : index;
    llvm::SmallVector<DimId, 4> column(shape.size(), l.one());
    column[dim] = shape[dim];
    ValueId value = l.reshape(vector, column);
    l.setOutput(index, column == shape ? value : l.emitOne(OpCode::Expand, "", {value}, l.dtype(value), shape));
  }
}

void moai::addJoinRules(llvm::StringMap<LoweringRule> &rules) {
  rules["aten.cat"] = rules["aten.concat"] = cat;
  rules["aten.stack"] = stack;
  rules["aten.hstack"] = [](Lowering &l) { stackAlong(l, 1, 1); };
  rules["aten.vstack"] = [](Lowering &l) { stackAlong(l, 2, 0); };
  rules["aten.dstack"] = [](Lowering &l) { stackAlong(l, 3, 2); };
  rules["aten.pad"] = rules["aten.constant_pad_nd"] = pad;
  rules["aten.roll"] = roll;
  rules["aten.meshgrid"] = meshgrid;
  rules["aten.diff"] = diff;
  rules["aten.flip"] = flip;
  rules["aten.pixel_shuffle"] = rules["aten.pixel_unshuffle"] = pixelShuffle;
  rules["aten.channel_shuffle"] = channelShuffle;
}
