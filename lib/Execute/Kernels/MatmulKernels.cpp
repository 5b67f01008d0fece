//===- MatmulKernels.cpp - Contractions, convolutions, experts -------------===//
#include "Eigen/Core"
#include "Kernels.h"

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// contract
//===----------------------------------------------------------------------===//

template <typename Real> using Matrix = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Rows = Eigen::Map<const Matrix<double>>;

// result[m, n] += lhs[m, k] rhs[k, n], in the precision that a framework's product has.
template <typename Real> static void multiply(const double *lhs, const double *rhs, double *result, int64_t m, int64_t k, int64_t n) {
  Eigen::Map<Matrix<double>> out(result, m, n);
  if constexpr (std::is_same_v<Real, double>) {
    out.noalias() += Rows(lhs, m, k) * Rows(rhs, k, n);
  } else {
    Matrix<Real> a = Rows(lhs, m, k).cast<Real>(), b = Rows(rhs, k, n).cast<Real>(), c = a * b;
    out += c.template cast<double>();
  }
}

static void multiply(const KernelCall &call, const double *lhs, const double *rhs, double *result, int64_t m, int64_t k, int64_t n) {
  (call.float64 ? multiply<double> : multiply<float>)(lhs, rhs, result, m, k, n);
}

namespace {
/// One side of a product, as [batch, rows, columns].
struct Side {
  Tensor tensor;
  int64_t batch = 1, rows = 1, columns = 1;
};
} // namespace

// Brings a tensor with one letter per dimension into the order of three groups of letters.
static Side arrange(const Tensor &tensor, StringRef names, StringRef batch, StringRef rows, StringRef columns) {
  Side side;
  SmallVector<int64_t, 6> order;
  for (auto [letters, size] : {std::pair(batch, &side.batch), {rows, &side.rows}, {columns, &side.columns}})
    for (char letter : letters) {
      order.push_back(static_cast<int64_t>(names.find(letter)));
      *size *= tensor.shape[order.back()];
    }
  side.tensor = permute(tensor, order);
  return side;
}

static void contract(ContractOp op, KernelCall &call) {
  auto [inputs, out] = op.getEquation().split("->");
  auto [left, right] = inputs.split(',');
  std::string batch, rows, inner, columns;
  for (char letter : left)
    (right.contains(letter) ? (out.contains(letter) ? batch : inner) : rows) += letter;
  for (char letter : right)
    if (!left.contains(letter))
      columns += letter;
  for (char letter : rows + columns)
    if (!out.contains(letter))
      return call.fail("sums one operand alone, over factor '" + Twine(letter) + "'");
  Side lhs = arrange(call[op.getLhs()], left, batch, rows, inner), rhs = arrange(call[op.getRhs()], right, batch, inner, columns);
  // [batch, rows, columns], to be put into the order of the result's letters.
  std::string names = batch + rows + columns;
  Tensor &result = call.result(op.getResult());
  Tensor product;
  SmallVector<int64_t, 6> order;
  for (char letter : names)
    product.shape.push_back(result.shape[out.find(letter)]);
  for (char letter : out)
    order.push_back(static_cast<int64_t>(names.find(letter)));
  product.values.assign(result.values.size(), 0.0);
  int64_t m = lhs.rows, k = lhs.columns, n = rhs.columns;
  for (int64_t b = 0; b < lhs.batch; ++b)
    multiply(call, &lhs.tensor.values[b * m * k], &rhs.tensor.values[b * k * n], &product.values[b * m * n], m, k, n);
  result = permute(product, order);
  if (Value bias = op.getBias()) {
    const Tensor &shift = call[bias];
    for (size_t i = 0; i < result.values.size(); ++i)
      result.values[i] += shift.values[i % shift.values.size()];
  }
}

//===----------------------------------------------------------------------===//
// convolution
//===----------------------------------------------------------------------===//

// Calls visit(input, weight, result) with flat positions for every product that a convolution sums.
template <typename OpT, typename Visit>
static void walkConvolution(OpT op, ArrayRef<int64_t> input, ArrayRef<int64_t> weight, ArrayRef<int64_t> result, Visit visit) {
  size_t spatial = input.size() - 2;
  int64_t groups = op.getGroups(), outputs = weight[0] / groups, inputs = weight[1];
  Offsets inputStrides = rowMajorStrides(input), weightStrides = rowMajorStrides(weight), resultStrides = rowMajorStrides(result);
  Offsets outPlace(spatial), kernelPlace(spatial);
  std::function<void(size_t, int64_t, int64_t, int64_t)> alongSpace = [&](size_t dim, int64_t i, int64_t w, int64_t r) {
    if (dim == spatial)
      return visit(i, w, r);
    for (int64_t out = 0; out < result[dim + 2]; ++out)
      for (int64_t tap = 0; tap < weight[dim + 2]; ++tap) {
        int64_t place = out * op.getStrides()[dim] - op.getPadding()[dim] + tap * op.getDilation()[dim];
        if (place >= 0 && place < input[dim + 2])
          alongSpace(dim + 1, i + place * inputStrides[dim + 2], w + tap * weightStrides[dim + 2], r + out * resultStrides[dim + 2]);
      }
  };
  for (int64_t n = 0; n < input[0]; ++n)
    for (int64_t o = 0; o < weight[0]; ++o)
      for (int64_t c = 0; c < inputs; ++c) {
        int64_t channel = o / outputs * inputs + c;
        alongSpace(0, n * inputStrides[0] + channel * inputStrides[1], o * weightStrides[0] + c * weightStrides[1],
                   n * resultStrides[0] + o * resultStrides[1]);
      }
}

static void addPerChannel(Value bias, Tensor &result, KernelCall &call) {
  if (!bias)
    return;
  int64_t inner = Tensor::countElements(ArrayRef<int64_t>(result.shape).drop_front(2));
  for (size_t i = 0; i < result.values.size(); ++i)
    result.values[i] += call[bias].values[static_cast<int64_t>(i) / inner % result.shape[1]];
}

static void convolution(ConvolutionOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()], &weight = call[op.getWeight()];
  Tensor &result = call.result(op.getResult());
  walkConvolution(op, input.shape, weight.shape, result.shape,
                  [&](int64_t i, int64_t w, int64_t r) { result.values[r] += input.values[i] * weight.values[w]; });
  addPerChannel(op.getBias(), result, call);
}

static void transposedConvolution(TransposedConvolutionOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()], &weight = call[op.getWeight()];
  Tensor &result = call.result(op.getResult());
  walkConvolution(op, result.shape, weight.shape, input.shape,
                  [&](int64_t i, int64_t w, int64_t r) { result.values[i] += input.values[r] * weight.values[w]; });
  addPerChannel(op.getBias(), result, call);
}

static void convolutionBackward(ConvolutionBackwardOp op, KernelCall &call) {
  const Tensor &gradient = call[op.getGradient()], &input = call[op.getInput()], &weight = call[op.getWeight()];
  Tensor &result = call.result(op.getResult());
  if (op.getWrt() == "input")
    walkConvolution(op, input.shape, weight.shape, gradient.shape,
                    [&](int64_t i, int64_t w, int64_t r) { result.values[i] += gradient.values[r] * weight.values[w]; });
  else
    walkConvolution(op, input.shape, weight.shape, gradient.shape,
                    [&](int64_t i, int64_t w, int64_t r) { result.values[w] += gradient.values[r] * input.values[i]; });
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

static void route(RouteOp op, KernelCall &call) {
  const Tensor &choices = call[op.getChoices()];
  Tensor &order = call.result(op.getOrder()), &inverse = call.result(op.getInverse()), &offsets = call.result(op.getOffsets());
  for (double expert : choices.values) {
    if (expert < 0 || expert >= static_cast<double>(offsets.size()))
      return call.fail("routes to expert " + Twine(static_cast<int64_t>(expert)) + " of " + Twine(offsets.size()));
    ++offsets.values[static_cast<size_t>(expert)];
  }
  std::vector<int64_t> next(offsets.values.size(), 0);
  double end = 0;
  for (size_t expert = 0; expert < next.size(); ++expert) {
    next[expert] = static_cast<int64_t>(end);
    offsets.values[expert] = end += offsets.values[expert];
  }
  for (size_t position = 0; position < choices.values.size(); ++position) {
    int64_t row = next[static_cast<size_t>(choices.values[position])]++;
    order.values[row] = static_cast<double>(position);
    inverse.values[position] = static_cast<double>(row);
  }
}

static void dispatch(DispatchOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()], &order = call[op.getOrder()];
  Tensor &result = call.result(op.getResult());
  int64_t width = result.size() / std::max<int64_t>(1, result.shape[0]);
  for (int64_t row = 0; row < result.shape[0]; ++row) {
    int64_t token = static_cast<int64_t>(order.values[row]) / op.getChoices();
    std::copy_n(&input.values[token * width], width, &result.values[row * width]);
  }
}

static void combine(CombineOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()], &inverse = call[op.getInverse()];
  Tensor &result = call.result(op.getResult());
  int64_t width = input.size() / std::max<int64_t>(1, input.shape[0]);
  for (int64_t position = 0; position < inverse.size(); ++position) {
    int64_t row = static_cast<int64_t>(inverse.values[position]), token = position / static_cast<int64_t>(op.getChoices());
    for (int64_t i = 0; i < width; ++i)
      result.values[token * width + i] += input.values[row * width + i];
  }
}

// Calls visit(expert, first row, rows) for the rows of every expert.
template <typename Visit> static void forEachExpert(const Tensor &offsets, int64_t rows, KernelCall &call, Visit visit) {
  int64_t begin = 0;
  for (int64_t expert = 0; expert < offsets.size(); ++expert) {
    int64_t end = static_cast<int64_t>(offsets.values[expert]);
    if (end < begin || end > rows)
      return call.fail("has offsets that don't grow up to its " + Twine(rows) + " rows");
    visit(expert, begin, end - begin);
    begin = end;
  }
}

static void expertMatmul(ExpertMatmulOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()], &weight = call[op.getWeight()];
  Tensor matrices = op.getTransposed() ? permute(weight, {0, 2, 1}) : weight;
  Tensor &result = call.result(op.getResult());
  int64_t k = matrices.shape[1], n = matrices.shape[2];
  forEachExpert(call[op.getOffsets()], input.shape[0], call, [&](int64_t expert, int64_t first, int64_t rows) {
    multiply(call, input.values.data() + first * k, &matrices.values[expert * k * n], result.values.data() + first * n, rows, k, n);
  });
}

static void expertOuter(ExpertOuterOp op, KernelCall &call) {
  Tensor lhs = permute(call[op.getLhs()], {1, 0});
  const Tensor &rhs = call[op.getRhs()];
  Tensor &result = call.result(op.getResult());
  int64_t m = lhs.shape[0], all = lhs.shape[1], n = rhs.shape[1];
  forEachExpert(call[op.getOffsets()], all, call, [&](int64_t expert, int64_t first, int64_t rows) {
    Tensor columns({m, rows});
    for (int64_t i = 0; i < m; ++i)
      std::copy_n(lhs.values.data() + i * all + first, rows, columns.values.data() + i * rows);
    multiply(call, columns.values.data(), rhs.values.data() + first * n, &result.values[expert * m * n], m, rows, n);
  });
}

void moai::addMatmulKernels(KernelTable &table) {
  table.add<ContractOp>(contract);
  table.add<ConvolutionOp>(convolution);
  table.add<TransposedConvolutionOp>(transposedConvolution);
  table.add<ConvolutionBackwardOp>(convolutionBackward);
  table.add<RouteOp>(route);
  table.add<DispatchOp>(dispatch);
  table.add<CombineOp>(combine);
  table.add<ExpertMatmulOp>(expertMatmul);
  table.add<ExpertOuterOp>(expertOuter);
}
