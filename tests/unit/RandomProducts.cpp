// Random cases of contractions, convolutions, attention and experts.
#include "RandomGraph.h"
#include <map>

using namespace moai;

//===----------------------------------------------------------------------===//
// Contractions
//===----------------------------------------------------------------------===//

namespace {
/// The letters of the left operand, of the right one and of the result, and how large each is.
struct Equation {
  std::string letters[3];
  std::map<char, int64_t> sizes;

  Shape shapeOf(unsigned place) const {
    Shape shape;
    for (char name : letters[place])
      shape.push_back(sizes.at(name));
    return shape;
  }
};
} // namespace

// Batch letters are in both operands, others in one and the result, and some are summed over; each operand in an order of its own.
static Equation drawEquation(Draw &draw) {
  Equation equation;
  char next = 'a';
  for (unsigned in : {7u, 5u, 6u, 3u}) // bits: left, right, result
    for (int64_t i = draw.between(in == 3 ? 1 : 0, 2); i > 0; --i, ++next) {
      equation.sizes[next] = draw.between(1, 3);
      for (unsigned place = 0; place < 3; ++place)
        if (in >> place & 1)
          equation.letters[place] += next;
    }
  for (std::string &names : equation.letters) {
    std::string shuffled;
    for (int64_t at : draw.permutation(static_cast<int64_t>(names.size())))
      shuffled += names[at];
    names = shuffled;
  }
  return equation;
}

static void drawContraction(Draw &draw) {
  Equation equation = drawEquation(draw);
  Shape result = equation.shapeOf(2);
  std::vector<Drawn> operands{draw.operand(equation.shapeOf(0)), draw.operand(equation.shapeOf(1))};
  if (!result.empty() && draw.flip())
    operands.push_back(draw.operand({result.back()}));
  draw.finish("contract", operands,
              absl::StrCat("equation = \"", equation.letters[0], ",", equation.letters[1], "->", equation.letters[2], "\""), result);
}

//===----------------------------------------------------------------------===//
// Convolutions
//===----------------------------------------------------------------------===//

// From many to few places and channels, or transposed, from few to many.
static Drawer drawConvolution(bool isTransposed) {
  return [isTransposed](Draw &draw) {
    int64_t groups = draw.between(1, 3), batch = draw.between(1, 2), inGroup = draw.between(1, 2), few = groups * draw.between(1, 2);
    Shape wide{batch, groups * inGroup}, weight{few, inGroup}, narrow{batch, few}, strides, paddings, dilations;
    for (int64_t i = draw.between(1, 2); i > 0; --i) {
      int64_t window = draw.between(1, 3), stride = draw.between(1, 2), padding = draw.between(0, window - 1),
              dilation = draw.between(1, 2), reach = dilation * (window - 1) + 1,
              size = std::max<int64_t>(reach - 2 * padding, 1) + draw.between(0, 2);
      strides.push_back(stride);
      paddings.push_back(padding);
      dilations.push_back(dilation);
      wide.push_back(size);
      weight.push_back(window);
      narrow.push_back((size + 2 * padding - reach) / stride + 1);
    }
    const Shape &input = isTransposed ? narrow : wide, &result = isTransposed ? wide : narrow;
    std::vector<Drawn> operands{draw.operand(input), draw.operand(weight)};
    if (draw.flip())
      operands.push_back(draw.operand({result[1]}));
    draw.finish(isTransposed ? "transposed_convolution" : "convolution", operands,
                absl::StrCat("strides = ", listText(strides), ", padding = ", listText(paddings), ", dilation = ", listText(dilations),
                             ", groups = ", groups, " : i64"),
                result);
  };
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

static Drawer drawAttention(const std::string &mask) {
  return [mask](Draw &draw) {
    bool across = mask == "full" || mask == "bias";
    int64_t batch = draw.between(1, 2), keyHeads = draw.between(1, 2), heads = keyHeads * draw.between(1, 2), queries = draw.between(1, 4),
            keys = across ? draw.between(1, 4) : queries, width = draw.between(1, 3), valueWidth = draw.between(1, 3);
    std::vector<Drawn> operands{draw.operand({batch, heads, queries, width}), draw.operand({batch, keyHeads, keys, width}),
                                draw.operand({batch, keyHeads, keys, valueWidth})};
    if (mask == "bias")
      operands.push_back(draw.operand(draw.broadcastTo({batch, heads, queries, keys})));
    int64_t window = mask == "sliding_window" ? draw.between(1, 3) : 0;
    draw.finish("attention", operands,
                absl::StrCat("mask = \"", mask, "\", window = ", window, " : i64, scale = ", draw.real(0.3, 1.1),
                             " : f64, dropout = ", draw.flip() ? "0.0" : "0.4"),
                {batch, heads, queries, valueWidth}, {f64({batch, heads, queries})});
  };
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

namespace {
/// Tokens on their way to experts.
struct Routing {
  int64_t tokens, choices, experts;
  Drawn order, inverse, offsets;

  int64_t rows() const { return tokens * choices; }
  std::string attributes() const { return absl::StrCat("choices = ", choices, " : i64"); }
};
} // namespace

// Often more experts than rows, so that some get none.
static Routing drawRouting(Draw &draw) {
  Routing routing{draw.between(1, 4), draw.between(1, 3), draw.between(1, 6), {}, {}, {}};
  Shape rows{routing.rows()}, experts{routing.experts};
  std::vector<Drawn> results = draw.op("route", {draw.integers({routing.tokens, routing.choices}, routing.experts)}, "",
                                       {i64(rows), i64(rows), {"", typeText(experts, "i32"), experts}});
  routing.order = results[0];
  routing.inverse = results[1];
  routing.offsets = results[2];
  return routing;
}

// Of so many rows, each of a random shape.
static Shape rowsShape(Draw &draw, int64_t rows) {
  Shape shape = draw.shape(0, 2);
  shape.insert(shape.begin(), rows);
  return shape;
}

static void drawDispatch(Draw &draw) {
  Routing routing = drawRouting(draw);
  Shape input = rowsShape(draw, routing.tokens), result = input;
  result[0] = routing.rows();
  draw.finish("dispatch", {draw.operand(input), routing.order, routing.inverse}, routing.attributes(), result);
}

static void drawCombine(Draw &draw) {
  Routing routing = drawRouting(draw);
  Shape result = rowsShape(draw, routing.tokens), input = result;
  input[0] = routing.rows();
  draw.finish("combine", {draw.operand(input), routing.order, routing.inverse}, routing.attributes(), result);
}

static Drawer drawExpertMatmul(bool transposed) {
  return [transposed](Draw &draw) {
    Routing routing = drawRouting(draw);
    int64_t k = draw.between(1, 3), n = draw.between(1, 3);
    Shape weight{routing.experts, transposed ? n : k, transposed ? k : n};
    draw.finish("expert_matmul", {draw.operand({routing.rows(), k}), draw.operand(weight), routing.offsets},
                absl::StrCat("transposed = ", transposed ? "true" : "false"), {routing.rows(), n});
  };
}

// What a layer of experts does: each token's row to its experts, through two matrices of each, weighted, and back.
static void drawExpertLayer(Draw &draw) {
  Routing routing = drawRouting(draw);
  int64_t width = draw.between(1, 3), hidden = draw.between(1, 3), experts = routing.experts;
  Shape outer{routing.rows(), width}, inner{routing.rows(), hidden};
  Drawn rows =
      draw.op("dispatch", {draw.operand({routing.tokens, width}), routing.order, routing.inverse}, routing.attributes(), {f64(outer)})[0];
  Drawn up =
      draw.op("expert_matmul", {rows, draw.operand({experts, width, hidden}), routing.offsets}, "transposed = false", {f64(inner)})[0];
  Drawn active = draw.op("elementwise", {up}, "kind = \"silu\"", {f64(inner)})[0];
  Drawn down =
      draw.op("expert_matmul", {active, draw.operand({experts, width, hidden}), routing.offsets}, "transposed = true", {f64(outer)})[0];
  Drawn weighted = draw.op("elementwise", {down, draw.operand({routing.rows(), 1})}, "kind = \"mul\"", {f64(outer)})[0];
  draw.finish("combine", {weighted, routing.order, routing.inverse}, routing.attributes(), {routing.tokens, width});
}

std::vector<Family> moai::productFamilies() {
  return {{"Contractions", {drawContraction}},
          {"Convolutions", {drawConvolution(false), drawConvolution(true)}},
          {"Attention", {drawAttention("causal"), drawAttention("sliding_window"), drawAttention("full"), drawAttention("bias")}},
          {"Experts", {drawDispatch, drawCombine, drawExpertMatmul(false), drawExpertMatmul(true), drawExpertLayer}}};
}
