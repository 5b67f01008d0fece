// Random cases of scalar functions, casts, copies and dropout.
#include "RandomGraph.h"

using namespace moai;

namespace {

struct Range {
  double low, high;
};

/// A kind of elementwise op, in a range where it is smooth almost everywhere, and the constants it may take, of which some are needed.
struct Kind {
  const char *name;
  size_t operands;
  Range range = {-2, 2};
  std::vector<Range> scalars = {};
  size_t neededScalars = 0;
};

} // namespace

static std::vector<Kind> unaryKinds() {
  std::vector<Kind> kinds;
  for (const char *name :
       {"neg",     "abs",         "square", "exp", "exp2",      "expm1", "sin",  "cos",  "atan",     "sinh",       "cosh",  "tanh", "silu",
        "sigmoid", "log_sigmoid", "gelu",   "erf", "gelu_tanh", "relu",  "selu", "mish", "softsign", "tanhshrink", "asinh", "sinc"})
    kinds.push_back({name, 1});
  for (const char *name : {"sqrt", "rsqrt", "reciprocal", "log", "log1p", "log2"})
    kinds.push_back({name, 1, {0.5, 3}});
  for (const char *name : {"asin", "acos", "tan", "atanh"})
    kinds.push_back({name, 1, {-0.8, 0.8}});
  for (const char *name : {"relu6", "hardsigmoid", "hardswish"})
    kinds.push_back({name, 1, {-5, 8}});
  kinds.push_back({"acosh", 1, {1.5, 3}});
  kinds.push_back({"logit", 1, {0.2, 0.8}});
  kinds.push_back({"pow", 1, {0.5, 2}, {{-2, 3}}, 1});
  kinds.push_back({"leaky_relu", 1, {-2, 2}, {{0.1, 0.5}}});
  kinds.push_back({"softplus", 1, {-2, 2}, {{0.5, 2}, {1, 3}}});
  kinds.push_back({"hardtanh", 1, {-2, 2}, {{-1.5, -0.5}, {0.5, 1.5}}});
  kinds.push_back({"clamp", 1, {-2, 2}, {{-1.5, -0.5}, {0.5, 1.5}}, 2});
  for (const char *name : {"elu", "celu"})
    kinds.push_back({name, 1, {-2, 2}, {{0.3, 2}}});
  for (const char *name : {"clamp_min", "clamp_max", "mul", "div", "remainder", "fmod"})
    kinds.push_back({name, 1, {-2, 2}, {{0.5, 1.5}}, 1});
  for (const char *name : {"add", "sub"})
    kinds.push_back({name, 1, {-2, 2}, {{0.5, 1.5}, {-2, 2}}, 1});
  kinds.push_back({"rsub", 1, {-2, 2}, {{0.5, 1.5}, {-2, 2}}, 1});
  return kinds;
}

static std::vector<Kind> severalKinds() {
  std::vector<Kind> kinds;
  for (const char *name : {"mul", "maximum", "minimum", "squared_difference", "l1_loss", "binary_cross_entropy_with_logits", "logaddexp"})
    kinds.push_back({name, 2});
  for (const char *name : {"div", "pow", "atan2", "xlogy", "remainder", "fmod"})
    kinds.push_back({name, 2, {0.5, 2}});
  for (const char *name : {"add", "sub", "rsub"})
    kinds.push_back({name, 2, {-2, 2}, {{-2, 2}}});
  kinds.push_back({"lerp", 2, {-2, 2}, {{-1, 2}}, 1});
  kinds.push_back({"lerp", 3});
  kinds.push_back({"addcmul", 3, {-2, 2}, {{-2, 2}}});
  kinds.push_back({"addcdiv", 3, {0.5, 2}, {{-2, 2}}});
  return kinds;
}

// What an elementwise op of a kind says, with some of its constants.
static std::string attributesOf(Draw &draw, const Kind &kind) {
  int64_t count = draw.between(static_cast<int64_t>(kind.neededScalars), static_cast<int64_t>(kind.scalars.size()));
  std::vector<std::string> scalars;
  for (int64_t i = 0; i < count; ++i)
    scalars.push_back(std::to_string(draw.real(kind.scalars[i].low, kind.scalars[i].high)));
  return absl::StrCat("kind = \"", kind.name, "\"", count ? ", scalars = array<f64: " : "", absl::StrJoin(scalars, ", "), count ? ">" : "");
}

// One operand, any of them, has the result's shape. The others are broadcast.
static std::vector<Shape> broadcastShapes(Draw &draw, size_t operands, const Shape &result) {
  size_t whole = draw.below(static_cast<int64_t>(operands));
  std::vector<Shape> shapes;
  for (size_t i = 0; i < operands; ++i)
    shapes.push_back(i == whole ? result : draw.broadcastTo(result));
  return shapes;
}

static Drawer drawKind(const Kind &kind) {
  return [kind](Draw &draw) {
    Shape result = draw.shape(0, 4, 3);
    std::vector<Drawn> operands;
    for (const Shape &shape : broadcastShapes(draw, kind.operands, result))
      operands.push_back(draw.operand(shape, kind.range.low, kind.range.high));
    draw.finish("elementwise", operands, attributesOf(draw, kind), result);
  };
}

static Family familyOf(const char *name, const std::vector<Kind> &kinds) {
  Family family{name, {}};
  for (const Kind &kind : kinds)
    family.drawers.push_back(drawKind(kind));
  return family;
}

static Drawer drawTriangle(const char *kind) {
  return [kind](Draw &draw) {
    Shape shape = draw.shape(2, 4);
    std::string diagonal = draw.flip() ? absl::StrCat(", scalars = array<f64: ", draw.between(-2, 2), ".0>") : "";
    draw.finish("elementwise", {draw.operand(shape)}, absl::StrCat("kind = \"", kind, "\"", diagonal), shape);
  };
}

static void drawWhere(Draw &draw) {
  Shape result = draw.shape(0, 4, 3);
  std::vector<Shape> shapes = broadcastShapes(draw, 3, result);
  std::vector<Drawn> operands{draw.mask(shapes[0]), draw.operand(shapes[1]), draw.operand(shapes[2])};
  draw.finish("elementwise", operands, "kind = \"where\"", result);
}

static void drawWhereOrNumber(Draw &draw) {
  Shape result = draw.shape(0, 4, 3);
  std::vector<Shape> shapes = broadcastShapes(draw, 2, result);
  draw.finish("elementwise", {draw.mask(shapes[0]), draw.operand(shapes[1])}, "kind = \"where\", scalars = array<f64: 3.0>", result);
}

static void drawMaskedFill(Draw &draw) {
  Shape result = draw.shape(0, 4, 3);
  std::vector<Shape> shapes = broadcastShapes(draw, 2, result);
  draw.finish("elementwise", {draw.operand(shapes[0]), draw.mask(shapes[1])}, "kind = \"masked_fill\", scalars = array<f64: 3.0>", result);
}

static void drawMaskedFillByTensor(Draw &draw) {
  Shape result = draw.shape(0, 4, 3);
  std::vector<Shape> shapes = broadcastShapes(draw, 3, result);
  draw.finish("elementwise", {draw.operand(shapes[0]), draw.mask(shapes[1]), draw.operand(shapes[2])}, "kind = \"masked_fill\"", result);
}

// A value whose gradient is the sum of two.
static void drawUsedTwice(Draw &draw) {
  Shape shape = draw.shape(0, 4, 3);
  Drawn input = draw.operand(shape), power = draw.op("elementwise", {input}, "kind = \"exp\"", {f64(shape)})[0];
  draw.finish("elementwise", {power, input}, "kind = \"mul\"", shape);
}

//===----------------------------------------------------------------------===//
// Complex numbers
//===----------------------------------------------------------------------===//

static Drawn complex(const Shape &shape) { return {"", typeText(shape, "complex<f64>"), shape}; }

static Drawn complexOperand(Draw &draw, const Shape &shape) {
  Shape pairs = shape;
  pairs.push_back(2);
  return draw.op("complex_view", {draw.operand(pairs)}, "", {complex(shape)})[0];
}

static void finishComplex(Draw &draw, const Drawn &numbers) {
  Shape order = draw.permutation(static_cast<int64_t>(numbers.shape.size())), turned;
  for (int64_t dim : order)
    turned.push_back(numbers.shape[dim]);
  Drawn transposed = draw.op("transpose", {numbers}, "permutation = " + listText(order), {complex(turned)})[0];
  turned.push_back(2);
  draw.finish("complex_view", {transposed}, "", turned);
}

static Drawer drawComplex(const char *kind) {
  return [kind](Draw &draw) {
    Shape shape = draw.shape(1, 3, 3);
    std::vector<Drawn> operands;
    for (const Shape &each : broadcastShapes(draw, 2, shape))
      operands.push_back(complexOperand(draw, each));
    finishComplex(draw, draw.op("elementwise", operands, absl::StrCat("kind = \"", kind, "\""), {complex(shape)})[0]);
  };
}

static Drawer drawComplexScaling(const char *kind, const char *scalars) {
  return [=](Draw &draw) {
    Shape shape = draw.shape(1, 3, 3);
    finishComplex(
        draw, draw.op("elementwise", {complexOperand(draw, shape)}, absl::StrCat("kind = \"", kind, "\"", scalars), {complex(shape)})[0]);
  };
}

//===----------------------------------------------------------------------===//
// Casts, copies, dropout
//===----------------------------------------------------------------------===//

// In double nothing is rounded, so a cast's gradient is exact.
static void drawCast(Draw &draw) {
  Shape shape = draw.shape(0, 4);
  Drawn narrow = draw.op("cast", {draw.operand(shape)}, "", {{"", typeText(shape, draw.flip() ? "f32" : "bf16"), shape}})[0];
  draw.finish("cast", {narrow}, "", shape);
}

static void drawCopy(Draw &draw) {
  Shape shape = draw.shape(0, 4);
  draw.finish("copy", {draw.operand(shape)}, "", shape);
}

static void drawDropout(Draw &draw) {
  Shape shape = draw.shape(0, 4);
  std::string p = std::to_string(draw.real(0.1, 0.9));
  draw.finish("dropout", {draw.operand(shape)}, absl::StrCat("p = ", p), shape, {{"", typeText(shape, "i1"), shape}});
}

std::vector<Family> moai::elementwiseFamilies() {
  return {familyOf("FunctionsOfOne", unaryKinds()),
          familyOf("FunctionsOfSeveral", severalKinds()),
          {"Masks", {drawTriangle("tril"), drawTriangle("triu"), drawWhere, drawWhereOrNumber, drawMaskedFill, drawMaskedFillByTensor}},
          {"ComplexNumbers",
           {drawComplex("mul"), drawComplex("add"), drawComplex("sub"), drawComplexScaling("neg", ""),
            drawComplexScaling("mul", ", scalars = array<f64: 0.7>"), drawComplexScaling("div", ", scalars = array<f64: 0.7>")}},
          {"CastsCopiesDropout", {drawCast, drawCopy, drawDropout, drawUsedTwice}}};
}
