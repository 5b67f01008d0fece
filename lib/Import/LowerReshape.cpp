//===- LowerReshape.cpp - Rules for reshapes, which cut and join dimensions ===//
#include "Lowering.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

using namespace moai;

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

void moai::addReshapeRules(llvm::StringMap<LoweringRule> &rules) {
  for (const char *name : {"aten.view", "aten.reshape", "aten._unsafe_view", "aten.flatten", "aten.unflatten", "aten.squeeze",
                           "aten.squeeze_", "aten.view_as", "aten.reshape_as", "aten.ravel", "aten.view_copy"})
    rules[name] = reshape;
  rules["aten.unsqueeze"] = rules["aten.unsqueeze_"] = unsqueeze;
}
