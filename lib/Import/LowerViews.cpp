//===- LowerViews.cpp - Rules for permutations, expansions and slices ------===//
#include "Lowering.h"
#include "absl/strings/str_cat.h"

using namespace moai;

//===----------------------------------------------------------------------===//
// Permutations
//===----------------------------------------------------------------------===//

static void permuteBy(Lowering &l, llvm::ArrayRef<int64_t> permutation) {
  ValueId self = l.tensor("self");
  llvm::SmallVector<DimId, 4> shape;
  bool identity = true;
  for (auto [index, dim] : llvm::enumerate(permutation)) {
    shape.push_back(l.dims(self)[dim]);
    identity &= static_cast<int64_t>(index) == dim;
  }
  l.setOutput(identity ? self : l.emitOne(OpCode::Transpose, "", {self}, l.dtype(self), shape, permutation));
  l.markView("self");
}

static void transpose(Lowering &l) {
  size_t rank = l.rank(l.tensor("self"));
  llvm::SmallVector<int64_t, 4> permutation;
  for (size_t i = 0; i < rank; ++i)
    permutation.push_back(i);
  bool lastTwo = l.node->target.starts_with("aten.mT") || l.node->target.starts_with("aten.t.") || l.node->target == "aten.t" ||
                 l.node->target.starts_with("aten.numpy_T");
  if (rank >= 2) {
    if (lastTwo)
      std::swap(permutation[rank - 2], permutation[rank - 1]);
    else
      std::swap(permutation[l.dimension(l.has("axis0") ? "axis0" : "dim0", 0, rank)],
                permutation[l.dimension(l.has("axis1") ? "axis1" : "dim1", 1, rank)]);
  }
  permuteBy(l, permutation);
}

static void permute(Lowering &l) {
  size_t rank = l.rank(l.tensor("self"));
  auto permutation = l.dimensions("dims", rank);
  llvm::SmallVector<bool, 4> seen(rank);
  for (int64_t dim : permutation) {
    if (seen[dim])
      l.fail(absl::StrCat("names dimension ", dim, " twice"));
    seen[dim] = true;
  }
  if (permutation.size() != rank)
    l.fail(absl::StrCat("permutes ", permutation.size(), " dimensions of a tensor of rank ", rank));
  permuteBy(l, permutation);
}

static void movedim(Lowering &l) {
  size_t rank = l.rank(l.tensor("self"));
  auto source = l.dimensions("source", rank), destination = l.dimensions("destination", rank);
  if (source.size() != destination.size())
    l.fail("moves a different number of dimensions than it names places");
  llvm::SmallVector<int64_t, 4> permutation(rank, -1), rest;
  for (auto [from, to] : llvm::zip(source, destination))
    permutation[to] = from;
  for (size_t i = 0; i < rank; ++i)
    if (!llvm::is_contained(source, static_cast<int64_t>(i)))
      rest.push_back(i);
  size_t next = 0;
  for (int64_t &dim : permutation)
    if (dim < 0) {
      if (next == rest.size())
        l.fail("moves two dimensions to one place");
      dim = rest[next++];
    }
  permuteBy(l, permutation);
}

//===----------------------------------------------------------------------===//
// Expansion
//===----------------------------------------------------------------------===//

static ValueId expandTo(Lowering &l, ValueId self, llvm::ArrayRef<DimId> shape) {
  if (l.dims(self) == shape)
    return self;
  llvm::SmallVector<DimId, 4> copy(shape.begin(), shape.end());
  return l.emitOne(OpCode::Expand, "", {self}, l.dtype(self), copy);
}

static void expand(Lowering &l) {
  ValueId self = l.tensor("self");
  auto sizes = l.integers("size");
  auto known = l.symbolicIntegers("size");
  if (l.node->target.starts_with("aten.expand_as") || l.node->target.starts_with("aten.broadcast_to"))
    sizes.clear();
  const pt2::TensorMeta &meta = l.outputMeta(0);
  if (meta.sizes.size() < l.rank(self))
    l.fail("expands to a smaller rank");
  size_t extra = meta.sizes.size() - l.rank(self);
  llvm::SmallVector<DimId, 4> shape;
  for (size_t i = 0; i < meta.sizes.size(); ++i) {
    std::optional<DimId> own;
    if (i >= extra)
      own = l.dims(self)[i - extra];
    if (own && !l.graph.dims.dim(*own).isConstant(1)) {
      if (l.graph.dims.hint(*own) != meta.sizes[i].value)
        l.fail(absl::StrCat("expands dimension ", i, " from ", l.graph.dims.hint(*own), " to ", meta.sizes[i].value));
      shape.push_back(*own);
    } else if (own && i < sizes.size() && sizes[i] == -1) {
      shape.push_back(*own);
    } else if (i < known.size() && known[i]) {
      shape.push_back(l.graph.dims.get(*known[i]));
    } else {
      shape.push_back(l.graph.dims.literal(meta.sizes[i].value, l.site(i)));
    }
  }
  l.setOutput(expandTo(l, self, shape));
  l.markView("self");
}

// All tensors in the shape that they have together.
static void broadcastTensors(Lowering &l) {
  auto tensors = l.allTensors("tensors");
  auto shape = l.broadcast(tensors);
  for (auto [index, tensor] : llvm::enumerate(tensors))
    l.setOutput(index, expandTo(l, tensor, shape));
}

ValueId moai::repeatAlong(Lowering &l, ValueId self, size_t dim, const Dim &repeats, bool interleave) {
  if (repeats.isConstant(1))
    return self;
  if (repeats.isConstant() && (repeats.constant() < 1 || repeats.constant() > (1 << 24)))
    l.fail(absl::StrCat("repeats a tensor ", repeats.constant(), " times"));
  llvm::SmallVector<DimId, 4> shape(l.dims(self)), split(l.dims(self)), wide;
  size_t at = interleave ? dim + 1 : dim;
  split.insert(split.begin() + at, l.one());
  wide = split;
  wide[at] = l.graph.dims.get(repeats);
  Dim product = l.graph.dims.dim(shape[dim]) * repeats;
  shape[dim] = l.graph.dims.get(product);
  return l.reshape(expandTo(l, l.reshape(self, split), wide), shape);
}

static void repeat(Lowering &l) {
  ValueId self = l.tensor("self");
  auto repeats = l.integers(l.has("repeats") ? "repeats" : "dims");
  auto known = l.symbolicIntegers(l.has("repeats") ? "repeats" : "dims");
  if (repeats.size() < l.rank(self) && !l.node->target.starts_with("aten.tile"))
    l.fail("repeats fewer dimensions than the tensor has");
  while (repeats.size() < l.rank(self)) { // tile leaves the first ones
    repeats.insert(repeats.begin(), 1);
    known.insert(known.begin(), std::nullopt);
  }
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  while (shape.size() < repeats.size())
    shape.insert(shape.begin(), l.one());
  self = l.reshape(self, shape);
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (l.graph.dims.isOne(l.dims(self)[i])) {
      // Repeating a single element is an expansion, whose count may be the batch.
      llvm::SmallVector<DimId, 4> wide(l.dims(self));
      wide[i] = known[i] ? l.graph.dims.get(*known[i]) : l.graph.dims.literal(repeats[i], l.site(i));
      self = expandTo(l, self, wide);
    } else if (!(repeats[i] == 1 && !known[i])) {
      // The count may be the batch, which shows where the whole dimension meets another one.
      Dim source = l.graph.dims.dim(l.dims(self)[i]), count = known[i] ? *known[i] : Dim(repeats[i]);
      DimId whole = l.graph.dims.get(source * count);
      if (count.isConstant() && !count.isConstant(1) && source.isConstant()) {
        whole = l.graph.dims.literal(saturatingMultiply(source.constant(), repeats[i]), l.site(i));
        if (auto learned = l.graph.dims.dim(whole).dividedBy(source))
          count = *learned;
      }
      self = repeatAlong(l, self, i, count, false);
      llvm::SmallVector<DimId, 4> shape(l.dims(self));
      shape[i] = whole;
      self = l.reshape(self, shape);
    }
  }
  l.setOutput(self);
}

static void repeatInterleave(Lowering &l) {
  ValueId self = l.tensor("self");
  const pt2::Argument *repeats = l.argument("repeats");
  if (!repeats || repeats->kind == pt2::Argument::Kind::Tensor)
    return l.lowerOpaque();
  if (!l.has("dim"))
    self = l.reshape(self, {l.graph.dims.get([&] {
                       Dim all = 1;
                       for (DimId dim : l.dims(self))
                         all = all * l.graph.dims.dim(dim);
                       return all;
                     }())});
  l.setOutput(repeatAlong(l, self, l.dimension("dim", 0, l.rank(self)), Dim(l.integer("repeats", 1)), true));
}

//===----------------------------------------------------------------------===//
// Slices
//===----------------------------------------------------------------------===//

static void slice(Lowering &l) {
  ValueId self = l.tensor("self");
  int64_t dim = l.dimension("dim", 0, l.rank(self)), step = l.integer("step", 1);
  if (l.rank(self) == 0 || step < 1)
    l.fail(absl::StrCat("slices with step ", step, " a tensor of rank ", l.rank(self)));
  DimId sizeId = l.dims(self)[dim];
  Dim size = l.graph.dims.dim(sizeId);
  int64_t hint = l.graph.dims.hint(sizeId);
  // A bound that is a number counts from its own end; one that reaches the size at export is open.
  auto bound = [&](const char *name, int64_t defaultValue, bool &literal) -> Dim {
    literal = false;
    if (l.has(name))
      if (auto symbolic = l.symbolicIntegers(name); !symbolic.empty() && symbolic[0])
        return *symbolic[0];
    int64_t value = l.has(name) ? l.integer(name, defaultValue) : defaultValue;
    if (value < 0)
      return value <= -hint ? Dim(0) : size + Dim(value);
    if (value >= hint)
      return size;
    literal = value != 0;
    return Dim(value);
  };
  bool startLiteral, endLiteral;
  Dim start = bound("start", 0, startLiteral), end = bound("end", INT64_MAX, endLiteral);
  int64_t recorded = l.outputMeta(0).sizes.size() > static_cast<size_t>(dim) ? l.outputMeta(0).sizes[dim].value : 0;
  Dim taken = end - start;
  DimId result;
  if (step == 1 && startLiteral && end == size && size.isConstant() && !l.graph.dims.isLiteral(sizeId)) {
    // The last positions of a table: how many may be the sequence.
    result = l.graph.dims.literal(recorded, l.site(0));
    start = size - l.graph.dims.dim(result);
  } else if (step == 1 && !endLiteral && start.isConstant() && end == size)
    result = l.graph.dims.shifted(sizeId, -start.constant());
  else if (step == 1 && !endLiteral)
    result = l.graph.dims.get(taken);
  else if (step > 1 && !taken.isConstant() && taken.dividedBy(Dim(step)))
    result = l.graph.dims.get(*taken.dividedBy(Dim(step)));
  else
    result = l.graph.dims.literal(recorded, l.site(0));
  if (step == 1 && !endLiteral && taken == size)
    result = sizeId;
  l.setOutput(l.slice(self, dim, start, result, step));
  l.markView("self");
}

static ValueId selectAt(Lowering &l, ValueId self, int64_t dim, int64_t index) {
  DimId size = l.dims(self)[dim];
  if (index >= l.graph.dims.hint(size) || index < -l.graph.dims.hint(size))
    l.fail(absl::StrCat("selects position ", index, " of ", l.graph.dims.hint(size)));
  ValueId part = l.slice(self, dim, index < 0 ? l.graph.dims.dim(size) + Dim(index) : Dim(index), l.one());
  llvm::SmallVector<DimId, 4> shape(l.dims(part));
  shape.erase(shape.begin() + dim);
  return l.reshape(part, shape);
}

static void select(Lowering &l) {
  ValueId self = l.tensor("self");
  if (l.rank(self) == 0)
    l.fail("selects from a scalar");
  l.setOutput(selectAt(l, self, l.dimension("dim", 0, l.rank(self)), l.integer("index", 0)));
  l.markView("self");
}

static void split(Lowering &l) {
  ValueId self = l.tensor("self");
  if (l.rank(self) == 0)
    l.fail("splits a scalar");
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  Dim whole = l.graph.dims.dim(l.dims(self)[dim]), start = 0;
  int64_t pieces = static_cast<int64_t>(l.numOutputs());
  bool even = !l.node->target.contains("with_sizes");
  for (int64_t i = 0; i < pieces; ++i) {
    const pt2::TensorMeta &meta = l.outputMeta(i);
    if (meta.sizes.size() != l.rank(self))
      l.fail("splits into pieces of another rank");
    Dim size = meta.sizes[dim].value;
    // A symbolic dimension is cut into equal symbolic pieces.
    if (!whole.isConstant() && even && whole.dividedBy(Dim(pieces)))
      size = *whole.dividedBy(Dim(pieces));
    l.setOutput(i, l.slice(self, dim, start, l.graph.dims.get(size)));
    start = start + size;
  }
  l.markView("self");
}

// `length` positions from `start` on, each of which may be a number or a dimension.
static void narrow(Lowering &l) {
  ValueId self = l.tensor("self");
  const pt2::Argument *given = l.argument("start");
  if (l.rank(self) == 0 || (given && given->kind == pt2::Argument::Kind::Tensor))
    return l.lowerOpaque();
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  auto numberOrDim = [&](const char *name) {
    auto symbolic = l.symbolicIntegers(name);
    return !symbolic.empty() && symbolic[0] ? *symbolic[0] : Dim(l.integer(name, 0));
  };
  DimId sizeId = l.dims(self)[dim];
  Dim start = numberOrDim("start"), length = numberOrDim("length");
  if (start.isConstant() && start.constant() < 0)
    start = l.graph.dims.dim(sizeId) + start;
  bool isWhole = start == Dim(0) && length.isConstant(l.graph.dims.hint(sizeId));
  DimId taken = isWhole ? sizeId : length.isConstant() ? l.graph.dims.literal(length.constant(), l.site(0)) : l.graph.dims.get(length);
  l.setOutput(l.slice(self, dim, start, taken));
  l.markView("self");
}

static void unbind(Lowering &l) {
  ValueId self = l.tensor("self");
  if (l.rank(self) == 0)
    l.fail("unbinds a scalar");
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  for (unsigned i = 0; i < l.numOutputs(); ++i)
    l.setOutput(i, selectAt(l, self, dim, i));
  l.markView("self");
}

void moai::addViewRules(llvm::StringMap<LoweringRule> &rules) {
  for (const char *name : {"aten.transpose", "aten.swapaxes", "aten.swapdims", "aten.t", "aten.mT", "aten.numpy_T", "aten.transpose_"})
    rules[name] = transpose;
  rules["aten.permute"] = permute;
  rules["aten.movedim"] = movedim;
  rules["aten.expand"] = rules["aten.expand_as"] = rules["aten.broadcast_to"] = expand;
  rules["aten.repeat"] = rules["aten.tile"] = repeat;
  rules["aten.repeat_interleave"] = repeatInterleave;
  rules["aten.slice"] = slice;
  rules["aten.narrow"] = narrow;
  rules["aten.select"] = select;
  for (const char *name : {"aten.split", "aten.chunk", "aten.split_with_sizes", "aten.tensor_split"})
    rules[name] = split;
  rules["aten.unbind"] = unbind;
  rules["aten.broadcast_tensors"] = broadcastTensors;
}
