//===- LowerViews.cpp - Rules for views, slices and joins ------------------===//
#include "Lowering.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

using namespace moai;

//===----------------------------------------------------------------------===//
// Reshapes
//===----------------------------------------------------------------------===//

namespace {
/// What dimensions are made of: symbolic factors, batch first, and a number.
struct Factors {
  llvm::SmallVector<Dim, 4> symbolic;
  int64_t number = 1;
};
} // namespace

static void factorise(const Dim &dim, Factors &factors) {
  Dim rest = dim;
  for (unsigned symbol = 0; symbol < kNumDimSymbols; ++symbol)
    while (std::optional<Dim> quotient = rest.isConstant() ? std::nullopt : rest.dividedBy(Dim::symbol(symbol))) {
      factors.symbolic.push_back(Dim::symbol(symbol));
      rest = *quotient;
    }
  if (rest.isConstant()) {
    factors.number = saturatingMultiply(factors.number, rest.constant());
    return;
  }
  if (rest.getTerms().size() == 1) {
    factors.number = saturatingMultiply(factors.number, rest.getTerms()[0].coefficient);
    return;
  }
  factors.symbolic.push_back(rest);
}

// The result dimension that a factor of this size at export goes to: the first whose number it divides, or the last. A factor
// that was 1 (a batch of 1) prefers a result dimension of 1.
static std::optional<size_t> placeOf(int64_t hint, llvm::ArrayRef<int64_t> need, llvm::ArrayRef<int64_t> to, llvm::ArrayRef<Dim> dims,
                                     bool last) {
  if (hint == 1) {
    for (size_t i = 0; i < to.size(); ++i)
      if (to[i] == 1 && dims[i].isConstant(1))
        return i;
    return 0;
  }
  std::optional<size_t> place;
  for (size_t i = 0; i < to.size() && hint > 0 && (last || !place); ++i)
    if (need[i] % hint == 0)
      place = i;
  return place;
}

// Distributes factors over dimensions of these sizes; nothing if that doesn't come out even.
static std::optional<llvm::SmallVector<Dim, 4>> distributed(Lowering &l, const Factors &factors, llvm::ArrayRef<int64_t> to, bool last) {
  llvm::SmallVector<Dim, 4> dims(to.size(), Dim(1));
  llvm::SmallVector<int64_t, 4> need(to.begin(), to.end());
  for (const Dim &factor : factors.symbolic) {
    int64_t hint = l.graph.dims.hint(l.graph.dims.get(factor));
    std::optional<size_t> place = placeOf(hint, need, to, dims, last);
    if (!place)
      break;
    dims[*place] = dims[*place] * factor;
    need[*place] /= std::max<int64_t>(hint, 1);
  }
  int64_t left = factors.number;
  for (size_t i = 0; i < to.size(); ++i) {
    if (need[i] <= 0 || left % need[i] != 0)
      return std::nullopt;
    left /= need[i];
    dims[i] = dims[i] * Dim(need[i]);
  }
  return left == 1 ? std::optional(dims) : std::nullopt;
}

static std::string listed(llvm::ArrayRef<Dim> dims) {
  return absl::StrJoin(dims, ", ", [](std::string *out, const Dim &dim) { out->append(dim.str()); });
}

// Distributes what a run of operand dimensions is made of over the result dimensions it is cut into. The export wrote
// plain numbers, so where each symbolic factor goes follows from the numbers that it divides.
static void distribute(Lowering &l, llvm::ArrayRef<DimId> from, llvm::ArrayRef<int64_t> to, unsigned firstTo,
                       llvm::MutableArrayRef<DimId> result) {
  if (from.size() == 1 && to.size() == 1) {
    result[0] = from[0];
    return;
  }
  Factors factors;
  Dim whole = 1;
  for (DimId dim : from) {
    factorise(l.graph.dims.dim(dim), factors);
    whole = whole * l.graph.dims.dim(dim);
  }
  auto dims = distributed(l, factors, to, /*last=*/false);
  auto other = to.size() > 1 && dims ? distributed(l, factors, to, /*last=*/true) : std::nullopt;
  if (other && *other != *dims) {
    std::string reading = absl::StrCat(whole.str(), " to [", absl::StrJoin(to, ", "), "] as [", listed(*other), "]");
    if (reading == l.readings.other)
      dims = other;
    if (!llvm::is_contained(l.readings.ambiguous, reading))
      l.readings.ambiguous.push_back(std::move(reading));
  }
  for (size_t i = 0; i < to.size(); ++i)
    result[i] = dims ? l.graph.dims.get((*dims)[i]) : l.graph.dims.literal(to[i], l.site(firstTo + i));
}

// Dimensions of a reshape to the recorded sizes.
static llvm::SmallVector<DimId, 4> reshapedDims(Lowering &l, ValueId value, const pt2::TensorMeta &meta,
                                                llvm::ArrayRef<std::optional<Dim>> known) {
  llvm::ArrayRef<DimId> from = l.dims(value);
  llvm::SmallVector<int64_t, 4> to;
  for (const pt2::Size &size : meta.sizes)
    to.push_back(size.value);
  int64_t before = l.graph.hintElements(value), after = 1;
  for (int64_t size : to)
    after = saturatingMultiply(after, size);
  if (before != after)
    l.fail(absl::StrCat("reshapes ", before, " elements into ", after));
  llvm::SmallVector<DimId, 4> result(to.size(), l.one());
  if (before == 0) {
    for (size_t i = 0; i < to.size(); ++i)
      result[i] = l.graph.dims.literal(to[i], l.site(i));
    return result;
  }
  size_t i = 0, j = 0;
  while (i < from.size() && j < to.size()) {
    size_t firstFrom = i, firstTo = j;
    int64_t in = l.graph.dims.hint(from[i++]), out = to[j++];
    while (in != out) {
      if (in < out && i < from.size())
        in *= l.graph.dims.hint(from[i++]);
      else if (out < in && j < to.size())
        out *= to[j++];
      else
        l.fail("reshapes in a way that sizes don't explain");
    }
    // Trailing ones belong to the run they follow.
    if (i == from.size())
      j = to.size();
    if (j == to.size())
      i = from.size();
    distribute(l, from.slice(firstFrom, i - firstFrom), llvm::ArrayRef<int64_t>(to).slice(firstTo, j - firstTo), firstTo,
               llvm::MutableArrayRef<DimId>(result).slice(firstTo, j - firstTo));
  }
  // A single unknown (-1) next to symbolic sizes follows from them.
  for (size_t k = 0; k < known.size() && k < result.size() && known.size() == result.size(); ++k)
    if (known[k] && !known[k]->isConstant() && l.graph.dims.hint(l.graph.dims.get(*known[k])) == to[k])
      result[k] = l.graph.dims.get(*known[k]);
  return result;
}

static void reshape(Lowering &l) {
  ValueId self = l.tensor(l.has("self") ? "self" : "input");
  auto known = l.symbolicIntegers(l.has("shape") ? "shape" : "size");
  if (l.dtype(self) != l.outputMeta(0).dtype)
    return l.lowerOpaque(); // view.dtype reinterprets bits
  l.setOutput(l.reshape(self, reshapedDims(l, self, l.outputMeta(0), known)));
  l.markView(l.has("self") ? "self" : "input");
}

static void unsqueeze(Lowering &l) {
  ValueId self = l.tensor("self");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  int64_t dim = l.dimension("dim", 0, shape.size() + 1);
  shape.insert(shape.begin() + dim, l.one());
  l.setOutput(l.reshape(self, shape));
  l.markView("self");
}

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
  if (repeats.size() < l.rank(self))
    l.fail("repeats fewer dimensions than the tensor has");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  while (shape.size() < repeats.size())
    shape.insert(shape.begin(), l.one());
  self = l.reshape(self, shape);
  auto known = l.symbolicIntegers(l.has("repeats") ? "repeats" : "dims");
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

static void unbind(Lowering &l) {
  ValueId self = l.tensor("self");
  if (l.rank(self) == 0)
    l.fail("unbinds a scalar");
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  for (unsigned i = 0; i < l.numOutputs(); ++i)
    l.setOutput(i, selectAt(l, self, dim, i));
  l.markView("self");
}

//===----------------------------------------------------------------------===//
// Joins
//===----------------------------------------------------------------------===//

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

static constexpr int64_t kMaxPadding = int64_t(1) << 48;

static void pad(Lowering &l) {
  ValueId self = l.tensor("self");
  auto amounts = l.integers("pad");
  if (l.text("mode", "constant") != "constant" || amounts.size() % 2 || amounts.size() / 2 > l.rank(self))
    return l.lowerOpaque();
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
    l.setOutput(index, expandTo(l, l.reshape(vector, column), shape));
  }
}

void moai::addViewRules(llvm::StringMap<LoweringRule> &rules) {
  for (const char *name : {"aten.view", "aten.reshape", "aten._unsafe_view", "aten.flatten", "aten.unflatten", "aten.squeeze",
                           "aten.squeeze_", "aten.view_as", "aten.reshape_as", "aten.ravel", "aten.view_copy"})
    rules[name] = reshape;
  rules["aten.unsqueeze"] = rules["aten.unsqueeze_"] = unsqueeze;
  for (const char *name : {"aten.transpose", "aten.swapaxes", "aten.swapdims", "aten.t", "aten.mT", "aten.numpy_T", "aten.transpose_"})
    rules[name] = transpose;
  rules["aten.permute"] = permute;
  rules["aten.movedim"] = movedim;
  rules["aten.expand"] = rules["aten.expand_as"] = rules["aten.broadcast_to"] = expand;
  rules["aten.repeat"] = rules["aten.tile"] = repeat;
  rules["aten.repeat_interleave"] = repeatInterleave;
  rules["aten.slice"] = rules["aten.narrow"] = slice;
  rules["aten.select"] = select;
  for (const char *name : {"aten.split", "aten.chunk", "aten.split_with_sizes", "aten.tensor_split"})
    rules[name] = split;
  rules["aten.unbind"] = unbind;
  rules["aten.cat"] = rules["aten.concat"] = cat;
  rules["aten.stack"] = stack;
  rules["aten.pad"] = rules["aten.constant_pad_nd"] = pad;
  rules["aten.roll"] = roll;
  rules["aten.meshgrid"] = meshgrid;
  rules["aten.diff"] = diff;
}
