//===- MaskEvaluator.cpp - Values of shape-only tensors, point by point ----===//
#include "MaskEvaluator.h"
#include "llvm/ADT/StringSwitch.h"
#include <cmath>

using namespace moai;

// Tensors up to the first number of elements are computed once as a whole, and vectors (positions, document numbers, rows
// and columns of a mask) up to the second.
static constexpr int64_t kSmall = 1 << 16, kLargestVector = 1 << 24;
static constexpr unsigned kMaxDepth = 200;

// Operands come before what is made of them, so one sweep tells all.
bool MaskEvaluator::isPure(ValueId value) {
  for (; seenOps < graph.ops.size(); ++seenOps) {
    const GraphOp &op = graph.ops[seenOps];
    bool result = op.code != OpCode::Opaque && op.code != OpCode::Dropout && !(op.code == OpCode::Generate && op.kind == "random") &&
                  llvm::all_of(op.operands, [&](ValueId operand) { return operand == kNoValue || facts[operand].pure; });
    for (ValueId made : op.results)
      facts[made].pure = result;
  }
  return facts[value].pure;
}

// Numbers that no integer comes near index nothing.
static int64_t toInteger(double value) { return std::abs(value) < 0x1p62 ? static_cast<int64_t>(value) : INT64_MIN; }

MaskEvaluator::Facts &MaskEvaluator::factsOf(ValueId value) {
  Facts &found = facts[value];
  if (found.elements < 0) {
    found.elements = 1;
    for (DimId dim : graph.values[value].dims) {
      found.shape.push_back(graph.dims.dim(dim).evaluate(binding));
      found.elements = saturatingMultiply(found.elements, std::max<int64_t>(0, found.shape.back()));
    }
  }
  return found;
}

bool MaskEvaluator::isSmall(const Facts &value) {
  if (value.elements <= kSmall)
    return true;
  int64_t largest = *std::max_element(value.shape.begin(), value.shape.end());
  return value.elements <= kLargestVector && value.elements <= 4 * largest;
}

llvm::ArrayRef<int64_t> MaskEvaluator::shapeOf(ValueId value) { return factsOf(value).shape; }

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
  Facts &found = factsOf(value);
  if (found.isMaterialised)
    return found.all.get();
  found.isMaterialised = true;
  if (depth > kMaxDepth)
    return nullptr;
  const GraphOp *op = graph.producerOf(value);
  if (op->code == OpCode::Elementwise) {
    ++depth;
    auto all = pointwise(*op, found);
    --depth;
    if (all) {
      found.all = std::make_unique<std::vector<double>>(std::move(*all));
      return found.all.get();
    }
  }
  // The same elements in the same order.
  if (op->code == OpCode::Reshape || op->code == OpCode::Copy || op->code == OpCode::Detach) {
    const Facts &source = factsOf(op->operands[0]);
    const std::vector<double> *all =
        source.elements == found.elements && graph.producerOf(op->operands[0]) ? materialise(op->operands[0]) : nullptr;
    if (all)
      found.all = std::make_unique<std::vector<double>>(*all);
    return found.all.get();
  }
  if (found.elements > elementsLeft)
    return nullptr;
  elementsLeft -= found.elements;
  std::vector<double> all(found.elements);
  // Running sums in one sweep, instead of a sum per element.
  bool isRunningSum = op->code == OpCode::Scan && op->kind == "cumsum" && op->ints[0] == static_cast<int64_t>(found.shape.size()) - 1;
  Index index(found.shape.size(), 0);
  double sum = 0;
  for (double &result : all) {
    auto element = isRunningSum ? at(op->operands[0], index) : compute(value, index);
    if (!element)
      return nullptr;
    sum = isRunningSum && index.back() ? sum + *element : *element;
    result = sum;
    for (size_t i = index.size(); i-- > 0 && ++index[i] == found.shape[i];)
      index[i] = 0;
  }
  found.all = std::make_unique<std::vector<double>>(std::move(all));
  return found.all.get();
}

std::optional<double> MaskEvaluator::at(ValueId value, llvm::ArrayRef<int64_t> index) {
  Facts &found = factsOf(value);
  if (found.elements == INT64_MAX)
    return std::nullopt;
  int64_t flat = 0;
  for (size_t i = 0; i < found.shape.size(); ++i) {
    if (i >= index.size() || index[i] < 0 || index[i] >= found.shape[i])
      return std::nullopt;
    flat = flat * found.shape[i] + index[i];
  }
  if (found.all)
    return (*found.all)[flat];
  if (!graph.producerOf(value) || depth > kMaxDepth)
    return std::nullopt;
  ++depth;
  std::optional<double> result;
  if (!isSmall(found))
    result = compute(value, index);
  else if (const std::vector<double> *all = materialise(value))
    result = (*all)[flat];
  --depth;
  return result;
}

// Operands are aligned at the last dimension and broadcast where they are 1.
std::optional<double> MaskEvaluator::operandAt(ValueId operand, llvm::ArrayRef<int64_t> index) {
  llvm::ArrayRef<int64_t> shape = shapeOf(operand);
  if (shape.empty())
    return at(operand, {});
  Index own(shape);
  if (own.size() > index.size())
    return std::nullopt;
  size_t extra = index.size() - own.size();
  for (size_t i = 0; i < own.size(); ++i)
    own[i] = own[i] == 1 ? 0 : index[i + extra];
  return at(operand, own);
}

namespace {
using Unary = double (*)(double);
using Binary = double (*)(double, double);
} // namespace

static Unary findUnary(llvm::StringRef kind, DType type) {
  return llvm::StringSwitch<Unary>(kind)
      .Case("neg", [](double x) { return -x; })
      .Case("not", type == DType::Bool ? Unary([](double x) -> double { return x == 0; })
                                       : Unary([](double x) { return static_cast<double>(~toInteger(x)); }))
      .Case("abs", [](double x) { return std::abs(x); })
      .Case("exp", [](double x) { return std::exp(x); })
      .Case("log", [](double x) { return std::log(x); })
      .Case("sqrt", [](double x) { return std::sqrt(x); })
      .Case("relu", [](double x) { return std::max(x, 0.0); })
      .Case("sign", [](double x) -> double { return (x > 0) - (x < 0); })
      .Default(nullptr);
}

static Binary findBinary(llvm::StringRef kind, DType type) {
  auto found = llvm::StringSwitch<Binary>(kind)
                   .Case("add", [](double a, double b) { return a + b; })
                   .Case("sub", [](double a, double b) { return a - b; })
                   .Case("rsub", [](double a, double b) { return b - a; })
                   .Case("mul", [](double a, double b) { return a * b; })
                   .Case("div", [](double a, double b) { return a / b; })
                   .Case("floor_divide", [](double a, double b) { return std::floor(a / b); })
                   .Case("remainder", [](double a, double b) { return a - b * std::floor(a / b); })
                   .Case("pow", [](double a, double b) { return std::pow(a, b); })
                   .Cases("maximum", "clamp_min", [](double a, double b) { return std::max(a, b); })
                   .Cases("minimum", "clamp_max", [](double a, double b) { return std::min(a, b); })
                   .Case("eq", [](double a, double b) -> double { return a == b; })
                   .Case("ne", [](double a, double b) -> double { return a != b; })
                   .Case("lt", [](double a, double b) -> double { return a < b; })
                   .Case("le", [](double a, double b) -> double { return a <= b; })
                   .Case("gt", [](double a, double b) -> double { return a > b; })
                   .Case("ge", [](double a, double b) -> double { return a >= b; })
                   .Default(nullptr);
  if (found || pt2::isFloating(type))
    return found;
  return llvm::StringSwitch<Binary>(kind)
      .Case("and", [](double a, double b) { return static_cast<double>(toInteger(a) & toInteger(b)); })
      .Case("or", [](double a, double b) { return static_cast<double>(toInteger(a) | toInteger(b)); })
      .Case("xor", [](double a, double b) { return static_cast<double>(toInteger(a) ^ toInteger(b)); })
      .Default(nullptr);
}

const MaskEvaluator::Function &MaskEvaluator::functionOf(const GraphOp &op) {
  std::optional<Function> &function = facts[op.results[0]].function;
  if (!function) {
    DType type = graph.values[op.results[0]].dtype;
    size_t arity = op.operands.size() + op.floats.size();
    function = Function{arity == 1 ? findUnary(op.kind, type) : nullptr, arity == 2 ? findBinary(op.kind, type) : nullptr};
  }
  return *function;
}

std::optional<double> MaskEvaluator::elementwise(const GraphOp &op, llvm::ArrayRef<int64_t> index) {
  if (op.kind == "tril" || op.kind == "triu") {
    double diagonal = op.floats.empty() ? 0 : op.floats[0];
    if (index.size() < 2)
      return std::nullopt;
    double distance = static_cast<double>(index[index.size() - 1] - index[index.size() - 2]);
    bool kept = op.kind == "tril" ? distance <= diagonal : distance >= diagonal;
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
  if (x.size() == 3) {
    if (op.kind == "where")
      return x[0] != 0 ? x[1] : x[2];
    return op.kind == "masked_fill" ? std::optional<double>(x[1] != 0 ? x[2] : x[0]) : std::nullopt;
  }
  const Function &function = functionOf(op);
  if (!function.unary && !function.binary)
    return std::nullopt;
  // A division of 0 by 0, say, decides nothing.
  double result = function.unary ? function.unary(x[0]) : function.binary(x[0], x[1]);
  return std::isnan(result) ? std::nullopt : std::optional<double>(result);
}

// A whole pointwise tensor of one or two operands, or one and a number, without looking up each element on its own.
std::optional<std::vector<double>> MaskEvaluator::pointwise(const GraphOp &op, const Facts &result) {
  auto [unary, binary] = functionOf(op);
  if (!unary && !binary)
    return std::nullopt;
  size_t rank = result.shape.size();
  const std::vector<double> *sources[2] = {nullptr, nullptr};
  Index strides[2];
  for (size_t i = 0; i < op.operands.size(); ++i) {
    const Facts &operand = factsOf(op.operands[i]);
    if (operand.shape.size() > rank || !isSmall(operand) || !graph.producerOf(op.operands[i]) ||
        !(sources[i] = materialise(op.operands[i])))
      return std::nullopt;
    strides[i].assign(rank, 0);
    int64_t stride = 1;
    for (size_t back = 1; back <= operand.shape.size(); ++back) {
      int64_t size = operand.shape[operand.shape.size() - back];
      if (size != 1 && size != result.shape[rank - back])
        return std::nullopt;
      strides[i][rank - back] = size == 1 ? 0 : stride;
      stride *= size;
    }
  }
  double second = op.floats.empty() ? 0 : op.floats.back();
  if (result.elements > elementsLeft)
    return std::nullopt;
  elementsLeft -= result.elements;
  std::vector<double> all(result.elements);
  Index index(rank, 0);
  int64_t at[2] = {0, 0};
  for (double &element : all) {
    double a = (*sources[0])[at[0]];
    element = unary ? unary(a) : binary(a, sources[1] ? (*sources[1])[at[1]] : second);
    if (std::isnan(element))
      return std::nullopt;
    for (size_t i = rank; i-- > 0;) {
      for (size_t source = 0; source < op.operands.size(); ++source)
        at[source] += strides[source][i];
      if (++index[i] < result.shape[i])
        break;
      for (size_t source = 0; source < op.operands.size(); ++source)
        at[source] -= strides[source][i] * index[i];
      index[i] = 0;
    }
  }
  return all;
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
  case OpCode::Detach:
    return at(op.operands[0], index);
  case OpCode::Reshape:
    if (factsOf(op.operands[0]).elements == 0)
      return std::nullopt;
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
    int64_t &position = source[op.ints[0]];
    if (__builtin_mul_overflow(position, op.ints[1], &position) || __builtin_add_overflow(position, op.start.evaluate(binding), &position))
      return std::nullopt;
    return at(op.operands[0], source);
  }
  case OpCode::InsertSlice: {
    int64_t dim = op.ints[0], offset;
    if (__builtin_sub_overflow(index[dim], op.start.evaluate(binding), &offset))
      return std::nullopt;
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
      source[dim] = toInteger(*element);
      if (source[dim] < 0)
        source[dim] += shapeOf(op.operands[0])[dim];
    }
    return at(op.operands[0], source);
  }
  default:
    return std::nullopt;
  }
}
