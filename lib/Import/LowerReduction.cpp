//===- LowerReduction.cpp - Rules for reductions, pools, norms -------------===//
#include "Lowering.h"
#include "absl/strings/str_cat.h"

using namespace moai;

llvm::SmallVector<DimId, 4> Lowering::reducedShape(ValueId value, llvm::ArrayRef<int64_t> reduced, bool keep) {
  llvm::SmallVector<DimId, 4> shape;
  for (auto [index, dim] : llvm::enumerate(dims(value)))
    if (!llvm::is_contained(reduced, static_cast<int64_t>(index)))
      shape.push_back(dim);
    else if (keep)
      shape.push_back(one());
  return shape;
}

ValueId Lowering::reduce(llvm::StringRef kind, ValueId value, llvm::SmallVector<int64_t, 4> reduced, bool keep, DType dtype) {
  if (reduced.empty())
    for (size_t i = 0; i < rank(value); ++i)
      reduced.push_back(i);
  auto shape = reducedShape(value, reduced, keep);
  ValueId result = emitOne(OpCode::Reduce, kind, {value}, dtype, shape, reduced);
  graph.ops.back().moreInts = {keep};
  return result;
}

static void reduce(Lowering &l) {
  llvm::StringRef kind = l.node->target;
  kind = kind.drop_front(kind.find('.') + 1);
  kind = kind.take_front(kind.find('.'));
  kind = kind == "max" ? "amax" : kind == "min" ? "amin" : kind;
  ValueId self = l.tensor("self");
  if (l.has("other")) {
    ValueId other = l.cast(l.tensor("other"), l.outputMeta(0).dtype), own = l.cast(self, l.outputMeta(0).dtype);
    return l.setOutput(
        l.emitOne(OpCode::Elementwise, kind == "amax" ? "maximum" : "minimum", {own, other}, l.dtype(own), l.broadcast({own, other})));
  }
  auto dims = l.dimensions("dim", l.rank(self));
  ValueId result = l.reduce(kind, self, dims, l.flag("keepdim", false), l.outputMeta(0).dtype);
  l.setOutput(0, result);
  if (l.numOutputs() > 1) { // max and min along a dimension also say where
    ValueId where = l.reduce(kind == "amax" ? "argmax" : "argmin", self, dims, l.flag("keepdim", false), l.outputMeta(1).dtype);
    l.setOutput(1, where);
  }
}

static void scan(Lowering &l) {
  llvm::StringRef kind = l.node->target;
  kind = kind.drop_front(kind.find('.') + 1);
  kind = kind.take_front(kind.find('.'));
  ValueId self = l.tensor("self");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  ValueId value = l.cast(self, l.outputMeta(0).dtype);
  l.setOutput(l.emitOne(OpCode::Scan, kind, {value}, l.dtype(value), shape, {l.dimension("dim", 0, shape.size())}));
}

static void softmax(Lowering &l) {
  ValueId self = l.cast(l.tensor("self"), l.outputMeta(0).dtype);
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  l.setOutput(l.emitOne(OpCode::Softmax, "", {self}, l.dtype(self), shape,
                        {l.dimension("dim", -1, shape.size()), l.node->target.contains("log_softmax")}));
}

//===----------------------------------------------------------------------===//
// Pools
//===----------------------------------------------------------------------===//

static void emitPool(Lowering &l, llvm::StringRef kind, llvm::ArrayRef<int64_t> window, llvm::ArrayRef<int64_t> strides,
                     llvm::ArrayRef<int64_t> padding, llvm::ArrayRef<int64_t> dilation, bool countPadding) {
  ValueId self = l.tensor("self");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  for (size_t i = 2; i < shape.size(); ++i)
    shape[i] = l.constant(l.outputMeta(0).sizes[i].value);
  ValueId result = l.emitOne(OpCode::Pool, kind, {self}, l.dtype(self), shape, window);
  GraphOp &op = l.graph.ops.back();
  for (llvm::ArrayRef<int64_t> list : {strides, padding, dilation})
    op.moreInts.append(list.begin(), list.end());
  op.moreInts.push_back(countPadding);
  l.setOutput(result);
}

static void pool(Lowering &l) {
  bool isMax = l.node->target.contains("max_pool");
  size_t spatial = l.integers("kernel_size").size(), rank = l.outputMeta(0).sizes.size();
  spatial = l.node->target.contains("1d") ? 1 : l.node->target.contains("3d") ? 3 : std::max<size_t>(spatial, 2);
  bool wantsIndices = l.numOutputs() > 1 && !l.node->outputs[1].empty();
  if (l.rank(l.tensor("self")) != spatial + 2 || rank != spatial + 2 || wantsIndices || l.has("divisor_override"))
    return l.lowerOpaque();
  auto perDimension = [&](const char *name, llvm::ArrayRef<int64_t> otherwise) {
    auto values = l.integers(name);
    if (values.empty())
      values.assign(otherwise.begin(), otherwise.end());
    values.resize(spatial, values.back());
    for (int64_t value : values)
      if (value < 0 || value > INT32_MAX)
        l.fail(absl::StrCat("has ", value, " in its ", name, "; expected a size from 0 to ", INT32_MAX));
    return values;
  };
  auto window = perDimension("kernel_size", {1});
  auto strides = perDimension("stride", window), padding = perDimension("padding", {0});
  bool countsPadding = l.flag("count_include_pad", true);
  // An average over a window that reaches beyond its padding (ceil_mode) counts what lies on it, but not what lies beyond. In doubles,
  // since a file may claim any size.
  for (size_t i = 0; !isMax && countsPadding && i < spatial; ++i)
    if ((static_cast<double>(l.outputMeta(0).sizes[i + 2].value) - 1) * static_cast<double>(strides[i]) + static_cast<double>(window[i]) >
        static_cast<double>(l.graph.dims.hint(l.dims(l.tensor("self"))[i + 2])) + 2.0 * static_cast<double>(padding[i]))
      return l.lowerOpaque();
  emitPool(l, isMax ? "max" : "avg", window, strides, padding, perDimension("dilation", {1}), countsPadding);
}

// Windows that divide the dimension evenly are a plain pool; one window for all of it is a reduction.
static void adaptivePool(Lowering &l) {
  ValueId self = l.tensor("self");
  bool isMax = l.node->target.contains("max_pool");
  size_t rank = l.rank(self), spatial = l.node->target.contains("1d") ? 1 : l.node->target.contains("3d") ? 3 : 2;
  const pt2::TensorMeta &meta = l.outputMeta(0);
  if (rank != spatial + 2 || meta.sizes.size() != rank || l.numOutputs() > 1)
    return l.lowerOpaque();
  llvm::SmallVector<int64_t, 4> window, all;
  bool whole = true;
  for (size_t i = 2; i < rank; ++i) {
    int64_t in = l.graph.dims.hint(l.dims(self)[i]), out = meta.sizes[i].value;
    if (out < 1 || in % out)
      return l.lowerOpaque();
    whole &= out == 1;
    all.push_back(static_cast<int64_t>(i));
    window.push_back(in / out);
  }
  if (whole)
    return l.setOutput(l.reduce(isMax ? "amax" : "mean", self, all, /*keep=*/true, l.dtype(self)));
  llvm::SmallVector<int64_t, 4> none(spatial, 0), ones(spatial, 1);
  emitPool(l, isMax ? "max" : "avg", window, window, none, ones, true);
}

//===----------------------------------------------------------------------===//
// Norms
//===----------------------------------------------------------------------===//

static void normalise(Lowering &l, llvm::StringRef kind, int64_t axes, llvm::ArrayRef<DimId> statisticsShape, DType statisticsType) {
  ValueId input = l.tensor("input"), weight = l.optionalTensor("weight"), bias = l.optionalTensor("bias");
  llvm::SmallVector<DimId, 4> shape(l.dims(input)), statistics(statisticsShape.begin(), statisticsShape.end());
  ValueId result = l.newValue(l.outputMeta(0).dtype, shape);
  // Mean and reciprocal deviation, or only the latter.
  statistics.push_back(l.constant(kind == "rms_norm" ? 1 : 2));
  ValueId stats = l.newValue(statisticsType, statistics);
  GraphOp &op = l.emit(OpCode::Normalize, kind, {input, weight, bias});
  op.ints = {axes};
  // Without one, rms_norm takes the distance from 1 to the next number of the type that it computes in.
  double smallest = l.dtype(input) == DType::F64 ? 0x1p-52 : 0x1p-23;
  op.floats = {l.number("eps", kind == "rms_norm" ? smallest : 1e-5)};
  op.results = {result, stats};
  for (ValueId v : op.results)
    l.graph.values[v].producer = static_cast<int32_t>(l.graph.ops.size() - 1);
  l.setOutput(result);
}

static void layerNorm(Lowering &l) {
  ValueId input = l.tensor("input");
  size_t axes = l.integers("normalized_shape").size();
  if (axes < 1 || axes > l.rank(input))
    l.fail(absl::StrCat("normalises ", axes, " dimensions of a tensor of rank ", l.rank(input)));
  llvm::SmallVector<DimId, 4> statistics(l.dims(input).drop_back(axes));
  normalise(l, l.node->target.contains("rms_norm") ? "rms_norm" : "layer_norm", static_cast<int64_t>(axes), statistics, l.dtype(input));
}

static void groupNorm(Lowering &l) {
  ValueId input = l.tensor("input");
  int64_t groups = l.integer(l.has("group") ? "group" : "num_groups", 1);
  if (l.rank(input) < 2 || groups < 1 || groups > (1 << 20))
    l.fail(absl::StrCat("normalises ", groups, " groups of a tensor of rank ", l.rank(input)));
  normalise(l, "group_norm", groups, {l.dims(input)[0], l.constant(groups)}, l.dtype(input));
}

// Each channel of each sample by itself; running statistics of those are not kept.
static void instanceNorm(Lowering &l) {
  ValueId input = l.tensor("input");
  if (l.rank(input) < 3 || !l.flag("use_input_stats", true) || l.has("running_mean") || l.has("running_var") ||
      !l.graph.dims.dim(l.dims(input)[1]).isConstant())
    return l.lowerOpaque();
  DimId samples = l.dims(input)[0], channels = l.dims(input)[1];
  normalise(l, "group_norm", l.graph.dims.hint(channels), {samples, channels}, l.dtype(input));
}

// What training leaves in a running statistic: a little of this batch's.
static ValueId updatedRunning(Lowering &l, ValueId running, ValueId input, llvm::StringRef kind, double momentum) {
  llvm::SmallVector<int64_t, 4> dims;
  for (size_t i = 0; i < l.rank(input); ++i)
    if (i != 1)
      dims.push_back(static_cast<int64_t>(i));
  llvm::SmallVector<DimId, 4> whole(l.dims(input));
  ValueId detached = l.emitOne(OpCode::Detach, "", {input}, l.dtype(input), whole);
  ValueId now = l.cast(l.reduce(kind, detached, dims, /*keep=*/false, l.dtype(input)), l.dtype(running));
  auto scale = [&](ValueId value, double factor) {
    llvm::SmallVector<DimId, 4> shape(l.dims(value));
    return l.emitOne(OpCode::Elementwise, "mul", {value}, l.dtype(value), shape, {}, {factor});
  };
  llvm::SmallVector<DimId, 4> shape(l.dims(running));
  ValueId kept = scale(running, 1 - momentum), added = scale(now, momentum);
  return l.emitOne(OpCode::Elementwise, "add", {kept, added}, l.dtype(running), shape);
}

// The updated statistics are written in place or, in graphs that carry their backward, the last two of five outputs.
static void updateRunning(Lowering &l, llvm::StringRef name, ValueId input, llvm::StringRef kind, unsigned output) {
  ValueId running = l.optionalTensor(name);
  if (running == kNoValue)
    return;
  ValueId updated = updatedRunning(l, running, input, kind, l.number("momentum", 0.1));
  if (l.node->target.contains("functional"))
    l.setOutput(output, updated);
  else
    l.write(name, updated);
}

// Outside of training the running statistics normalise: (x - mean) rsqrt(var + eps), per channel.
static ValueId normaliseByRunning(Lowering &l, ValueId input) {
  llvm::SmallVector<DimId, 4> shape(l.dims(input)), channels(l.rank(input), l.one());
  channels[1] = shape[1];
  auto perChannel = [&](llvm::StringRef name) { return l.reshape(l.tensor(name), channels); };
  auto emit = [&](llvm::StringRef kind, std::initializer_list<ValueId> operands, llvm::ArrayRef<DimId> dims,
                  llvm::ArrayRef<double> floats = {}) {
    return l.emitOne(OpCode::Elementwise, kind, operands, l.dtype(input), dims, {}, floats);
  };
  ValueId deviation = emit("rsqrt", {emit("add", {perChannel("running_var")}, channels, {l.number("eps", 1e-5)})}, channels);
  ValueId result = emit("mul", {emit("sub", {input, perChannel("running_mean")}, shape), deviation}, shape);
  if (l.has("weight"))
    result = emit("mul", {result, perChannel("weight")}, shape);
  return l.has("bias") ? emit("add", {result, perChannel("bias")}, shape) : result;
}

static void batchNorm(Lowering &l) {
  ValueId input = l.tensor("input");
  if (l.rank(input) < 2)
    l.fail(absl::StrCat("normalises a tensor of rank ", l.rank(input)));
  if (!l.flag("training", true))
    return l.setOutput(normaliseByRunning(l, input));
  updateRunning(l, "running_mean", input, "mean", 3);
  updateRunning(l, "running_var", input, "var", 4);
  normalise(l, "batch_norm", 1, {l.dims(input)[1]}, l.dtype(input));
}

void moai::addReductionRules(llvm::StringMap<LoweringRule> &rules) {
  for (const char *name : {"sum", "mean", "amax", "amin", "any", "all", "prod", "logsumexp", "max", "min", "argmax", "argmin"})
    rules[absl::StrCat("aten.", name)] = reduce;
  for (const char *name : {"cumsum", "cumprod", "cummax", "logcumsumexp"})
    rules[absl::StrCat("aten.", name)] = scan;
  for (const char *name : {"softmax", "_softmax", "log_softmax", "_log_softmax", "special_softmax", "special_log_softmax"})
    rules[absl::StrCat("aten.", name)] = softmax;
  for (const char *dims : {"1d", "2d", "3d"})
    for (const char *kind : {"max_pool", "avg_pool"}) {
      rules[absl::StrCat("aten.", kind, dims)] = pool;
      rules[absl::StrCat("aten.adaptive_", kind, dims)] = adaptivePool;
    }
  rules["aten.layer_norm"] = rules["aten.native_layer_norm"] = rules["aten.rms_norm"] = layerNorm;
  rules["aten.max_pool2d_with_indices"] = rules["aten.max_pool3d_with_indices"] = pool;
  rules["aten.group_norm"] = rules["aten.native_group_norm"] = groupNorm;
  rules["aten.instance_norm"] = instanceNorm;
  for (const char *name : {"batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional"})
    rules[absl::StrCat("aten.", name)] = batchNorm;
}
