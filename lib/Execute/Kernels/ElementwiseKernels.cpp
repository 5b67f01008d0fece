//===- ElementwiseKernels.cpp - Scalar functions, casts, dropout -----------===//
#include "Kernels.h"
#include "moai/Execute/Executor.h"
#include <cmath>

using namespace mlir;
using namespace moai;

namespace {
/// A function of the operands' elements, and then of the op's scalars.
using Function = double (*)(const double *x);

/// A function of one element and up to four scalars (NaN where the op gives none), and its derivative: of the input, or of
/// the result where that is what the backward keeps.
struct Unary {
  double (*value)(double x, const double *s);
  double (*derivative)(double saved, const double *s);
};

/// A function of several elements, and its derivative by each.
struct Several {
  unsigned operands;
  Function value;
  std::vector<Function> derivatives;
};
} // namespace

static double orElse(double scalar, double otherwise) { return std::isnan(scalar) ? otherwise : scalar; }
static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
static double normalDensity(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }
static double normalBelow(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }
// The approximation of gelu by tanh: its inner function and that one's derivative.
static double geluInner(double x) { return std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x); }
static double geluInnerDerivative(double x) { return std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x); }

// clang-format off
#define VALUE [](double x, const double *s) -> double
#define BY_INPUT [](double x, const double *s) -> double
#define BY_RESULT [](double y, const double *s) -> double

static const llvm::StringMap<Unary> &unaryFunctions() {
  static const llvm::StringMap<Unary> functions = {
      {"neg", {VALUE { return -x; }, BY_INPUT { return -1; }}},
      {"abs", {VALUE { return std::abs(x); }, BY_INPUT { return (x > 0) - (x < 0); }}},
      {"square", {VALUE { return x * x; }, BY_INPUT { return 2 * x; }}},
      {"pow", {VALUE { return std::pow(x, s[0]); }, BY_INPUT { return s[0] == 0 ? 0 : s[0] * std::pow(x, s[0] - 1); }}},
      {"sqrt", {VALUE { return std::sqrt(x); }, BY_RESULT { return 0.5 / y; }}},
      {"rsqrt", {VALUE { return 1 / std::sqrt(x); }, BY_RESULT { return -0.5 * y * y * y; }}},
      {"reciprocal", {VALUE { return 1 / x; }, BY_RESULT { return -y * y; }}},
      {"exp", {VALUE { return std::exp(x); }, BY_RESULT { return y; }}},
      {"exp2", {VALUE { return std::exp2(x); }, BY_RESULT { return y * M_LN2; }}},
      {"expm1", {VALUE { return std::expm1(x); }, BY_RESULT { return y + 1; }}},
      {"log", {VALUE { return std::log(x); }, BY_INPUT { return 1 / x; }}},
      {"log1p", {VALUE { return std::log1p(x); }, BY_INPUT { return 1 / (1 + x); }}},
      {"log2", {VALUE { return std::log2(x); }, BY_INPUT { return 1 / (x * M_LN2); }}},
      {"sin", {VALUE { return std::sin(x); }, BY_INPUT { return std::cos(x); }}},
      {"cos", {VALUE { return std::cos(x); }, BY_INPUT { return -std::sin(x); }}},
      {"tan", {VALUE { return std::tan(x); }, BY_RESULT { return 1 + y * y; }}},
      {"asin", {VALUE { return std::asin(x); }, BY_INPUT { return 1 / std::sqrt(1 - x * x); }}},
      {"acos", {VALUE { return std::acos(x); }, BY_INPUT { return -1 / std::sqrt(1 - x * x); }}},
      {"atan", {VALUE { return std::atan(x); }, BY_INPUT { return 1 / (1 + x * x); }}},
      {"sinh", {VALUE { return std::sinh(x); }, BY_INPUT { return std::cosh(x); }}},
      {"cosh", {VALUE { return std::cosh(x); }, BY_INPUT { return std::sinh(x); }}},
      {"asinh", {VALUE { return std::asinh(x); }, BY_INPUT { return 1 / std::sqrt(x * x + 1); }}},
      {"acosh", {VALUE { return std::acosh(x); }, BY_INPUT { return 1 / std::sqrt(x * x - 1); }}},
      {"atanh", {VALUE { return std::atanh(x); }, BY_INPUT { return 1 / (1 - x * x); }}},
      {"sinc", {VALUE { return x == 0 ? 1 : std::sin(M_PI * x) / (M_PI * x); }, BY_INPUT { return x == 0 ? 0 : (std::cos(M_PI * x) - std::sin(M_PI * x) / (M_PI * x)) / x; }}},
      {"tanh", {VALUE { return std::tanh(x); }, BY_RESULT { return 1 - y * y; }}},
      {"sigmoid", {VALUE { return sigmoid(x); }, BY_RESULT { return y * (1 - y); }}},
      {"log_sigmoid", {VALUE { return std::min(x, 0.0) - std::log1p(std::exp(-std::abs(x))); }, BY_INPUT { return sigmoid(-x); }}},
      {"logit", {VALUE { return std::log(x / (1 - x)); }, BY_INPUT { return 1 / (x * (1 - x)); }}},
      {"silu", {VALUE { return x * sigmoid(x); }, BY_INPUT { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }}},
      {"gelu", {VALUE { return x * normalBelow(x); }, BY_INPUT { return normalBelow(x) + x * normalDensity(x); }}},
      {"gelu_tanh", {VALUE { return 0.5 * x * (1 + std::tanh(geluInner(x))); }, BY_INPUT { double t = std::tanh(geluInner(x)); return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * geluInnerDerivative(x); }}},
      {"erf", {VALUE { return std::erf(x); }, BY_INPUT { return 2 / std::sqrt(M_PI) * std::exp(-x * x); }}},
      {"relu", {VALUE { return std::max(x, 0.0); }, BY_RESULT { return y > 0; }}},
      {"relu6", {VALUE { return std::min(std::max(x, 0.0), 6.0); }, BY_INPUT { return x > 0 && x < 6; }}},
      {"leaky_relu", {VALUE { return x > 0 ? x : orElse(s[0], 0.01) * x; }, BY_INPUT { return x > 0 ? 1 : orElse(s[0], 0.01); }}},
      {"elu", {VALUE { return x > 0 ? x : orElse(s[0], 1) * std::expm1(x); }, BY_INPUT { return x > 0 ? 1 : orElse(s[0], 1) * std::exp(x); }}},
      {"celu", {VALUE { return x > 0 ? x : orElse(s[0], 1) * std::expm1(x / orElse(s[0], 1)); }, BY_INPUT { return x > 0 ? 1 : std::exp(x / orElse(s[0], 1)); }}},
      {"selu", {VALUE { return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * std::expm1(x)); }, BY_INPUT { return 1.0507009873554805 * (x > 0 ? 1 : 1.6732632423543772 * std::exp(x)); }}},
      {"hardtanh", {VALUE { return std::min(std::max(x, orElse(s[0], -1)), orElse(s[1], 1)); }, BY_INPUT { return x > orElse(s[0], -1) && x < orElse(s[1], 1); }}},
      {"hardsigmoid", {VALUE { return std::min(std::max(x / 6 + 0.5, 0.0), 1.0); }, BY_INPUT { return std::abs(x) < 3 ? 1.0 / 6 : 0; }}},
      {"hardswish", {VALUE { return x * std::min(std::max(x / 6 + 0.5, 0.0), 1.0); }, BY_INPUT { return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5; }}},
      {"mish", {VALUE { return x * std::tanh(std::log1p(std::exp(x))); }, BY_INPUT { double t = std::tanh(std::log1p(std::exp(x))); return t + x * (1 - t * t) * sigmoid(x); }}},
      {"softplus", {VALUE { double beta = orElse(s[0], 1); return x * beta > orElse(s[1], 20) ? x : std::log1p(std::exp(x * beta)) / beta; }, BY_INPUT { double beta = orElse(s[0], 1); return x * beta > orElse(s[1], 20) ? 1 : sigmoid(x * beta); }}},
      {"softsign", {VALUE { return x / (1 + std::abs(x)); }, BY_INPUT { return 1 / ((1 + std::abs(x)) * (1 + std::abs(x))); }}},
      {"tanhshrink", {VALUE { return x - std::tanh(x); }, BY_INPUT { return std::tanh(x) * std::tanh(x); }}},
      {"clamp", {VALUE { return std::min(std::max(x, s[0]), s[1]); }, BY_INPUT { return x >= s[0] && x <= s[1]; }}},
      {"clamp_min", {VALUE { return std::max(x, s[0]); }, BY_INPUT { return x >= s[0]; }}},
      {"clamp_max", {VALUE { return std::min(x, s[0]); }, BY_INPUT { return x <= s[0]; }}},
      {"add", {VALUE { return x + s[0] * orElse(s[1], 1); }, nullptr}},
      {"sub", {VALUE { return x - s[0] * orElse(s[1], 1); }, nullptr}},
      {"rsub", {VALUE { return s[0] - x * orElse(s[1], 1); }, nullptr}},
      {"mul", {VALUE { return x * s[0]; }, nullptr}},
      {"div", {VALUE { return x / s[0]; }, nullptr}},
      {"remainder", {VALUE { return x - s[0] * std::floor(x / s[0]); }, nullptr}},
      {"fmod", {VALUE { return std::fmod(x, s[0]); }, nullptr}},
      // Constant almost everywhere.
      {"floor_divide", {VALUE { return std::floor(x / s[0]); }, nullptr}},
      {"trunc_divide", {VALUE { return std::trunc(x / s[0]); }, nullptr}},
      {"sign", {VALUE { return (x > 0) - (x < 0); }, nullptr}},
      {"floor", {VALUE { return std::floor(x); }, nullptr}},
      {"ceil", {VALUE { return std::ceil(x); }, nullptr}},
      {"round", {VALUE { return std::nearbyint(x); }, nullptr}},
      {"trunc", {VALUE { return std::trunc(x); }, nullptr}},
      {"isnan", {VALUE { return std::isnan(x); }, nullptr}},
      {"isinf", {VALUE { return std::isinf(x); }, nullptr}},
      {"isfinite", {VALUE { return std::isfinite(x); }, nullptr}},
      {"eq", {VALUE { return x == s[0]; }, nullptr}},
      {"ne", {VALUE { return x != s[0]; }, nullptr}},
      {"lt", {VALUE { return x < s[0]; }, nullptr}},
      {"le", {VALUE { return x <= s[0]; }, nullptr}},
      {"gt", {VALUE { return x > s[0]; }, nullptr}},
      {"ge", {VALUE { return x >= s[0]; }, nullptr}},
      {"and", {VALUE { return static_cast<double>(static_cast<int64_t>(x) & static_cast<int64_t>(s[0])); }, nullptr}},
      {"or", {VALUE { return static_cast<double>(static_cast<int64_t>(x) | static_cast<int64_t>(s[0])); }, nullptr}},
      {"xor", {VALUE { return static_cast<double>(static_cast<int64_t>(x) ^ static_cast<int64_t>(s[0])); }, nullptr}},
  };
  return functions;
}

#undef VALUE
#undef BY_INPUT
#undef BY_RESULT
#define OF [](const double *x) -> double

static const llvm::StringMap<Several> &functionsOfSeveral() {
  static const llvm::StringMap<Several> functions = {
      {"add", {2, OF { return x[0] + x[1] * orElse(x[2], 1); }, {}}},
      {"sub", {2, OF { return x[0] - x[1] * orElse(x[2], 1); }, {}}},
      {"rsub", {2, OF { return x[1] - x[0] * orElse(x[2], 1); }, {OF { return -orElse(x[2], 1); }, OF { return 1; }}}},
      {"mul", {2, OF { return x[0] * x[1]; }, {}}},
      {"div", {2, OF { return x[0] / x[1]; }, {}}},
      {"pow", {2, OF { return std::pow(x[0], x[1]); }, {OF { return x[1] == 0 ? 0 : x[1] * std::pow(x[0], x[1] - 1); }, OF { return x[0] == 0 ? 0 : std::pow(x[0], x[1]) * std::log(x[0]); }}}},
      // Equal operands share the gradient.
      {"maximum", {2, OF { return std::max(x[0], x[1]); }, {OF { return x[0] == x[1] ? 0.5 : x[0] > x[1]; }, OF { return x[0] == x[1] ? 0.5 : x[0] < x[1]; }}}},
      {"minimum", {2, OF { return std::min(x[0], x[1]); }, {OF { return x[0] == x[1] ? 0.5 : x[0] < x[1]; }, OF { return x[0] == x[1] ? 0.5 : x[0] > x[1]; }}}},
      {"atan2", {2, OF { return std::atan2(x[0], x[1]); }, {OF { return x[1] / (x[0] * x[0] + x[1] * x[1]); }, OF { return -x[0] / (x[0] * x[0] + x[1] * x[1]); }}}},
      {"xlogy", {2, OF { return x[0] == 0 ? 0 : x[0] * std::log(x[1]); }, {OF { return x[0] == 0 ? 0 : std::log(x[1]); }, OF { return x[0] / x[1]; }}}},
      // Equal infinities have no difference.
      {"logaddexp", {2, OF { return x[0] == x[1] ? x[0] + M_LN2 : std::max(x[0], x[1]) + std::log1p(std::exp(-std::abs(x[0] - x[1]))); }, {OF { return x[0] == x[1] ? 0.5 : sigmoid(x[0] - x[1]); }, OF { return x[0] == x[1] ? 0.5 : sigmoid(x[1] - x[0]); }}}},
      {"remainder", {2, OF { return x[0] - x[1] * std::floor(x[0] / x[1]); }, {OF { return 1; }, OF { return -std::floor(x[0] / x[1]); }}}},
      {"fmod", {2, OF { return std::fmod(x[0], x[1]); }, {OF { return 1; }, OF { return -std::trunc(x[0] / x[1]); }}}},
      {"squared_difference", {2, OF { return (x[0] - x[1]) * (x[0] - x[1]); }, {OF { return 2 * (x[0] - x[1]); }, OF { return 2 * (x[1] - x[0]); }}}},
      {"l1_loss", {2, OF { return std::abs(x[0] - x[1]); }, {OF { return (x[0] > x[1]) - (x[0] < x[1]); }, OF { return (x[0] < x[1]) - (x[0] > x[1]); }}}},
      {"binary_cross_entropy_with_logits", {2, OF { return (1 - x[1]) * x[0] + std::max(-x[0], 0.0) + std::log1p(std::exp(-std::abs(x[0]))); }, {OF { return sigmoid(x[0]) - x[1]; }, OF { return -x[0]; }}}},
      {"addcmul", {3, OF { return x[0] + orElse(x[3], 1) * x[1] * x[2]; }, {OF { return 1; }, OF { return orElse(x[3], 1) * x[2]; }, OF { return orElse(x[3], 1) * x[1]; }}}},
      {"addcdiv", {3, OF { return x[0] + orElse(x[3], 1) * x[1] / x[2]; }, {OF { return 1; }, OF { return orElse(x[3], 1) / x[2]; }, OF { return -orElse(x[3], 1) * x[1] / (x[2] * x[2]); }}}},
      {"lerp", {3, OF { return x[0] + x[2] * (x[1] - x[0]); }, {OF { return 1 - x[2]; }, OF { return x[2]; }, OF { return x[1] - x[0]; }}}},
      {"where", {3, OF { return x[0] != 0 ? x[1] : x[2]; }, {}}},
      {"masked_fill", {3, OF { return x[1] != 0 ? x[2] : x[0]; }, {}}},
      {"floor_divide", {2, OF { return std::floor(x[0] / x[1]); }, {}}},
      {"trunc_divide", {2, OF { return std::trunc(x[0] / x[1]); }, {}}},
      {"eq", {2, OF { return x[0] == x[1]; }, {}}},
      {"ne", {2, OF { return x[0] != x[1]; }, {}}},
      {"lt", {2, OF { return x[0] < x[1]; }, {}}},
      {"le", {2, OF { return x[0] <= x[1]; }, {}}},
      {"gt", {2, OF { return x[0] > x[1]; }, {}}},
      {"ge", {2, OF { return x[0] >= x[1]; }, {}}},
      {"and", {2, OF { return static_cast<double>(static_cast<int64_t>(x[0]) & static_cast<int64_t>(x[1])); }, {}}},
      {"or", {2, OF { return static_cast<double>(static_cast<int64_t>(x[0]) | static_cast<int64_t>(x[1])); }, {}}},
      {"xor", {2, OF { return static_cast<double>(static_cast<int64_t>(x[0]) ^ static_cast<int64_t>(x[1])); }, {}}},
      // What gradient rules emit: the gradient comes first, unless said otherwise.
      {"select", {2, OF { return x[0] != 0 ? x[1] : 0; }, {}}},
      {"select_not", {2, OF { return x[0] != 0 ? 0 : x[1]; }, {}}},
      {"div_backward", {3, OF { return -x[0] * x[1] / (x[2] * x[2]); }, {}}},
      {"dropout_backward", {2, OF { return x[1] != 0 ? x[0] / (1 - x[2]) : 0; }, {}}},
      // Reductions: the gradient, the result, the input.
      {"norm_backward", {3, OF { return x[1] == 0 ? 0 : x[0] * x[2] / x[1]; }, {}}},
      {"logsumexp_backward", {3, OF { return x[0] * std::exp(x[2] - x[1]); }, {}}},
  };
  return functions;
}

#undef OF
// clang-format on

std::vector<std::pair<std::string, unsigned>> moai::differentiableElementwiseKinds() {
  std::vector<std::pair<std::string, unsigned>> kinds;
  for (const auto &function : unaryFunctions())
    if (function.second.derivative)
      kinds.emplace_back(function.first().str(), 1);
  for (const auto &function : functionsOfSeveral())
    if (!function.second.derivatives.empty())
      kinds.emplace_back(function.first().str(), function.second.operands);
  return kinds;
}

// Applies a function to broadcast operands, followed by the op's scalars and NaNs.
template <typename Apply> static void broadcast(ElementwiseOp op, KernelCall &call, Apply apply) {
  constexpr size_t kMost = 4;
  Tensor &result = call.result(op.getResult());
  std::array<Offsets, kMost> strides;
  std::array<const double *, kMost> operands{};
  double x[kMost + 4];
  std::fill(std::begin(x), std::end(x), NAN);
  unsigned count = op.getInputs().size();
  if (count > kMost || op.getScalars().size() > 4)
    return call.fail("has too many operands");
  for (size_t i = 0; i < kMost; ++i) {
    strides[i].assign(result.shape.size(), 0);
    if (i >= count)
      continue;
    const Tensor &operand = call[op.getInputs()[i]];
    strides[i] = broadcastStrides(operand.shape, result.shape);
    operands[i] = operand.values.data();
  }
  std::copy(op.getScalars().begin(), op.getScalars().end(), x + count);
  size_t next = 0;
  walk<kMost>(result.shape, strides, [&](const std::array<int64_t, kMost> &at) {
    for (unsigned i = 0; i < count; ++i)
      x[i] = operands[i][at[i]];
    result.values[next++] = apply(x);
  });
}

// Extrema that occur several times share the gradient.
static void extremumBackward(ElementwiseOp op, KernelCall &call) {
  const Tensor &output = call[op.getInputs()[1]], &input = call[op.getInputs()[2]];
  std::vector<double> times(output.values.size(), 0);
  size_t next = 0;
  walk<1>(input.shape, {broadcastStrides(output.shape, input.shape)},
          [&](auto at) { times[at[0]] += input.values[next++] == output.values[at[0]]; });
  const Tensor &gradient = call[op.getInputs()[0]];
  Tensor &result = call.result(op.getResult());
  next = 0;
  walk<2>(input.shape, {broadcastStrides(output.shape, input.shape), broadcastStrides(gradient.shape, input.shape)}, [&](auto at) {
    bool isExtremum = input.values[next] == output.values[at[0]];
    result.values[next++] = isExtremum ? gradient.values[at[1]] / times[at[0]] : 0;
  });
}

// Of reductions that an element's gradient can't be told of from the result alone: products (with zeros in them, too), variances
// and deviations. Operands as above; every group of elements that was reduced into one is seen whole.
static void reductionBackward(ElementwiseOp op, KernelCall &call) {
  const Tensor &gradient = call[op.getInputs()[0]], &output = call[op.getInputs()[1]], &input = call[op.getInputs()[2]];
  Tensor &result = call.result(op.getResult());
  std::vector<std::vector<size_t>> groups(output.values.size());
  std::vector<double> weights(output.values.size());
  size_t next = 0;
  walk<2>(input.shape, {broadcastStrides(output.shape, input.shape), broadcastStrides(gradient.shape, input.shape)}, [&](auto at) {
    groups[at[0]].push_back(next++);
    weights[at[0]] = gradient.values[at[1]];
  });
  for (size_t i = 0; i < groups.size(); ++i) {
    double count = static_cast<double>(groups[i].size()), mean = 0;
    for (size_t element : groups[i])
      mean += input.values[element] / count;
    for (size_t element : groups[i]) {
      double &slope = result.values[element];
      if (op.getKind() == "prod_backward") {
        slope = weights[i];
        for (size_t other : groups[i])
          slope *= other == element ? 1 : input.values[other];
        continue;
      }
      slope = weights[i] * (input.values[element] - mean) / (count - 1);
      if (op.getKind() == "var_backward")
        slope *= 2;
      else
        slope = output.values[i] == 0 ? 0 : slope / output.values[i]; // as in the framework, where all are equal
    }
  }
}

// Zeros beyond a diagonal of the last two dimensions.
static void triangle(ElementwiseOp op, KernelCall &call) {
  const Tensor &input = call[op.getInputs()[0]];
  Tensor &result = call.result(op.getResult());
  int64_t rows = input.shape[input.rank() - 2], columns = input.shape.back();
  int64_t diagonal = op.getScalars().empty() ? 0 : static_cast<int64_t>(op.getScalars()[0]);
  for (int64_t i = 0; i < result.size(); ++i) {
    int64_t distance = i % columns - i / columns % rows;
    result.values[i] = (op.getKind() == "tril" ? distance <= diagonal : distance >= diagonal) ? input.values[i] : 0;
  }
}

// Products of complex numbers, the second conjugated in mul_conj, and numbers from absolute values and angles.
static void complexElementwise(ElementwiseOp op, KernelCall &call) {
  const Tensor &lhs = call[op.getInputs()[0]], &rhs = call[op.getInputs()[1]];
  Tensor &result = call.result(op.getResult());
  bool isPolar = op.getKind() == "polar";
  ArrayRef<int64_t> shape = ArrayRef<int64_t>(result.shape).drop_back();
  auto stridesOf = [&](const Tensor &operand) {
    Offsets strides = broadcastStrides(operand.shape, isPolar ? shape : ArrayRef<int64_t>(result.shape));
    strides.resize(shape.size());
    return strides;
  };
  double sign = op.getKind() == "mul_conj" ? -1 : 1;
  size_t next = 0;
  walk<2>(shape, {stridesOf(lhs), stridesOf(rhs)}, [&](auto at) {
    double *out = &result.values[2 * next++];
    const double *a = &lhs.values[at[0]], *b = &rhs.values[at[1]];
    out[0] = isPolar ? a[0] * std::cos(b[0]) : a[0] * b[0] - sign * a[1] * b[1];
    out[1] = isPolar ? a[0] * std::sin(b[0]) : sign * a[0] * b[1] + a[1] * b[0];
  });
}

static void elementwise(ElementwiseOp op, KernelCall &call) {
  StringRef kind = op.getKind();
  unsigned count = op.getInputs().size();
  if (isa<ComplexType>(tensorOf(op.getResult()).getElementType())) {
    bool isProduct =
        kind == "polar" || llvm::all_of(op.getInputs(), [](Value input) { return isa<ComplexType>(tensorOf(input).getElementType()); });
    if (count == 2 && isProduct && (kind == "mul" || kind == "mul_conj" || kind == "polar"))
      return complexElementwise(op, call);
    bool isScaling = count == 1 && (kind == "mul" || kind == "div");
    if (!isScaling && !llvm::is_contained({"add", "sub", "neg", "neg_backward"}, kind)) // those work part by part
      return call.fail("has no kernel for complex numbers");
  }
  if (kind == "tril" || kind == "triu")
    return triangle(op, call);
  if (kind == "amax_backward" || kind == "amin_backward")
    return extremumBackward(op, call);
  if (kind == "prod_backward" || kind == "var_backward" || kind == "std_backward")
    return reductionBackward(op, call);
  if (kind == "not") {
    bool boolean = tensorOf(op.getResult()).getElementType().isInteger(1);
    return broadcast(op, call,
                     [boolean](const double *x) { return boolean ? x[0] == 0 : static_cast<double>(~static_cast<int64_t>(x[0])); });
  }
  if (kind == "mean_backward") {
    double share = static_cast<double>(call[op.getInputs()[0]].size()) / static_cast<double>(call.result(op.getResult()).size());
    return broadcast(op, call, [share](const double *x) { return x[0] * share; });
  }
  // The last operands may be given as numbers.
  if (auto it = functionsOfSeveral().find(kind); it != functionsOfSeveral().end() && count >= 2 &&
                                                 (count == it->second.operands || count + op.getScalars().size() == it->second.operands))
    return broadcast(op, call, it->second.value);
  if (auto it = unaryFunctions().find(kind); it != unaryFunctions().end() && count == 1)
    return broadcast(op, call, [value = it->second.value](const double *x) { return value(x[0], x + 1); });
  // f_backward(gradient[, saved]) of one operand; f_backward_i(gradient, operands...) of several.
  auto [function, by] = kind.rsplit("_backward");
  if (auto it = unaryFunctions().find(function); by.empty() && it != unaryFunctions().end() && it->second.derivative) {
    auto derivative = it->second.derivative;
    if (count == 1)
      return broadcast(op, call, [derivative](const double *x) { return x[0] * derivative(0, x + 1); });
    return broadcast(op, call, [derivative](const double *x) { return x[0] * derivative(x[1], x + 2); });
  }
  unsigned index = 0;
  if (auto it = functionsOfSeveral().find(function);
      it != functionsOfSeveral().end() && by.consume_front("_") && !by.getAsInteger(10, index) && index < it->second.derivatives.size())
    return broadcast(op, call, [derivative = it->second.derivatives[index]](const double *x) { return x[0] * derivative(x + 1); });
  call.fail("has no kernel");
}

//===----------------------------------------------------------------------===//
// cast, copy, dropout
//===----------------------------------------------------------------------===//

static void cast(CastOp op, KernelCall &call) {
  Tensor &result = call.result(op.getResult());
  Type type = tensorOf(op.getResult()).getElementType();
  result.values = call[op.getInput()].values;
  for (double &value : result.values)
    if (type.isInteger(1))
      value = value != 0;
    else if (type.isInteger())
      value = std::trunc(value);
}

static void copy(CopyOp op, KernelCall &call) { call.result(op.getResult()).values = call[op.getInput()].values; }

static void dropout(DropoutOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult()), &mask = call.result(op.getMask());
  double p = call.isEvaluation ? 0 : op.getP().convertToDouble();
  RandomNumbers random = call.random(op.getStream(), op.getInput(), input.size());
  for (int64_t i = 0; i < input.size(); ++i) {
    mask.values[i] = random[i] >= p;
    result.values[i] = mask.values[i] != 0 ? input.values[i] / (1 - p) : 0;
  }
}

void moai::addElementwiseKernels(KernelTable &table) {
  table.add<ElementwiseOp>(elementwise);
  table.add<CastOp>(::cast);
  table.add<CopyOp>(copy);
  table.add<DropoutOp>(dropout);
}
