//===- LowerMatmul.cpp - Rules for matrix products and attention -----------===//
#include "Compose.h"
#include "absl/strings/str_cat.h"

using namespace moai;

static std::string letters(size_t count, char first = 'a') {
  std::string text;
  for (size_t i = 0; i < count; ++i)
    text += static_cast<char>(first + i);
  return text;
}

// Under autocast the recorded result is narrower than the operands: the casts are ours to add. Casts of parameters are
// made once, as autocast caches them; equal casts are merged later.
static ValueId toResultType(Lowering &l, ValueId value) {
  if (value == kNoValue || !pt2::isFloating(l.dtype(value)))
    return value;
  return l.cast(value, l.outputMeta(0).dtype);
}

static void requireRank(Lowering &l, const char *what, ValueId value, size_t rank) {
  if (l.rank(value) != rank)
    l.fail(absl::StrCat("has a ", what, " of rank ", l.rank(value), ", expected ", rank));
}

static void requireSame(Lowering &l, DimId a, DimId b) {
  if (l.graph.dims.hint(a) != l.graph.dims.hint(b))
    l.fail(absl::StrCat("multiplies dimensions of size ", l.graph.dims.hint(a), " and ", l.graph.dims.hint(b)));
  l.graph.dims.unify(a, b, /*sure=*/true);
}

static void linear(Lowering &l) {
  ValueId input = toResultType(l, l.tensor("input")), weight = toResultType(l, l.tensor("weight")),
          bias = toResultType(l, l.optionalTensor("bias"));
  requireRank(l, "weight", weight, 2);
  if (l.rank(input) < 1)
    l.fail("has a scalar input");
  requireSame(l, l.dims(input).back(), l.dims(weight)[1]);
  llvm::SmallVector<DimId, 4> shape(l.dims(input));
  shape.back() = l.dims(weight)[0];
  std::string rows = letters(shape.size() - 1);
  l.setOutput(l.emitOne(OpCode::Contract, l.keep(rows + "k,nk->" + rows + "n"), {input, weight, bias}, l.outputMeta(0).dtype, shape));
}

// lhs [batch..., m, k] times rhs [batch..., k, n], with rhs perhaps without batch dimensions.
static ValueId multiply(Lowering &l, ValueId lhs, ValueId rhs, ValueId bias = kNoValue) {
  lhs = toResultType(l, lhs);
  rhs = toResultType(l, rhs);
  bool vector = l.rank(rhs) == 1, rowVector = l.rank(lhs) == 1;
  if (l.rank(lhs) < 1 || l.rank(rhs) < 1)
    l.fail("multiplies a scalar");
  if (rowVector && !vector) {
    llvm::SmallVector<DimId, 4> matrix{l.one(), l.dims(lhs)[0]};
    ValueId product = multiply(l, l.reshape(lhs, matrix), rhs);
    llvm::SmallVector<DimId, 4> shape(l.dims(product));
    shape.erase(shape.end() - 2);
    return l.reshape(product, shape);
  }
  size_t batch = l.rank(lhs) - (rowVector ? 1 : 2) + 0;
  DimId inner = vector ? l.dims(rhs)[0] : l.dims(rhs)[l.rank(rhs) - 2];
  requireSame(l, l.dims(lhs).back(), inner);
  llvm::SmallVector<DimId, 4> shape(l.dims(lhs));
  shape.pop_back();
  std::string rows = letters(shape.size());
  std::string right;
  if (l.rank(rhs) > 2) {
    // Batch dimensions are aligned at the right; a missing or broadcast one on the left is expanded first.
    size_t rightBatch = l.rank(rhs) - 2;
    if (rightBatch != batch) {
      size_t wanted = std::max(rightBatch, batch);
      auto widen = [&](ValueId value) {
        llvm::SmallVector<DimId, 4> wide(l.dims(value));
        while (wide.size() < wanted + 2)
          wide.insert(wide.begin(), l.one());
        return l.reshape(value, wide);
      };
      return multiply(l, widen(lhs), widen(rhs), bias);
    }
    for (size_t i = 0; i < batch; ++i) {
      DimId a = l.dims(lhs)[i], b = l.dims(rhs)[i];
      if (l.graph.dims.hint(a) == l.graph.dims.hint(b)) {
        l.graph.dims.unify(a, b, true);
        right += rows[i];
        continue;
      }
      // Broadcasting over a batch dimension of 1.
      llvm::SmallVector<DimId, 4> full(l.dims(l.graph.dims.hint(a) == 1 ? lhs : rhs));
      full[i] = l.graph.dims.hint(a) == 1 ? b : a;
      ValueId expanded = l.emitOne(OpCode::Expand, "", {l.graph.dims.hint(a) == 1 ? lhs : rhs}, l.dtype(lhs), full);
      return l.graph.dims.hint(a) == 1 ? multiply(l, expanded, rhs, bias) : multiply(l, lhs, expanded, bias);
    }
  }
  std::string result = rows;
  right += "k";
  if (!vector) {
    right += "n";
    result += "n";
    shape.push_back(l.dims(rhs).back());
  }
  return l.emitOne(OpCode::Contract, l.keep(rows + "k," + right + "->" + result), {lhs, rhs, bias}, l.outputMeta(0).dtype, shape);
}

static void matmul(Lowering &l) {
  for (const char *name : {"other", "mat2", "vec", "tensor"}) // the last two of mv and dot
    if (l.has(name))
      return l.setOutput(multiply(l, l.tensor("self"), l.tensor(name)));
  l.fail("has no second tensor");
}

static void outer(Lowering &l) {
  ValueId self = l.tensor("self"), other = l.tensor("vec2");
  requireRank(l, "first vector", self, 1);
  requireRank(l, "second vector", other, 1);
  llvm::SmallVector<DimId, 4> column{l.dims(self)[0], l.one()};
  l.setOutput(pointwise(l, "mul", {l.reshape(self, column), other}));
}

// Over pairs of dimensions, of which neither is broadcast.
static void contractPairs(Lowering &l, ValueId self, ValueId other, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> otherDims) {
  llvm::SmallVector<DimId, 4> from(l.dims(self)), with(l.dims(other)), shape;
  bool fits = from.size() + with.size() <= 26 && dims.size() == otherDims.size();
  for (size_t i = 0; fits && i < dims.size(); ++i)
    fits = l.graph.dims.hint(from[dims[i]]) == l.graph.dims.hint(with[otherDims[i]]);
  if (!fits)
    return l.lowerOpaque();
  std::string left = letters(from.size()), right = letters(with.size(), static_cast<char>('a' + from.size())), result;
  for (auto [dim, otherDim] : llvm::zip(dims, otherDims)) {
    requireSame(l, from[dim], with[otherDim]);
    right[otherDim] = left[dim];
  }
  for (size_t i = 0; i < from.size() + with.size(); ++i) {
    bool isOther = i >= from.size();
    int64_t dim = static_cast<int64_t>(isOther ? i - from.size() : i);
    if (llvm::is_contained(isOther ? otherDims : dims, dim))
      continue;
    result += isOther ? right[dim] : left[dim];
    shape.push_back(isOther ? with[dim] : from[dim]);
  }
  l.setOutput(l.emitOne(OpCode::Contract, l.keep(left + "," + right + "->" + result),
                        {toResultType(l, self), toResultType(l, other), kNoValue}, l.outputMeta(0).dtype, shape));
}

static void tensordot(Lowering &l) {
  ValueId self = l.tensor("self"), other = l.tensor("other");
  contractPairs(l, self, other, l.dimensions("dims_self", l.rank(self)), l.dimensions("dims_other", l.rank(other)));
}

static void inner(Lowering &l) {
  ValueId self = l.tensor("self"), other = l.tensor("other");
  if (l.rank(self) == 0 || l.rank(other) == 0)
    return l.setOutput(pointwise(l, "mul", {self, other}));
  contractPairs(l, self, other, {static_cast<int64_t>(l.rank(self)) - 1}, {static_cast<int64_t>(l.rank(other)) - 1});
}

// Component i is lhs[i+1] rhs[i+2] - lhs[i+2] rhs[i+1], counted modulo 3. Which dimension is meant may be left to the sizes, among
// them the batch.
static void cross(Lowering &l) {
  ValueId lhs = l.tensor("self"), rhs = l.tensor("other");
  auto shape = l.broadcast({lhs, rhs});
  bool isNamed = l.has("dim") || l.node->target.contains("linalg_cross");
  if (!isNamed || shape.empty())
    return l.lowerOpaque();
  int64_t dim = l.dimension("dim", -1, shape.size());
  if (!l.graph.dims.dim(shape[dim]).isConstant(3))
    return l.lowerOpaque();
  auto turned = [&](ValueId value, int64_t by) {
    value = broadcastTo(l, value, shape);
    ValueId back = l.slice(value, dim, Dim(by), l.constant(3 - by)), front = l.slice(value, dim, Dim(0), l.constant(by));
    return l.emitOne(OpCode::Concat, "", {back, front}, l.dtype(value), shape, {dim});
  };
  auto product = [&](int64_t by, int64_t other) { return pointwise(l, "mul", {turned(lhs, by), turned(rhs, other)}); };
  l.setOutput(pointwise(l, "sub", {product(1, 2), product(2, 1)}));
}

static void addmm(Lowering &l) {
  ValueId bias = toResultType(l, l.tensor("self"));
  bool batched = l.has("batch1");
  ValueId lhs = l.tensor(batched ? "batch1" : "mat1"), rhs = l.tensor(batched ? "batch2" : "mat2");
  double alpha = l.number("alpha", 1), beta = l.number("beta", 1);
  if (l.rank(bias) == 1 && !batched && beta == 1 && alpha == 1) {
    l.setOutput(multiply(l, lhs, rhs, bias));
    return;
  }
  auto scale = [&](ValueId value, double factor) {
    llvm::SmallVector<DimId, 4> shape(l.dims(value));
    return factor == 1 ? value : l.emitOne(OpCode::Elementwise, "mul", {value}, l.dtype(value), shape, {}, {factor});
  };
  ValueId product = scale(multiply(l, lhs, rhs), alpha);
  if (beta == 0)
    return l.setOutput(product);
  bias = scale(bias, beta);
  llvm::SmallVector<DimId, 4> shape = l.broadcast({product, bias});
  l.setOutput(l.emitOne(OpCode::Elementwise, "add", {product, bias}, l.dtype(product), shape));
}

static void einsum(Lowering &l) {
  llvm::StringRef equation = l.text("equation", "");
  auto operands = l.allTensors("tensors");
  std::string compact;
  for (char c : equation)
    if (c != ' ')
      compact += c;
  llvm::StringRef text = compact;
  auto [inputs, result] = text.split("->");
  auto [left, right] = inputs.split(',');
  if (operands.size() != 2 || right.empty() || text.find("->") == llvm::StringRef::npos || text.contains('.') ||
      left.size() != l.rank(operands[0]) || right.size() != l.rank(operands[1]) || right.contains(','))
    return l.lowerOpaque();
  llvm::DenseMap<char, DimId> factors;
  for (auto [names, operand] : {std::pair(left, operands[0]), {right, operands[1]}})
    for (auto [index, name] : llvm::enumerate(names)) {
      auto [it, isNew] = factors.try_emplace(name, l.dims(operand)[index]);
      if (!isNew)
        requireSame(l, it->second, l.dims(operand)[index]);
    }
  llvm::SmallVector<DimId, 4> shape;
  for (char name : result) {
    if (!factors.count(name))
      l.fail(absl::StrCat("has the letter '", std::string(1, name), "' only in its result"));
    shape.push_back(factors[name]);
  }
  l.setOutput(l.emitOne(OpCode::Contract, l.keep(compact), {toResultType(l, operands[0]), toResultType(l, operands[1]), kNoValue},
                        l.outputMeta(0).dtype, shape));
}

// What `same` padding of an even window adds after each dimension more than ahead of it.
static ValueId padUnevenly(Lowering &l, ValueId input, ValueId weight, llvm::ArrayRef<int64_t> dilation,
                           llvm::SmallVectorImpl<int64_t> &padding) {
  for (size_t i = 0; i < dilation.size(); ++i) {
    int64_t total = dilation[i] * (l.graph.dims.hint(l.dims(weight)[i + 2]) - 1);
    padding[i] = total / 2;
    if (total % 2 == 0)
      continue;
    llvm::SmallVector<DimId, 4> border(l.dims(input)), whole = border;
    border[i + 2] = l.one();
    whole[i + 2] = l.graph.dims.get(l.graph.dims.dim(whole[i + 2]) + Dim(1));
    ValueId zeros = l.emitOne(OpCode::Generate, "full", {}, l.dtype(input), border, {}, {0});
    input = l.emitOne(OpCode::Concat, "", {input, zeros}, l.dtype(input), whole, {static_cast<int64_t>(i + 2)});
  }
  return input;
}

static void convolution(Lowering &l) {
  bool isTransposed = l.flag("transposed", l.node->target.contains("conv_transpose"));
  llvm::StringRef mode = l.text("padding", "");
  ValueId input = toResultType(l, l.tensor("input")), weight = toResultType(l, l.tensor("weight")),
          bias = toResultType(l, l.optionalTensor("bias"));
  if (l.rank(input) < 3 || l.rank(weight) != l.rank(input))
    l.fail(absl::StrCat("convolves an input of rank ", l.rank(input), " with a weight of rank ", l.rank(weight)));
  size_t spatial = l.rank(input) - 2;
  auto perDimension = [&](const char *name, int64_t defaultValue) {
    auto values = l.integers(name);
    if (values.empty())
      values.push_back(defaultValue);
    values.resize(spatial, values.back());
    for (int64_t value : values)
      if (value < 0 || value > INT32_MAX)
        l.fail(absl::StrCat("has ", value, " in its ", name, "; expected a size from 0 to ", INT32_MAX));
    return values;
  };
  auto strides = perDimension("stride", 1), padding = perDimension("padding", 0), dilation = perDimension("dilation", 1);
  if (mode == "same")
    input = padUnevenly(l, input, weight, dilation, padding);
  const pt2::TensorMeta &meta = l.outputMeta(0);
  if (meta.sizes.size() != spatial + 2)
    l.fail("has a result of another rank than its input");
  int64_t groups = l.integer("groups", 1), channels = l.graph.dims.hint(l.dims(input)[1]);
  if (groups < 1 || groups > (1 << 20) ||
      channels != (isTransposed ? l.graph.dims.hint(l.dims(weight)[0]) : saturatingMultiply(l.graph.dims.hint(l.dims(weight)[1]), groups)))
    l.fail("has channels that don't match its weight and groups");
  DimId outputs = isTransposed ? l.graph.dims.get(l.graph.dims.dim(l.dims(weight)[1]) * Dim(groups)) : l.dims(weight)[0];
  llvm::SmallVector<DimId, 4> shape{l.dims(input)[0], outputs};
  for (size_t i = 0; i < spatial; ++i)
    shape.push_back(l.constant(meta.sizes[i + 2].value));
  OpCode code = isTransposed ? OpCode::TransposedConvolution : OpCode::Convolution;
  ValueId result = l.emitOne(code, "", {input, weight, bias}, meta.dtype, shape, strides);
  GraphOp &op = l.graph.ops.back();
  op.moreInts.append(padding.begin(), padding.end());
  op.moreInts.append(dilation.begin(), dilation.end());
  op.moreInts.push_back(groups);
  l.setOutput(result);
}

// The mask stays an operand ("bias") here; recognizeAttention decides what it is.
static void attention(Lowering &l) {
  ValueId query = toResultType(l, l.tensor("query")), key = toResultType(l, l.tensor("key")), value = toResultType(l, l.tensor("value"));
  if (l.rank(query) == 3) { // no head dimension
    auto withHead = [&](ValueId v) {
      requireRank(l, "key or value", v, 3);
      llvm::SmallVector<DimId, 4> shape(l.dims(v));
      shape.insert(shape.begin() + 1, l.one());
      return l.reshape(v, shape);
    };
    query = withHead(query);
    key = withHead(key);
    value = withHead(value);
  }
  requireRank(l, "query", query, 4);
  requireRank(l, "key", key, 4);
  requireRank(l, "value", value, 4);
  requireSame(l, l.dims(query)[3], l.dims(key)[3]);
  requireSame(l, l.dims(query)[0], l.dims(key)[0]);
  for (size_t i : {0, 1, 2})
    requireSame(l, l.dims(key)[i], l.dims(value)[i]);
  ValueId mask = l.optionalTensor(l.has("attn_bias") ? "attn_bias" : "attn_mask");
  if (mask != kNoValue && l.rank(mask) <= 4) {
    // Broadcast against the scores, whose lengths are those of query and key.
    DimId scores[4] = {l.dims(query)[0], l.dims(query)[1], l.dims(query)[2], l.dims(key)[2]};
    for (unsigned back = 1; back <= l.rank(mask); ++back)
      l.graph.dims.unify(l.dims(mask)[l.rank(mask) - back], scores[4 - back], /*sure=*/false);
  }
  double scale = l.number("scale", 0);
  if (!l.has("scale")) {
    int64_t width = l.graph.dims.hint(l.dims(query)[3]);
    scale = width > 0 ? 1.0 / std::sqrt(static_cast<double>(width)) : 1.0;
  }
  llvm::SmallVector<DimId, 4> shape(l.dims(query));
  shape[3] = l.dims(value)[3];
  ValueId result = l.newValue(l.dtype(query), shape);
  shape.pop_back();
  ValueId logsumexp = l.newValue(DType::F32, shape);
  GraphOp &op = l.emit(OpCode::Attention,
                       mask != kNoValue             ? "bias"
                       : l.flag("is_causal", false) ? "causal"
                                                    : "full",
                       {query, key, value, mask});
  op.ints = {0};
  // One key head for all queries, without being told to share it, is broadcast; no fused kernel of PyTorch's takes that.
  bool isBroadcast = l.graph.dims.isOne(l.dims(key)[1]) && !l.graph.dims.isOne(l.dims(query)[1]) && !l.flag("enable_gqa", false);
  op.moreInts = {isBroadcast};
  op.floats = {scale, l.number("dropout_p", 0)};
  op.results = {result, logsumexp};
  for (ValueId v : op.results)
    l.graph.values[v].producer = static_cast<int32_t>(l.graph.ops.size() - 1);
  if (l.outputMeta(0).sizes.size() == 3) {
    shape.assign(l.dims(result).begin(), l.dims(result).end());
    shape.erase(shape.begin() + 1);
    result = l.reshape(result, shape);
  }
  l.setOutput(result);
}

static void groupedMatmul(Lowering &l) {
  ValueId input = toResultType(l, l.tensor(l.has("self") ? "self" : "input"));
  ValueId weight = toResultType(l, l.tensor(l.has("mat2") ? "mat2" : "weight"));
  ValueId offsets = l.optionalTensor("offs");
  if (offsets == kNoValue || l.rank(input) != 2 || l.rank(weight) != 3 || l.rank(offsets) != 1)
    return l.lowerOpaque();
  requireSame(l, l.dims(input)[1], l.dims(weight)[1]);
  requireSame(l, l.dims(offsets)[0], l.dims(weight)[0]);
  l.setOutput(
      l.emitOne(OpCode::ExpertMatmul, "", {input, weight, offsets}, l.outputMeta(0).dtype, {l.dims(input)[0], l.dims(weight)[2]}, {0}));
}

void moai::addMatmulRules(llvm::StringMap<LoweringRule> &rules) {
  rules["aten.linear"] = linear;
  for (const char *name : {"aten.matmul", "aten.mm", "aten.bmm", "aten.mv", "aten.dot"})
    rules[name] = matmul;
  rules["aten.outer"] = rules["aten.ger"] = outer;
  rules["aten.tensordot"] = tensordot;
  rules["aten.inner"] = inner;
  rules["aten.linalg_cross"] = rules["aten.cross"] = cross;
  rules["aten.addmm"] = rules["aten.baddbmm"] = addmm;
  rules["aten.einsum"] = einsum;
  for (const char *name : {"aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution", "aten.conv_transpose1d",
                           "aten.conv_transpose2d", "aten.conv_transpose3d"})
    rules[name] = convolution;
  rules["aten.scaled_dot_product_attention"] = attention;
  for (const char *kernel : {"flash_attention", "flash_attention_for_cpu", "efficient_attention", "cudnn_attention"})
    rules[absl::StrCat("aten._scaled_dot_product_", kernel)] = attention;
  rules["aten._grouped_mm"] = rules["transformers.grouped_mm_fallback"] = groupedMatmul;
}
