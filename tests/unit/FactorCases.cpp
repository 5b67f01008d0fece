// Random cases of ops and kinds that have no gradient, or that draw random numbers.
#include "FactorCases.h"

using namespace moai;

static Drawer drawReduceKind(const std::string &kind) {
  return [kind](Draw &draw) {
    Shape input = draw.shape(1, 4), dims = draw.choose(draw.between(1, static_cast<int64_t>(input.size())), input.size()), result = input;
    for (int64_t dim : dims)
      result[dim] = 1;
    Drawn operand = kind == "any" || kind == "all" ? draw.mask(input) : draw.operand(input);
    draw.finish("reduce", {operand}, absl::StrCat("kind = \"", kind, "\", dims = ", listText(dims), ", keep_dims = true"), result);
  };
}

static void drawCumulativeProduct(Draw &draw) {
  Shape shape = draw.shape(1, 4);
  draw.finish("scan", {draw.operand(shape)},
              absl::StrCat("kind = \"cumprod\", dim = ", draw.below(static_cast<int64_t>(shape.size())), " : i64"), shape);
}

static Drawer drawComparison(const std::string &kind) {
  return [kind](Draw &draw) {
    Shape result = draw.shape(0, 4, 3);
    draw.finish("elementwise", {draw.operand(result), draw.operand(draw.broadcastTo(result))}, absl::StrCat("kind = \"", kind, "\""),
                result);
  };
}

static Drawer drawStep(const std::string &kind) {
  return [kind](Draw &draw) {
    Shape shape = draw.shape(0, 4);
    draw.finish("elementwise", {draw.operand(shape)}, absl::StrCat("kind = \"", kind, "\""), shape);
  };
}

static void drawDetach(Draw &draw) {
  Shape shape = draw.shape(0, 4);
  draw.finish("detach", {draw.operand(shape)}, "", shape);
}

// Between shapes whose dimensions need not have factors in common: [4, 3, 2] and [3, 8].
static void drawRegrouping(Draw &draw) {
  Shape from, to, sizes = draw.shape(2, 4);
  for (int64_t at : draw.permutation(static_cast<int64_t>(sizes.size())))
    to.empty() || draw.flip() ? to.push_back(sizes[at]) : void(to.back() *= sizes[at]);
  for (int64_t size : sizes)
    from.empty() || draw.flip() ? from.push_back(size) : void(from.back() *= size);
  draw.finish("reshape", {draw.operand(from)}, "", to);
}

static void drawFull(Draw &draw) { draw.finish("generate", {}, "kind = \"full\", scalars = array<f64: 3.0>", draw.shape(0, 4)); }
static void drawRange(Draw &draw) { draw.finish("generate", {}, "kind = \"arange\", scalars = array<f64: 1.0, 2.0>", draw.shape(1, 1)); }
static void drawNumbers(Draw &draw) { draw.finish("generate", {}, "kind = \"random\"", draw.shape(0, 3)); }

static void drawHistogram(Draw &draw) {
  draw.finish("histogram", {draw.operand(draw.shape(1, 3))}, "low = -1.0, high = 1.5", {draw.between(1, 5)});
}

static void drawSquaredNorm(Draw &draw) {
  std::vector<Drawn> operands{draw.operand(draw.shape(0, 3))};
  if (draw.below(4) == 0)
    operands.push_back(draw.operand(draw.shape(0, 3)));
  draw.finish("squared_norm", operands, "", {});
}

static std::string segmentsText(const Shape &counts) {
  return absl::StrCat("operandSegmentSizes = array<i32: ", absl::StrJoin(counts, ", "), ">");
}

// Of one or two tensors.
static void drawAccumulate(Draw &draw) {
  std::vector<Shape> shapes;
  for (int64_t i = draw.between(1, 2); i > 0; --i)
    shapes.push_back(draw.shape(0, 3));
  std::vector<Drawn> operands, further;
  for (int64_t times = 0; times < 2; ++times)
    for (const Shape &shape : shapes)
      operands.push_back(draw.operand(shape));
  int64_t count = static_cast<int64_t>(shapes.size());
  if (count > 1)
    further.push_back(f64(shapes[1]));
  draw.finish("accumulate", operands, segmentsText({count, count}), shapes[0], further);
}

static Drawer drawOptimizer(const std::string &policy, int64_t numStates, bool clips) {
  return [=](Draw &draw) {
    std::vector<Shape> shapes{draw.shape(0, 3), draw.shape(0, 3)};
    std::vector<Drawn> operands, further{f64(shapes[1])};
    for (int64_t times = 0; times < 2 + numStates; ++times)
      for (const Shape &shape : shapes)
        operands.push_back(draw.operand(shape, 0.5, 2));
    for (int64_t times = 0; times < numStates; ++times)
      for (const Shape &shape : shapes)
        further.push_back(f64(shape));
    if (clips)
      operands.push_back(draw.operand({}, 1, 9));
    draw.finish("optimizer", operands,
                absl::StrCat("policy = #moai.optimizer<\"", policy, "\">, ", segmentsText({2, 2, 2 * numStates, clips})), shapes[0],
                further);
  };
}

// Parts of what it sums over would all add the bias.
static void drawSumWithBias(Draw &draw) {
  int64_t m = draw.between(1, 3), k = draw.between(1, 4), n = draw.between(1, 4);
  draw.finish("contract", {draw.operand({m, k}), draw.operand({k, n}), draw.operand({n})}, "equation = \"mk,kn->mn\"", {m, n});
}

std::vector<Family> moai::factorFamilies() {
  Family plain{"WithoutGradient",
               {drawCumulativeProduct, drawDetach, drawRegrouping, drawFull, drawRange, drawNumbers, drawHistogram, drawSquaredNorm,
                drawAccumulate, drawSumWithBias}};
  for (const char *kind : {"any", "all", "argmax", "argmin"})
    plain.drawers.push_back(drawReduceKind(kind));
  for (const char *kind : {"eq", "ne", "lt", "le", "gt", "ge", "floor_divide", "trunc_divide"})
    plain.drawers.push_back(drawComparison(kind));
  for (const char *kind : {"sign", "floor", "ceil", "round", "trunc", "isnan", "isinf", "isfinite"})
    plain.drawers.push_back(drawStep(kind));
  Family optimizers{"Optimizers",
                    {drawOptimizer("adamw", 2, false), drawOptimizer("sgd,momentum=0.9", 1, false), drawOptimizer("sgd", 0, false),
                     drawOptimizer("adam,max_gradient_norm=1.0", 2, true)}};
  return {plain, optimizers};
}

//===----------------------------------------------------------------------===//
// Samples
//===----------------------------------------------------------------------===//

namespace {
/// Writes a tensor's type whose first dimension is that of the samples, and what it is in numbers.
struct Sampled {
  int64_t samples, each; ///< the first dimension is both of them
  std::string first;

  explicit Sampled(Draw &draw)
      : samples(draw.between(2, 5)), each(draw.between(1, 3)), first(each == 1 ? "b" : absl::StrCat(each, " * b")) {}
  std::string type(const Shape &further, const char *element = "f64") const {
    return absl::StrCat("!moai.tensor<[",
                        absl::StrJoin(further, ", ",
                                      [this, next = 0](std::string *out, int64_t size) mutable {
                                        absl::StrAppend(out, next++ ? std::to_string(size) : first);
                                      }),
                        "], ", element, ">");
  }
};
} // namespace

static std::string functionText(int64_t samples, const std::vector<std::string> &types, const std::string &body,
                                const std::string &result) {
  std::string arguments;
  for (size_t i = 0; i < types.size(); ++i)
    absl::StrAppend(&arguments, i ? ", " : "", "%a", i, ": ", types[i]);
  return absl::StrCat("module attributes {moai.binding = array<i64: ", samples, ", 1, 1, 1>} {\nfunc.func @step(", arguments, ") -> ",
                      result, " {\n", body, "\nreturn %y : ", result, "\n}\n}\n");
}

SampleCase moai::drawSampledDropout(Draw &draw) {
  Sampled sampled(draw);
  Shape shape = draw.shape(1, 3);
  shape[0] = sampled.samples * sampled.each;
  std::string type = sampled.type(shape);
  return {functionText(sampled.samples, {type},
                       absl::StrCat("%y, %m = moai.dropout %a0 {p = 0.4, stream = 3 : i64} : (", type, ") -> (", type, ", ",
                                    sampled.type(shape, "i1"), ")"),
                       type),
          {{shape}}};
}

SampleCase moai::drawSampledNumbers(Draw &draw) {
  Sampled sampled(draw);
  Shape shape = draw.shape(1, 3);
  std::string type = sampled.type(shape);
  return {functionText(sampled.samples, {}, "%y = moai.generate {kind = \"random\", stream = 2 : i64} : () -> " + type, type), {}};
}

// With its backward, which draws the same numbers again.
SampleCase moai::drawSampledAttention(Draw &draw) {
  Sampled sampled(draw);
  int64_t keyHeads = draw.between(1, 2), heads = keyHeads * draw.between(1, 2), queries = draw.between(1, 3), keys = draw.between(1, 3),
          width = draw.between(1, 3), valueWidth = draw.between(1, 3), batch = sampled.samples * sampled.each;
  Shape query{batch, heads, queries, width}, key{batch, keyHeads, keys, width}, value{batch, keyHeads, keys, valueWidth},
      result{batch, heads, queries, valueWidth};
  std::string q = sampled.type(query), k = sampled.type(key), v = sampled.type(value), r = sampled.type(result),
              sums = sampled.type({batch, heads, queries}),
              attributes = " {mask = \"full\", window = 0 : i64, scale = 0.7 : f64, dropout = 0.4, stream = 5 : i64} : (";
  return {functionText(sampled.samples, {q, k, v, r},
                       absl::StrCat("%o, %l = moai.attention %a0, %a1, %a2", attributes, q, ", ", k, ", ", v, ") -> (", r, ", ", sums,
                                    ")\n%y, %dk, %dv = moai.attention_backward %a3, %a0, %a1, %a2, %o, %l", attributes, r, ", ", q, ", ", k,
                                    ", ", v, ", ", r, ", ", sums, ") -> (", q, ", ", k, ", ", v, ")"),
                       q),
          {{query}, {key}, {value}, {result}}};
}
