// Random cases of reductions, norms, pools, softmax and losses.
#include "RandomGraph.h"

using namespace moai;

// Some dimensions, at least one of them of 2 or more, since a deviation of one element, or of equal ones, is undefined.
static Drawer drawReduce(const std::string &kind) {
  return [kind](Draw &draw) {
    Shape input = draw.shape(1, 4), dims, result;
    bool keep = draw.flip();
    int64_t rank = static_cast<int64_t>(input.size()), certain = draw.below(rank);
    input[certain] = draw.between(2, 4);
    for (int64_t i = 0; i < rank; ++i) {
      bool reduced = i == certain || draw.flip();
      if (reduced)
        dims.push_back(i);
      if (!reduced || keep)
        result.push_back(reduced ? 1 : input[i]);
    }
    Drawn operand = kind == "std" ? draw.storedOperand(input) : draw.operand(input);
    draw.finish("reduce", {operand},
                absl::StrCat("kind = \"", kind, "\", dims = ", listText(dims), ", keep_dims = ", keep ? "true" : "false"), result);
  };
}

static void drawCumulativeSum(Draw &draw) {
  Shape shape = draw.shape(1, 4);
  draw.finish("scan", {draw.operand(shape)},
              absl::StrCat("kind = \"cumsum\", dim = ", draw.below(static_cast<int64_t>(shape.size())), " : i64"), shape);
}

static Drawer drawSoftmax(const char *log) {
  return [log](Draw &draw) {
    Shape shape = draw.shape(1, 4);
    draw.finish("softmax", {draw.operand(shape)},
                absl::StrCat("dim = ", draw.below(static_cast<int64_t>(shape.size())), " : i64, log = ", log), shape);
  };
}

//===----------------------------------------------------------------------===//
// Norms
//===----------------------------------------------------------------------===//

// With or without a weight and, where `mayShift`, a bias of that shape.
static void finishNorm(Draw &draw, const std::string &kind, const Shape &input, const Shape &parameter, int64_t axes,
                       const Shape &statistics, bool mayShift) {
  bool scales = draw.below(4) > 0, shifts = mayShift && draw.below(4) > 0;
  std::vector<Drawn> operands{draw.operand(input)};
  for (int64_t i = 0; i < scales + shifts; ++i)
    operands.push_back(draw.operand(parameter));
  draw.finish("normalize", operands,
              absl::StrCat("kind = \"", kind, "\", axes = ", axes, " : i64, eps = 1.0e-1, operandSegmentSizes = array<i32: 1, ", scales,
                           ", ", shifts, ">"),
              input, {f64(statistics)});
}

static Drawer drawNormOfLast(const std::string &kind) {
  return [kind](Draw &draw) {
    Shape input = draw.shape(1, 4);
    bool centred = kind == "layer_norm";
    int64_t axes = draw.between(1, static_cast<int64_t>(input.size()));
    Shape parameter(input.end() - axes, input.end()), statistics(input.begin(), input.end() - axes);
    statistics.push_back(centred ? 2 : 1);
    finishNorm(draw, kind, input, parameter, axes, statistics, centred);
  };
}

// Of [batch, channels, spatial...].
static Shape imageShape(Draw &draw, int64_t channels) {
  Shape shape{draw.between(1, 3), channels};
  for (int64_t i = draw.between(0, 2); i > 0; --i)
    shape.push_back(draw.between(1, 3));
  return shape;
}

static void drawGroupNorm(Draw &draw) {
  int64_t groups = draw.between(1, 3), channels = groups * draw.between(1, 3);
  Shape input = imageShape(draw, channels);
  finishNorm(draw, "group_norm", input, {channels}, groups, {input[0], groups, 2}, true);
}

static void drawBatchNorm(Draw &draw) {
  int64_t channels = draw.between(1, 4);
  finishNorm(draw, "batch_norm", imageShape(draw, channels), {channels}, 1, {channels, 2}, true);
}

//===----------------------------------------------------------------------===//
// Pools
//===----------------------------------------------------------------------===//

// Operands so large that every window reaches into them.
static Drawer drawPool(const std::string &kind) {
  return [kind](Draw &draw) {
    Shape input{draw.between(1, 2), draw.between(1, 2)}, result = input, windows, strides, paddings, dilations;
    for (int64_t i = draw.between(1, 2); i > 0; --i) {
      int64_t window = draw.between(1, 3), stride = draw.between(1, 2), padding = draw.between(0, window / 2),
              dilation = draw.between(1, 2), reach = dilation * (window - 1) + 1,
              size = std::max(reach - 2 * padding, dilation) + draw.between(0, 3);
      windows.push_back(window);
      strides.push_back(stride);
      paddings.push_back(padding);
      dilations.push_back(dilation);
      input.push_back(size);
      result.push_back((size + 2 * padding - reach) / stride + 1);
    }
    draw.finish("pool", {draw.operand(input)},
                absl::StrCat("kind = \"", kind, "\", window = ", listText(windows), ", strides = ", listText(strides),
                             ", padding = ", listText(paddings), ", dilation = ", listText(dilations),
                             ", count_padding = ", draw.flip() ? "true" : "false"),
                result);
  };
}

//===----------------------------------------------------------------------===//
// Losses
//===----------------------------------------------------------------------===//

// One class may be ignored, but not that of the first row: the mean of no loss is undefined.
static Drawer drawCrossEntropy(const std::string &reduction) {
  return [reduction](Draw &draw) {
    int64_t rows = draw.between(1, 5), classes = draw.between(1, 5);
    std::vector<double> targets;
    for (int64_t i = 0; i < rows; ++i)
      targets.push_back(static_cast<double>(draw.below(classes)));
    int64_t ignored = draw.below(classes);
    if (ignored == static_cast<int64_t>(targets[0]))
      ignored = -100;
    Shape logits{rows, classes}, loss;
    if (reduction == "none")
      loss.push_back(rows);
    draw.finish("cross_entropy", {draw.operand(logits), draw.given({rows}, targets)},
                absl::StrCat("reduction = \"", reduction, "\", ignore_index = ", ignored,
                             " : i64, label_smoothing = ", draw.flip() ? "0.2" : "0.0"),
                loss, {f64(logits), f64({})});
  };
}

std::vector<Family> moai::reductionFamilies() {
  Family reductions{"Reductions", {drawCumulativeSum}};
  for (const char *kind : {"sum", "mean", "amax", "amin", "prod", "norm", "logsumexp", "var", "std"})
    reductions.drawers.push_back(drawReduce(kind));
  return {reductions,
          {"Norms", {drawNormOfLast("layer_norm"), drawNormOfLast("rms_norm"), drawGroupNorm, drawBatchNorm}},
          {"Pools", {drawPool("max"), drawPool("avg")}},
          {"SoftmaxAndLosses",
           {drawSoftmax("false"), drawSoftmax("true"), drawCrossEntropy("mean"), drawCrossEntropy("sum"), drawCrossEntropy("none")}}};
}
