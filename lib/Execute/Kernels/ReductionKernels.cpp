//===- ReductionKernels.cpp - Reductions, norms, softmax, losses -----------===//
#include "Kernels.h"
#include <cmath>

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// reduce, scan
//===----------------------------------------------------------------------===//

// One number of all those that meet in an element of the result.
static std::optional<double> reduceAll(StringRef kind, ArrayRef<double> values) {
  double sum = 0;
  for (double value : values)
    sum += value;
  double count = static_cast<double>(values.size()), mean = sum / count;
  auto largest = [&] { return *std::max_element(values.begin(), values.end()); };
  auto variance = [&] {
    double squares = 0;
    for (double value : values)
      squares += (value - mean) * (value - mean);
    return squares / (count - 1);
  };
  if (kind == "sum")
    return sum;
  if (kind == "mean")
    return mean;
  if (kind == "amax")
    return largest();
  if (kind == "amin")
    return *std::min_element(values.begin(), values.end());
  if (kind == "argmax")
    return std::max_element(values.begin(), values.end()) - values.begin();
  if (kind == "argmin")
    return std::min_element(values.begin(), values.end()) - values.begin();
  if (kind == "any")
    return llvm::any_of(values, [](double value) { return value != 0; });
  if (kind == "all")
    return llvm::all_of(values, [](double value) { return value != 0; });
  if (kind == "var")
    return variance();
  if (kind == "std")
    return std::sqrt(variance());
  if (kind == "prod") {
    double product = 1;
    for (double value : values)
      product *= value;
    return product;
  }
  if (kind == "norm") {
    double squares = 0;
    for (double value : values)
      squares += value * value;
    return std::sqrt(squares);
  }
  if (kind == "logsumexp") {
    double top = largest(), total = 0;
    for (double value : values)
      total += std::exp(value - top);
    return top + std::log(total);
  }
  return std::nullopt;
}

static void reduce(ReduceOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult());
  SmallVector<int64_t, 6> order, outer, inner;
  for (int64_t dim = 0; dim < static_cast<int64_t>(input.rank()); ++dim)
    (llvm::is_contained(op.getDims(), dim) ? inner : outer).push_back(dim);
  order.append(outer);
  order.append(inner);
  Tensor arranged = permute(input, order);
  size_t count = result.values.empty() ? 0 : arranged.values.size() / result.values.size();
  if (count == 0 && !result.values.empty() && op.getKind() != "sum")
    return call.fail("reduces nothing");
  for (size_t i = 0; i < result.values.size(); ++i) {
    auto value = reduceAll(op.getKind(), ArrayRef<double>(arranged.values).slice(i * count, count));
    if (!value)
      return call.fail("is of a kind that has no kernel");
    result.values[i] = *value;
  }
}

static void scan(ScanOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult());
  if (op.getKind() != "cumsum" && op.getKind() != "cumprod")
    return call.fail("is of a kind that has no kernel");
  result.values = input.values;
  if (input.rank() == 0)
    return;
  int64_t dim = op.getDim(), step = rowMajorStrides(input.shape)[dim];
  for (int64_t i = 0; i < result.size(); ++i)
    if (i / step % input.shape[dim] > 0)
      result.values[i] = op.getKind() == "cumsum" ? result.values[i - step] + result.values[i] : result.values[i - step] * result.values[i];
}

//===----------------------------------------------------------------------===//
// pool
//===----------------------------------------------------------------------===//

// Calls visit(window's position in the result, positions in the input, elements to divide an average by).
template <typename OpT, typename Visit> static void forEachWindow(OpT op, ArrayRef<int64_t> input, ArrayRef<int64_t> result, Visit visit) {
  size_t spatial = op.getWindow().size();
  Offsets strides = rowMajorStrides(input), resultStrides = rowMajorStrides(result);
  int64_t windowSize = Tensor::countElements(op.getWindow());
  std::vector<int64_t> positions;
  for (int64_t at = 0; at < Tensor::countElements(result); ++at) {
    int64_t base = at / resultStrides[1] * strides[1];
    positions.assign(1, base);
    for (size_t dim = 0; dim < spatial; ++dim) {
      int64_t out = at / resultStrides[dim + 2] % result[dim + 2];
      std::vector<int64_t> longer;
      for (int64_t position : positions)
        for (int64_t tap = 0; tap < op.getWindow()[dim]; ++tap) {
          int64_t place = out * op.getStrides()[dim] - op.getPadding()[dim] + tap * op.getDilation()[dim];
          if (place >= 0 && place < input[dim + 2])
            longer.push_back(position + place * strides[dim + 2]);
        }
      positions = std::move(longer);
    }
    visit(at, positions, op.getCountPadding() ? windowSize : static_cast<int64_t>(positions.size()));
  }
}

static int64_t findLargest(ArrayRef<double> values, ArrayRef<int64_t> positions) {
  int64_t best = positions.front();
  for (int64_t position : positions)
    if (values[position] > values[best])
      best = position;
  return best;
}

static void pool(PoolOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult());
  forEachWindow(op, input.shape, result.shape, [&](int64_t at, ArrayRef<int64_t> positions, int64_t count) {
    if (positions.empty())
      return call.fail("has a window beyond its operand");
    if (op.getKind() == "max") {
      result.values[at] = input.values[findLargest(input.values, positions)];
      return;
    }
    for (int64_t position : positions)
      result.values[at] += input.values[position] / static_cast<double>(count);
  });
}

static void poolBackward(PoolBackwardOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()], &gradient = call[op.getGradient()];
  Tensor &result = call.result(op.getResult());
  forEachWindow(op, input.shape, gradient.shape, [&](int64_t at, ArrayRef<int64_t> positions, int64_t count) {
    if (positions.empty())
      return call.fail("has a window beyond its operand");
    if (op.getKind() == "max") {
      result.values[findLargest(input.values, positions)] += gradient.values[at];
      return;
    }
    for (int64_t position : positions)
      result.values[position] += gradient.values[at] / static_cast<double>(count);
  });
}

//===----------------------------------------------------------------------===//
// normalize
//===----------------------------------------------------------------------===//

namespace {
/// Elements that share a mean and a deviation, and the weight that scales each of them.
struct Groups {
  int64_t count = 1;                                ///< of groups
  int64_t size = 1;                                 ///< elements of one
  std::function<int64_t(int64_t, int64_t)> element; ///< (group, number) -> position in the input
  std::function<int64_t(int64_t)> weight;           ///< position in the input -> position in the weight
};
} // namespace

static Groups groupsOf(StringRef kind, int64_t axes, ArrayRef<int64_t> shape) {
  Groups groups;
  if (kind == "layer_norm" || kind == "rms_norm") {
    groups.size = Tensor::countElements(shape.take_back(axes));
    groups.count = Tensor::countElements(shape.drop_back(axes));
    groups.element = [size = groups.size](int64_t group, int64_t i) { return group * size + i; };
    groups.weight = [size = groups.size](int64_t at) { return at % size; };
    return groups;
  }
  int64_t channels = shape[1], inner = Tensor::countElements(shape.drop_front(2));
  groups.weight = [=](int64_t at) { return at / inner % channels; };
  if (kind == "group_norm") {
    groups.count = shape[0] * axes;
    groups.size = channels / axes * inner;
    groups.element = [size = groups.size](int64_t group, int64_t i) { return group * size + i; };
  } else { // batch_norm: one group per channel
    groups.count = channels;
    groups.size = shape[0] * inner;
    groups.element = [=](int64_t group, int64_t i) { return (i / inner * channels + group) * inner + i % inner; };
  }
  return groups;
}

static void normalize(NormalizeOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult()), &statistics = call.result(op.getStatistics());
  bool centred = op.getKind() != "rms_norm";
  Groups groups = groupsOf(op.getKind(), op.getAxes(), input.shape);
  double count = static_cast<double>(groups.size);
  for (int64_t group = 0; group < groups.count; ++group) {
    double mean = 0, squares = 0;
    for (int64_t i = 0; centred && i < groups.size; ++i)
      mean += input.values[groups.element(group, i)] / count;
    for (int64_t i = 0; i < groups.size; ++i) {
      double distance = input.values[groups.element(group, i)] - mean;
      squares += distance * distance / count;
    }
    double scale = 1 / std::sqrt(squares + op.getEps().convertToDouble());
    if (centred)
      statistics.values[2 * group] = mean;
    statistics.values[centred ? 2 * group + 1 : group] = scale;
    for (int64_t i = 0; i < groups.size; ++i) {
      int64_t at = groups.element(group, i);
      result.values[at] = (input.values[at] - mean) * scale;
    }
  }
  for (int64_t at = 0; at < result.size(); ++at) {
    if (op.getWeight())
      result.values[at] *= call[op.getWeight()].values[groups.weight(at)];
    if (op.getBias())
      result.values[at] += call[op.getBias()].values[groups.weight(at)];
  }
}

// With x^ the normalised input and g the gradient times the weight: dx = scale (g - mean(g) - x^ mean(g x^)), without
// mean(g) where nothing was centred; dweight = sum(gradient x^); dbias = sum(gradient).
static void normalizeBackward(NormalizeBackwardOp op, KernelCall &call) {
  const Tensor &gradient = call[op.getGradient()], &input = call[op.getInput()], &statistics = call[op.getStatistics()];
  const Tensor *weight = op.getWeight() ? &call[op.getWeight()] : nullptr;
  Tensor &dInput = call.result(op.getGradients()[0]);
  Tensor *dWeight = weight ? &call.result(op.getGradients()[1]) : nullptr;
  unsigned biasAt = weight ? 2 : 1;
  Tensor *dBias = op.getGradients().size() > biasAt ? &call.result(op.getGradients()[biasAt]) : nullptr;
  bool centred = op.getKind() != "rms_norm";
  Groups groups = groupsOf(op.getKind(), op.getAxes(), input.shape);
  double count = static_cast<double>(groups.size);
  for (int64_t group = 0; group < groups.count; ++group) {
    double mean = centred ? statistics.values[2 * group] : 0, scale = statistics.values[centred ? 2 * group + 1 : group];
    double meanGradient = 0, meanProduct = 0;
    auto scaled = [&](int64_t at) { return gradient.values[at] * (weight ? weight->values[groups.weight(at)] : 1); };
    for (int64_t i = 0; i < groups.size; ++i) {
      int64_t at = groups.element(group, i);
      double normalised = (input.values[at] - mean) * scale;
      meanGradient += scaled(at) / count;
      meanProduct += scaled(at) * normalised / count;
      if (dWeight)
        dWeight->values[groups.weight(at)] += gradient.values[at] * normalised;
      if (dBias)
        dBias->values[groups.weight(at)] += gradient.values[at];
    }
    for (int64_t i = 0; i < groups.size; ++i) {
      int64_t at = groups.element(group, i);
      double normalised = (input.values[at] - mean) * scale;
      dInput.values[at] = scale * (scaled(at) - (centred ? meanGradient : 0) - normalised * meanProduct);
    }
  }
}

//===----------------------------------------------------------------------===//
// softmax, cross entropy
//===----------------------------------------------------------------------===//

// Calls visit(first position, step, size) for every line along a dimension.
template <typename Visit> static void forEachLine(ArrayRef<int64_t> shape, int64_t dim, Visit visit) {
  if (shape.empty())
    return visit(0, 1, 1);
  Offsets strides = rowMajorStrides(shape), lines(shape);
  lines[dim] = 1;
  walk<1>(lines, {strides}, [&](auto at) { visit(at[0], strides[dim], shape[dim]); });
}

static void softmax(SoftmaxOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult());
  forEachLine(input.shape, op.getDim(), [&](int64_t first, int64_t step, int64_t size) {
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < size; ++i)
      largest = std::max(largest, input.values[first + i * step]);
    for (int64_t i = 0; i < size; ++i)
      sum += std::exp(input.values[first + i * step] - largest);
    for (int64_t i = 0; i < size; ++i) {
      double shifted = input.values[first + i * step] - largest;
      result.values[first + i * step] = op.getLog() ? shifted - std::log(sum) : std::exp(shifted) / sum;
    }
  });
}

static void softmaxBackward(SoftmaxBackwardOp op, KernelCall &call) {
  const Tensor &gradient = call[op.getGradient()], &output = call[op.getOutput()];
  Tensor &result = call.result(op.getResult());
  forEachLine(output.shape, op.getDim(), [&](int64_t first, int64_t step, int64_t size) {
    double sum = 0;
    for (int64_t i = first; i < first + size * step; i += step)
      sum += op.getLog() ? gradient.values[i] : gradient.values[i] * output.values[i];
    for (int64_t i = first; i < first + size * step; i += step)
      result.values[i] =
          op.getLog() ? gradient.values[i] - std::exp(output.values[i]) * sum : output.values[i] * (gradient.values[i] - sum);
  });
}

// The class of a row; nothing for an ignored one.
static std::optional<int64_t> classOf(double target, int64_t ignored, int64_t classes, KernelCall &call) {
  int64_t number = static_cast<int64_t>(target);
  if (number == ignored)
    return std::nullopt;
  if (number >= 0 && number < classes)
    return number;
  call.fail("has the label " + Twine(number) + ", expected 0 to " + Twine(classes - 1) + ", or " + Twine(ignored) + " to ignore");
  return std::nullopt;
}

static void crossEntropy(CrossEntropyOp op, KernelCall &call) {
  const Tensor &logits = call[op.getLogits()], &target = call[op.getTarget()];
  Tensor &loss = call.result(op.getLoss()), &logProbabilities = call.result(op.getLogProbabilities());
  int64_t classes = logits.shape.back();
  double smoothing = op.getLabelSmoothing().convertToDouble(), total = 0, counted = 0;
  for (int64_t row = 0; row < target.size(); ++row) {
    const double *in = &logits.values[row * classes];
    double *out = &logProbabilities.values[row * classes];
    double largest = *std::max_element(in, in + classes), sum = 0, mean = 0;
    for (int64_t i = 0; i < classes; ++i)
      sum += std::exp(in[i] - largest);
    for (int64_t i = 0; i < classes; ++i)
      mean += (out[i] = in[i] - largest - std::log(sum)) / static_cast<double>(classes);
    auto label = classOf(target.values[row], op.getIgnoreIndex(), classes, call);
    if (!label)
      continue;
    double own = -(1 - smoothing) * out[*label] - smoothing * mean;
    total += own;
    ++counted;
    if (op.getReduction() == "none")
      loss.values[row] = own;
  }
  call.result(op.getCounted()).values[0] = counted;
  if (op.getReduction() != "none")
    loss.values[0] = op.getReduction() == "mean" ? total / counted : total;
}

static void crossEntropyBackward(CrossEntropyBackwardOp op, KernelCall &call) {
  const Tensor &gradient = call[op.getGradient()], &logProbabilities = call[op.getLogProbabilities()], &target = call[op.getTarget()];
  Tensor &result = call.result(op.getResult());
  int64_t classes = logProbabilities.shape.back();
  double smoothing = op.getLabelSmoothing().convertToDouble();
  for (int64_t row = 0; row < target.size(); ++row) {
    auto label = classOf(target.values[row], op.getIgnoreIndex(), classes, call);
    if (!label)
      continue;
    double scale = op.getReduction() == "none" ? gradient.values[row] : gradient.values[0];
    if (op.getReduction() == "mean")
      scale /= call[op.getCounted()].values[0];
    for (int64_t i = 0; i < classes; ++i) {
      double wanted = smoothing / static_cast<double>(classes) + (i == *label ? 1 - smoothing : 0);
      result.values[row * classes + i] = scale * (std::exp(logProbabilities.values[row * classes + i]) - wanted);
    }
  }
}

void moai::addReductionKernels(KernelTable &table) {
  table.add<ReduceOp>(reduce);
  table.add<ScanOp>(scan);
  table.add<PoolOp>(pool);
  table.add<PoolBackwardOp>(poolBackward);
  table.add<NormalizeOp>(normalize);
  table.add<NormalizeBackwardOp>(normalizeBackward);
  table.add<SoftmaxOp>(softmax);
  table.add<SoftmaxBackwardOp>(softmaxBackward);
  table.add<CrossEntropyOp>(crossEntropy);
  table.add<CrossEntropyBackwardOp>(crossEntropyBackward);
}
