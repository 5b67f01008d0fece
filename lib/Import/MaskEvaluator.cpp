//===- MaskEvaluator.cpp - Values of shape-only tensors, point by point ----===//
#include "MaskEvaluator.h"
#include <cmath>

using namespace moai;

// Whole tensors up to this many elements are computed once: positions, document numbers, row and column vectors.
static constexpr int64_t kSmall = 1 << 16;
static constexpr unsigned kMaxDepth = 200;

bool MaskEvaluator::isPure(ValueId value) {
  auto it = pure.find(value);
  if (it != pure.end())
    return it->second;
  const GraphOp *op = graph.producerOf(value);
  bool result = op && op->code != OpCode::Opaque && op->code != OpCode::Dropout && !(op->code == OpCode::Generate && op->kind == "random");
  if (result)
    for (ValueId operand : op->operands)
      if (operand != kNoValue && !isPure(operand)) {
        result = false;
        break;
      }
  return pure[value] = result;
}

llvm::ArrayRef<int64_t> MaskEvaluator::shapeOf(ValueId value) {
  auto it = shapes.find(value);
  if (it == shapes.end()) {
    Index shape;
    for (DimId dim : graph.values[value].dims)
      shape.push_back(graph.dims.dim(dim).evaluate(binding));
    it = shapes.try_emplace(value, std::move(shape)).first;
  }
  return it->second;
}

static int64_t flatten(llvm::ArrayRef<int64_t> index, llvm::ArrayRef<int64_t> shape) {
  int64_t flat = 0;
  for (size_t i = 0; i < index.size(); ++i)
    flat = flat * shape[i] + index[i];
  return flat;
}

static llvm::SmallVector<int64_t, 4> unflatten(int64_t flat, llvm::ArrayRef<int64_t> shape) {
  llvm::SmallVector<int64_t, 4> index(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    index[i] = flat % shape[i];
    flat /= shape[i];
  }
  return index;
}

const std::vector<double> *MaskEvaluator::materialise(ValueId value) {
  auto it = small.find(value);
  if (it != small.end())
    return it->second.get();
  llvm::SmallVector<int64_t, 4> shape(shapeOf(value));
  int64_t count = 1;
  for (int64_t size : shape)
    count = saturatingMultiply(count, size);
  std::unique_ptr<std::vector<double>> result;
  if (count <= kSmall) {
    const GraphOp *op = graph.producerOf(value);
    result = std::make_unique<std::vector<double>>(count);
    if (op->code == OpCode::Scan && op->kind == "cumsum" && op->ints[0] == static_cast<int64_t>(shape.size()) - 1) {
      // Running sums in one sweep, instead of a sum per element.
      double sum = 0;
      for (int64_t i = 0; i < count && result; ++i) {
        auto element = at(op->operands[0], unflatten(i, shape));
        if (!element) {
          result = nullptr;
          break;
        }
        sum = i % shape.back() ? sum + *element : *element;
        (*result)[i] = sum;
      }
    } else
      for (int64_t i = 0; i < count; ++i) {
        auto element = compute(value, unflatten(i, shape));
        if (!element) {
          result = nullptr;
          break;
        }
        (*result)[i] = *element;
      }
  }
  return small.try_emplace(value, std::move(result)).first->second.get();
}

std::optional<double> MaskEvaluator::at(ValueId value, llvm::ArrayRef<int64_t> index) {
  llvm::ArrayRef<int64_t> shape = shapeOf(value);
  int64_t count = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i >= index.size() || index[i] < 0 || index[i] >= shape[i])
      return std::nullopt;
    count = saturatingMultiply(count, shape[i]);
  }
  if (!graph.producerOf(value) || depth > kMaxDepth)
    return std::nullopt;
  ++depth;
  std::optional<double> result;
  if (count <= kSmall) {
    int64_t flat = flatten(index.take_front(shape.size()), shape);
    if (const std::vector<double> *all = materialise(value))
      result = (*all)[flat];
  } else
    result = compute(value, index);
  --depth;
  return result;
}

// Operands are aligned at the last dimension and broadcast where they are 1.
std::optional<double> MaskEvaluator::operandAt(ValueId operand, llvm::ArrayRef<int64_t> index) {
  Index own(shapeOf(operand));
  size_t extra = index.size() - own.size();
  for (size_t i = 0; i < own.size(); ++i)
    own[i] = own[i] == 1 ? 0 : index[i + extra];
  return at(operand, own);
}

std::optional<double> MaskEvaluator::elementwise(const GraphOp &op, llvm::ArrayRef<int64_t> index) {
  llvm::StringRef kind = op.kind;
  if (kind == "tril" || kind == "triu") {
    double diagonal = op.floats.empty() ? 0 : op.floats[0];
    if (index.size() < 2)
      return std::nullopt;
    double distance = static_cast<double>(index[index.size() - 1] - index[index.size() - 2]);
    bool kept = kind == "tril" ? distance <= diagonal : distance >= diagonal;
    return kept ? operandAt(op.operands[0], index) : std::optional<double>(0);
  }
  llvm::SmallVector<double, 4> x;
  for (ValueId operand : op.operands) {
    auto value = operandAt(operand, index);
    if (!value)
      return std::nullopt;
    x.push_back(*value);
  }
  x.append(op.floats.begin(), op.floats.end());
  bool integral = !pt2::isFloating(graph.values[op.results[0]].dtype);
  if (x.size() == 1) {
    if (kind == "neg") return -x[0];
    if (kind == "not") return graph.values[op.results[0]].dtype == DType::Bool ? (x[0] == 0) : ~static_cast<int64_t>(x[0]);
    if (kind == "abs") return std::abs(x[0]);
    if (kind == "exp") return std::exp(x[0]);
    if (kind == "log") return std::log(x[0]);
    if (kind == "sqrt") return std::sqrt(x[0]);
    if (kind == "relu") return std::max(x[0], 0.0);
    if (kind == "sign") return (x[0] > 0) - (x[0] < 0);
    return std::nullopt;
  }
  if (kind == "where" && x.size() == 3) return x[0] != 0 ? x[1] : x[2];
  if (kind == "masked_fill" && x.size() == 3) return x[1] != 0 ? x[2] : x[0];
  if (x.size() != 2)
    return std::nullopt;
  double a = x[0], b = x[1];
  if (kind == "add") return a + b;
  if (kind == "sub") return a - b;
  if (kind == "rsub") return b - a;
  if (kind == "mul") return a * b;
  if (kind == "div") return a / b;
  if (kind == "floor_divide") return b == 0 ? std::nullopt : std::optional<double>(std::floor(a / b));
  if (kind == "remainder") return b == 0 ? std::nullopt : std::optional<double>(a - b * std::floor(a / b));
  if (kind == "pow") return std::pow(a, b);
  if (kind == "maximum" || kind == "clamp_min") return std::max(a, b);
  if (kind == "minimum" || kind == "clamp_max") return std::min(a, b);
  if (kind == "eq") return a == b;
  if (kind == "ne") return a != b;
  if (kind == "lt") return a < b;
  if (kind == "le") return a <= b;
  if (kind == "gt") return a > b;
  if (kind == "ge") return a >= b;
  if (!integral)
    return std::nullopt;
  int64_t m = static_cast<int64_t>(a), n = static_cast<int64_t>(b);
  if (kind == "and") return static_cast<double>(m & n);
  if (kind == "or") return static_cast<double>(m | n);
  if (kind == "xor") return static_cast<double>(m ^ n);
  return std::nullopt;
}

std::optional<double> MaskEvaluator::compute(ValueId value, llvm::ArrayRef<int64_t> index) {
  const GraphOp &op = *graph.producerOf(value);
  llvm::ArrayRef<int64_t> shape = shapeOf(value);
  switch (op.code) {
  case OpCode::Generate:
    if (op.kind == "arange")
      return op.floats[0] + op.floats[1] * static_cast<double>(index[0]);
    return op.kind == "full" && !op.floats.empty() ? std::optional<double>(op.floats[0]) : std::nullopt;
  case OpCode::Elementwise:
    return elementwise(op, index);
  case OpCode::Cast: {
    auto element = at(op.operands[0], index);
    if (element && graph.values[value].dtype == DType::Bool)
      return *element != 0;
    return element && !pt2::isFloating(graph.values[value].dtype) ? std::trunc(*element) : element;
  }
  case OpCode::Copy:
    return at(op.operands[0], index);
  case OpCode::Reshape:
    return at(op.operands[0], unflatten(flatten(index, shape), shapeOf(op.operands[0])));
  case OpCode::Transpose: {
    Index source(index.size());
    for (size_t i = 0; i < index.size(); ++i)
      source[op.ints[i]] = index[i];
    return at(op.operands[0], source);
  }
  case OpCode::Expand:
    return operandAt(op.operands[0], index);
  case OpCode::Slice: {
    Index source(index);
    source[op.ints[0]] = op.start.evaluate(binding) + op.ints[1] * index[op.ints[0]];
    return at(op.operands[0], source);
  }
  case OpCode::InsertSlice: {
    int64_t dim = op.ints[0], offset = index[dim] - op.start.evaluate(binding);
    if (offset >= 0 && offset % op.ints[1] == 0 && offset / op.ints[1] < shapeOf(op.operands[1])[dim]) {
      Index source(index);
      source[dim] = offset / op.ints[1];
      return at(op.operands[1], source);
    }
    return at(op.operands[0], index);
  }
  case OpCode::Concat: {
    Index source(index);
    for (ValueId operand : op.operands) {
      int64_t size = shapeOf(operand)[op.ints[0]];
      if (source[op.ints[0]] < size)
        return at(operand, source);
      source[op.ints[0]] -= size;
    }
    return std::nullopt;
  }
  case OpCode::Gather: {
    if (op.kind != "index" || op.ints.empty())
      return std::nullopt;
    // As in indexedShape: the indices' common shape stands where the indexed dimensions were, or first.
    size_t common = 0;
    for (size_t i = 1; i < op.operands.size(); ++i)
      common = std::max(common, shapeOf(op.operands[i]).size());
    bool adjacent = op.ints.back() - op.ints.front() + 1 == static_cast<int64_t>(op.ints.size());
    size_t place = adjacent ? op.ints.front() : 0, next = 0;
    llvm::ArrayRef<int64_t> commonIndex = index.slice(place, common);
    Index rest;
    for (size_t i = 0; i < index.size(); ++i)
      if (i < place || i >= place + common)
        rest.push_back(index[i]);
    Index source(shapeOf(op.operands[0]).size());
    for (size_t dim = 0; dim < source.size(); ++dim) {
      auto it = llvm::find(op.ints, static_cast<int64_t>(dim));
      if (it == op.ints.end()) {
        source[dim] = rest[next++];
        continue;
      }
      auto element = operandAt(op.operands[1 + (it - op.ints.begin())], commonIndex);
      if (!element)
        return std::nullopt;
      source[dim] = static_cast<int64_t>(*element);
      if (source[dim] < 0)
        source[dim] += shapeOf(op.operands[0])[dim];
    }
    return at(op.operands[0], source);
  }
  case OpCode::Scan: {
    if (op.kind != "cumsum")
      return std::nullopt;
    double sum = 0;
    Index source(index);
    for (int64_t i = 0; i <= index[op.ints[0]]; ++i) {
      source[op.ints[0]] = i;
      auto element = at(op.operands[0], source);
      if (!element)
        return std::nullopt;
      sum += *element;
    }
    return sum;
  }
  default:
    return std::nullopt;
  }
}
