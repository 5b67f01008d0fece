//===- LowerResize.cpp - Rules for interpolation ---------------------------===//
#include "Lowering.h"
#include "absl/strings/str_cat.h"
#include <cmath>

using namespace moai;

namespace {
/// How positions along one dimension of the result map to the input: position o lies at `start + step * o`.
struct Resize {
  int64_t in = 0, out = 0;
  double start = 0, step = 0;

  double last() const { return start + step * static_cast<double>(out - 1); }
};
} // namespace

// Up to here float32, in which PyTorch counts, holds every position.
static constexpr int64_t kMaxSize = int64_t(1) << 24;

// The factor that the export gives for a spatial dimension; 0 where the sizes tell it.
static double givenFactor(Lowering &l, size_t dim, size_t spatial) {
  if (const pt2::Argument *factors = l.argument("scale_factors"))
    return factors->floats.size() == spatial ? factors->floats[dim] : NAN;
  static constexpr llvm::StringLiteral kNames[] = {"scales_d", "scales_h", "scales_w"};
  return l.number(spatial == 1 ? llvm::StringRef("scales") : llvm::StringRef(kNames[3 - spatial + dim]), 0);
}

// Each spatial dimension of the current node; nothing where a size isn't a number, or a factor makes no sense.
static std::optional<llvm::SmallVector<Resize, 3>> resizes(Lowering &l, ValueId input) {
  const pt2::TensorMeta &meta = l.outputMeta(0);
  if (l.rank(input) < 3 || l.rank(input) > 5 || meta.sizes.size() != l.rank(input))
    l.fail(absl::StrCat("resizes a tensor of rank ", l.rank(input), " to rank ", meta.sizes.size()));
  size_t spatial = l.rank(input) - 2;
  bool corners = l.flag("align_corners", false);
  llvm::SmallVector<Resize, 3> result;
  for (size_t i = 0; i < spatial; ++i) {
    const Dim &in = l.graph.dims.dim(l.dims(input)[i + 2]);
    const pt2::Size &out = meta.sizes[i + 2];
    if (!in.isConstant() || !out.symbol.empty() || in.constant() < 1 || out.value < 1 || std::max(in.constant(), out.value) > kMaxSize)
      return std::nullopt;
    Resize resize{in.constant(), out.value};
    double factor = givenFactor(l, i, spatial), from = static_cast<double>(resize.in), to = static_cast<double>(resize.out);
    if (corners) {
      resize.step = to > 1 ? (from - 1) / (to - 1) : 0;
    } else {
      resize.step = !(factor <= 0) ? 1 / factor : from / to;
      resize.start = 0.5 * resize.step - 0.5;
    }
    if (!std::isfinite(resize.last()))
      return std::nullopt;
    result.push_back(resize);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Weights: interpolation is a product with a matrix [out, in]
//===----------------------------------------------------------------------===//

static ValueId pointwise(Lowering &l, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands, llvm::ArrayRef<double> scalars = {}) {
  llvm::SmallVector<DimId, 4> shape(l.dims(operands[0]));
  return l.emitOne(OpCode::Elementwise, kind, operands, l.dtype(operands[0]), shape, {}, scalars);
}

// |rows[i] - columns[j]|
static ValueId distances(Lowering &l, ValueId rows, ValueId columns) {
  DimId height = l.dims(rows)[0], width = l.dims(columns)[0];
  ValueId left = l.reshape(rows, {height, l.one()}), right = l.reshape(columns, {l.one(), width});
  return pointwise(l, "abs", {l.emitOne(OpCode::Elementwise, "sub", {left, right}, l.dtype(rows), {height, width})});
}

static ValueId positions(Lowering &l, DType dtype, DimId count, double start = 0, double step = 1) {
  return l.emitOne(OpCode::Generate, "arange", {}, dtype, {count}, {}, {start, step});
}

// max(0, reach - |x|)
static ValueId tent(Lowering &l, ValueId distance, double reach) {
  return pointwise(l, "relu", {pointwise(l, "rsub", {distance}, {reach})});
}

// Positions before the first element and behind the last are those elements.
static ValueId clampedTents(Lowering &l, ValueId positions, DimId in) {
  ValueId clamped = pointwise(l, "clamp", {positions}, {0.0, static_cast<double>(l.graph.dims.hint(in) - 1)});
  return tent(l, distances(l, clamped, ::positions(l, l.dtype(positions), in)), 1);
}

static ValueId linearWeights(Lowering &l, const Resize &resize, DType dtype, DimId in) {
  return clampedTents(l, positions(l, dtype, l.constant(resize.out), resize.start, resize.step), in);
}

// Keys' kernel with a = -0.75, as two cut powers of the distance x: 0.75 (r - 1) r^2 - 2 q^3 with r = max(0, 2 - x) and
// q = max(0, 1 - x). Two elements before the first and behind the last are reached; they are copies of those.
static ValueId cubicWeights(Lowering &l, const Resize &resize, DType dtype, DimId in) {
  DimId reached = l.constant(resize.in + 4), out = l.constant(resize.out);
  ValueId columns = positions(l, dtype, reached, -2, 1);
  ValueId distance = distances(l, positions(l, dtype, out, resize.start, resize.step), columns);
  ValueId r = tent(l, distance, 2), q = tent(l, distance, 1);
  ValueId wide = pointwise(l, "mul", {pointwise(l, "sub", {r}, {1.0}), pointwise(l, "square", {r})});
  ValueId narrow = pointwise(l, "mul", {q, pointwise(l, "square", {q})});
  ValueId kernel = pointwise(l, "sub", {pointwise(l, "mul", {wide}, {0.75}), narrow}, {2.0});
  return l.emitOne(OpCode::Contract, "or,ri->oi", {kernel, clampedTents(l, columns, in), kNoValue}, dtype, {out, in});
}

//===----------------------------------------------------------------------===//
// Rules
//===----------------------------------------------------------------------===//

using WeightsOf = ValueId (*)(Lowering &, const Resize &, DType, DimId);

// PyTorch multiplies narrow types in float32, too.
static void interpolate(Lowering &l, ValueId input, llvm::ArrayRef<Resize> resizes, WeightsOf weightsOf) {
  DType result = l.outputMeta(0).dtype, wide = l.dtype(input) == DType::F64 ? DType::F64 : DType::F32;
  llvm::StringRef names = llvm::StringRef("abcde").take_front(l.rank(input));
  ValueId value = l.cast(input, wide);
  for (auto [index, resize] : llvm::enumerate(resizes)) {
    size_t dim = index + 2;
    llvm::SmallVector<DimId, 4> shape(l.dims(value));
    ValueId weights = weightsOf(l, resize, wide, shape[dim]);
    shape[dim] = l.constant(resize.out);
    std::string to = names.str();
    to[dim] = 'o';
    value = l.emitOne(OpCode::Contract, l.keep(absl::StrCat(names.str(), ",o", names.substr(dim, 1).str(), "->", to)),
                      {value, weights, kNoValue}, wide, shape);
  }
  l.setOutput(l.cast(value, result));
}

static void linear(Lowering &l) {
  ValueId input = l.tensor(l.has("input") ? "input" : "self");
  auto dims = resizes(l, input);
  if (!dims || !pt2::isFloating(l.dtype(input)))
    return l.lowerOpaque();
  interpolate(l, input, *dims, linearWeights);
}

static void cubic(Lowering &l) {
  ValueId input = l.tensor(l.has("input") ? "input" : "self");
  auto dims = resizes(l, input);
  // A factor that contradicts the sizes can lead further out than the two copies.
  auto reaches = [](const Resize &resize) { return resize.start >= -1 && resize.last() < static_cast<double>(resize.in); };
  if (!dims || !pt2::isFloating(l.dtype(input)) || !llvm::all_of(*dims, reaches))
    return l.lowerOpaque();
  interpolate(l, input, *dims, cubicWeights);
}

// Whether each element is taken `out / in` times in a row, in float32 as PyTorch decides it.
static bool repeatsElements(const Resize &resize) {
  if (resize.out % resize.in)
    return false;
  float step = static_cast<float>(resize.step);
  for (int64_t i = 0; i < resize.out; ++i)
    if (static_cast<int64_t>(std::floor(static_cast<float>(i) * step)) != i / (resize.out / resize.in))
      return false;
  return true;
}

static void nearest(Lowering &l) {
  ValueId input = l.tensor(l.has("input") ? "input" : "self");
  auto dims = resizes(l, input);
  if (!dims || !llvm::all_of(*dims, repeatsElements))
    return l.lowerOpaque();
  for (auto [index, resize] : llvm::enumerate(*dims))
    input = repeatAlong(l, input, index + 2, Dim(resize.out / resize.in), /*interleave=*/true);
  l.setOutput(input);
}

void moai::addResizeRules(llvm::StringMap<LoweringRule> &rules) {
  for (const char *name : {"linear1d", "bilinear2d", "trilinear3d"})
    rules[absl::StrCat("aten.upsample_", name)] = linear;
  rules["aten.upsample_bicubic2d"] = cubic;
  for (const char *name : {"nearest1d", "nearest2d", "nearest3d"})
    rules[absl::StrCat("aten.upsample_", name)] = nearest;
}
