//===- LowerPointwise.cpp - Rules for elementwise ops and casts ------------===//
#include "Compose.h"
#include "absl/strings/str_cat.h"
#include <limits>

using namespace moai;
using pt2::Argument;

static bool isTensor(Lowering &l, llvm::StringRef name) {
  const Argument *argument = l.argument(name);
  return argument && argument->kind == Argument::Kind::Tensor;
}

// Tensors of an elementwise op, and then its constants; which arguments count is the caller's list. A constant ahead of a
// tensor becomes a tensor itself, so that the order is the arguments'.
static ValueId elementwise(Lowering &l, llvm::StringRef kind, std::initializer_list<llvm::StringRef> names,
                           llvm::ArrayRef<double> extra = {}) {
  llvm::SmallVector<ValueId, 4> operands;
  llvm::SmallVector<double, 2> scalars;
  for (auto name = names.begin(); name != names.end(); ++name)
    if (isTensor(l, *name))
      operands.push_back(l.tensor(*name));
    else if (l.has(*name) && std::any_of(name, names.end(), [&](llvm::StringRef each) { return isTensor(l, each); }))
      operands.push_back(l.emitOne(OpCode::Generate, "full", {}, l.outputMeta(0).dtype, {}, {}, {l.number(*name, 0)}));
    else if (l.has(*name))
      scalars.push_back(l.number(*name, 0));
  scalars.append(extra.begin(), extra.end());
  if (operands.empty())
    l.fail("has no tensor argument");
  return l.emitOne(OpCode::Elementwise, kind, operands, l.outputMeta(0).dtype, l.broadcast(operands), {}, scalars);
}

// Target name without namespace, overload and the underscore of an in-place op.
static llvm::StringRef baseName(Lowering &l, bool &inPlace) {
  llvm::StringRef name = l.node->target;
  if (name.count('.') > 1)
    name = name.take_front(name.rfind('.'));
  name = name.drop_front(name.find('.') + 1);
  inPlace = name.ends_with("_") && !name.starts_with("__");
  if (inPlace)
    name = name.drop_back();
  return name;
}

static void finish(Lowering &l, ValueId result, bool inPlace) {
  if (inPlace) {
    l.write("self", result);
    // The op returns the tensor it wrote.
    l.setOutput(result);
  } else {
    l.setOutput(result);
  }
}

// A bound that is a tensor gets the gradient where it replaces what is beyond it.
static ValueId clampByTensors(Lowering &l) {
  DType dtype = l.outputMeta(0).dtype;
  ValueId result = l.cast(l.tensor("self"), dtype);
  for (auto [name, beyond] : {std::pair("min", "lt"), {"max", "gt"}})
    if (l.has(name)) {
      ValueId bound = l.cast(l.tensor(name), dtype);
      result = choose(l, compareWith(l, beyond, result, bound), bound, result);
    }
  return result;
}

static void unary(Lowering &l) {
  bool inPlace;
  llvm::StringRef kind = baseName(l, inPlace);
  if (kind.starts_with("clamp") && (isTensor(l, "min") || isTensor(l, "max")))
    return finish(l, clampByTensors(l), inPlace);
  if (kind == "clamp" && !(l.has("min") && l.has("max")))
    kind = l.has("min") ? "clamp_min" : "clamp_max";
  finish(l, elementwise(l, kind, {"self", "exponent", "negative_slope", "alpha", "beta", "threshold", "min", "max", "min_val", "max_val"}),
         inPlace);
}

static void gelu(Lowering &l) { l.setOutput(elementwise(l, l.text("approximate", "none") == "tanh" ? "gelu_tanh" : "gelu", {"self"})); }

static void binary(Lowering &l) {
  bool inPlace;
  llvm::StringRef kind = baseName(l, inPlace);
  kind = llvm::StringRef(kind == "__and__" || kind == "bitwise_and" || kind == "logical_and"   ? "and"
                         : kind == "__or__" || kind == "bitwise_or" || kind == "logical_or"    ? "or"
                         : kind == "__xor__" || kind == "bitwise_xor" || kind == "logical_xor" ? "xor"
                         : kind == "true_divide"                                               ? "div"
                         : kind == "multiply"                                                  ? "mul"
                         : kind == "subtract"                                                  ? "sub"
                                                                                               : kind);
  llvm::SmallVector<double, 1> extra;
  if (kind == "div" && l.text("rounding_mode", "") == "floor")
    kind = "floor_divide";
  else if (kind == "div" && l.text("rounding_mode", "") == "trunc")
    kind = "trunc_divide";
  if (l.number("alpha", 1) != 1)
    extra.push_back(l.number("alpha", 1));
  finish(l, elementwise(l, kind, {"self", "input", "other", "exponent"}, extra), inPlace);
}

static void where(Lowering &l) { l.setOutput(elementwise(l, "where", {"condition", "self", "other"})); }

static void maskedFill(Lowering &l) {
  bool inPlace;
  baseName(l, inPlace);
  finish(l, elementwise(l, "masked_fill", {"self", "mask", "value"}), inPlace);
}

static void logicalNot(Lowering &l) { l.setOutput(elementwise(l, "not", {"self"})); }

static void addcmul(Lowering &l) {
  bool inPlace;
  llvm::StringRef kind = baseName(l, inPlace);
  finish(l, elementwise(l, kind, {"self", "tensor1", "tensor2", "value"}), inPlace);
}

static void lerp(Lowering &l) { l.setOutput(elementwise(l, "lerp", {"self", "end", "weight"})); }

// A weight for all, or one for each channel.
static void prelu(Lowering &l) {
  ValueId self = l.tensor("self"), weight = l.tensor("weight");
  if (l.rank(weight) == 1 && l.rank(self) >= 2) {
    llvm::SmallVector<DimId, 4> channels(l.rank(self), l.one());
    channels[1] = l.dims(weight)[0];
    weight = l.reshape(weight, channels);
  }
  l.setOutput(choose(l, compare(l, "gt", self, 0), self, pointwise(l, "mul", {self, weight})));
}

// Both cut out the values up to a limit; one also moves what is left by it.
static void shrink(Lowering &l) {
  ValueId self = l.tensor("self");
  double limit = l.number("lambd", 0.5);
  if (l.node->target.contains("softshrink"))
    return l.setOutput(pointwise(l, "sub", {self, pointwise(l, "clamp", {self}, {-limit, limit})}));
  ValueId isOut = compare(l, "le", pointwise(l, "abs", {self}), limit);
  l.setOutput(choose(l, isOut, scalarOf(l, 0, l.dtype(self)), self));
}

static void hypot(Lowering &l) {
  bool inPlace;
  baseName(l, inPlace);
  auto squared = [&](llvm::StringRef name) { return pointwise(l, "square", {l.cast(l.tensor(name), l.outputMeta(0).dtype)}); };
  finish(l, pointwise(l, "sqrt", {pointwise(l, "add", {squared("self"), squared("other")})}), inPlace);
}

static void frac(Lowering &l) {
  bool inPlace;
  baseName(l, inPlace);
  finish(l, elementwise(l, "fmod", {"self"}, {1}), inPlace);
}

// The sign of a zero counts: the angle of (other, 0) tells it.
static void copysign(Lowering &l) {
  bool inPlace;
  baseName(l, inPlace);
  DType dtype = l.outputMeta(0).dtype;
  ValueId size = pointwise(l, "abs", {l.cast(l.tensor("self"), dtype)});
  ValueId other = isTensor(l, "other") ? l.cast(l.tensor("other"), dtype) : scalarOf(l, l.number("other", 0), dtype);
  ValueId angle = pointwise(l, "atan2", {scalarOf(l, 0, dtype), other});
  finish(l, choose(l, compare(l, "gt", angle, 1), pointwise(l, "neg", {size}), size), inPlace);
}

// Largest finite number of the types that have infinities, and that training computes in; 0 for others.
static double largestOf(DType dtype) {
  switch (dtype) {
  case DType::F16:
    return 65504;
  case DType::BF16:
    return 0x1.FEp127;
  case DType::F32:
    return std::numeric_limits<float>::max();
  case DType::F64:
    return std::numeric_limits<double>::max();
  default:
    return 0;
  }
}

static void nanToNum(Lowering &l) {
  bool inPlace;
  baseName(l, inPlace);
  ValueId self = l.tensor("self");
  DType dtype = l.dtype(self);
  double most = largestOf(dtype);
  if (!pt2::isFloating(dtype))
    return finish(l, self, inPlace);
  if (most == 0)
    return l.lowerOpaque();
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  auto number = [&](const char *name, double otherwise) { return scalarOf(l, l.number(name, otherwise), dtype); };
  ValueId isNan = l.emitOne(OpCode::Elementwise, "isnan", {self}, DType::Bool, shape);
  ValueId result = choose(l, isNan, number("nan", 0), self);
  result = choose(l, compare(l, "gt", self, most), number("posinf", most), result);
  finish(l, choose(l, compare(l, "lt", self, -most), number("neginf", -most), result), inPlace);
}

//===----------------------------------------------------------------------===//
// Casts, copies, fills
//===----------------------------------------------------------------------===//

static void to(Lowering &l) {
  ValueId self = l.tensor("self");
  DType wanted = l.outputMeta(0).dtype;
  if (l.dtype(self) == wanted && !l.flag("copy", false)) {
    l.setOutput(self);
    l.markView("self");
    return;
  }
  l.setOutput(l.cast(self, wanted));
}

static void copyOf(Lowering &l) {
  ValueId self = l.tensor("self");
  if (l.dtype(self) != l.outputMeta(0).dtype)
    return l.setOutput(l.cast(self, l.outputMeta(0).dtype));
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  l.setOutput(l.emitOne(OpCode::Copy, "", {self}, l.dtype(self), shape));
}

// `contiguous` copies only what isn't; whether that is so depends on strides, so it becomes a reshape to its own shape's
// flat form and back, which copies exactly when it must.
static void contiguous(Lowering &l) {
  l.setOutput(l.tensor("self"));
  l.markView("self");
}

static void alias(Lowering &l) {
  l.setOutput(l.tensor(l.has("self") ? "self" : "input"));
  l.markView(l.has("self") ? "self" : "input");
}

static void detach(Lowering &l) {
  ValueId self = l.tensor("self");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  l.setOutput(pt2::isFloating(l.dtype(self)) ? l.emitOne(OpCode::Detach, "", {self}, l.dtype(self), shape) : self);
  l.markView("self");
}

static void copyInto(Lowering &l) {
  ValueId self = l.tensor("self"), source = l.cast(l.tensor("src"), l.dtype(l.tensor("self")));
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  if (l.dims(source) != l.dims(self)) {
    shape = l.broadcast({source, self});
    source = l.emitOne(OpCode::Expand, "", {source}, l.dtype(source), shape);
  }
  l.write("self", source);
  l.setOutput(source);
}

static void fill(Lowering &l) {
  ValueId self = l.tensor("self");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  bool inPlace;
  llvm::StringRef name = baseName(l, inPlace);
  ValueId result;
  if (l.argument("value") && l.argument("value")->kind == Argument::Kind::Tensor)
    result = l.emitOne(OpCode::Expand, "", {l.cast(l.tensor("value"), l.dtype(self))}, l.dtype(self), shape);
  else
    result = l.emitOne(OpCode::Generate, "full", {}, l.dtype(self), shape, {}, {name == "zero" ? 0.0 : l.number("value", 0)});
  finish(l, result, inPlace);
}

static void dropout(Lowering &l) {
  ValueId self = l.tensor(l.has("input") ? "input" : "self");
  double p = l.number("p", 0.5);
  if (!(p >= 0 && p <= 1))
    l.fail(absl::StrCat("has the probability ", p, ", expected 0 to 1"));
  if (p == 0 || !l.flag("train", true)) {
    l.setOutput(self);
    return;
  }
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  ValueId result = l.newValue(l.dtype(self), shape), mask = l.newValue(DType::Bool, shape);
  GraphOp &op = l.emit(OpCode::Dropout, "", {self});
  op.floats = {p};
  op.results = {result, mask};
  for (ValueId v : op.results)
    l.graph.values[v].producer = static_cast<int32_t>(l.graph.ops.size() - 1);
  l.setOutput(0, result);
  if (l.numOutputs() > 1)
    l.setOutput(1, mask);
}

static void glu(Lowering &l) {
  ValueId self = l.tensor("self");
  int64_t dim = l.dimension("dim", -1, l.rank(self));
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  if (shape.empty())
    l.fail("halves a scalar");
  int64_t half = l.graph.dims.hint(shape[dim]) / 2;
  shape[dim] = l.constant(half);
  ValueId value = l.slice(self, dim, 0, shape[dim]), gate = l.slice(self, dim, Dim(half), shape[dim]);
  gate = l.emitOne(OpCode::Elementwise, "sigmoid", {gate}, l.dtype(self), shape);
  l.setOutput(l.emitOne(OpCode::Elementwise, "mul", {value, gate}, l.dtype(self), shape));
}

// Pairs of reals and complex numbers share memory.
static void complexView(Lowering &l) {
  ValueId self = l.tensor("self");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  if (l.node->target.contains("view_as_real")) {
    shape.push_back(l.constant(2));
  } else {
    if (shape.empty() || l.graph.dims.hint(shape.back()) != 2)
      l.fail("expects a last dimension of 2");
    shape.pop_back();
  }
  l.setOutput(l.emitOne(OpCode::ComplexView, "", {self}, l.outputMeta(0).dtype, shape));
  l.markView("self");
}

static void polar(Lowering &l) { l.setOutput(elementwise(l, "polar", {"abs", "angle"})); }

void moai::addPointwiseRules(llvm::StringMap<LoweringRule> &rules) {
  for (const char *name :
       {"neg",       "abs",       "sqrt",        "rsqrt",       "exp",     "expm1",    "log",          "log1p",      "log2",
        "sin",       "cos",       "tan",         "tanh",        "sigmoid", "silu",     "relu",         "relu6",      "leaky_relu",
        "elu",       "hardtanh",  "hardswish",   "hardsigmoid", "mish",    "softplus", "erf",          "reciprocal", "clamp",
        "clamp_min", "clamp_max", "log_sigmoid", "sign",        "floor",   "ceil",     "round",        "trunc",      "square",
        "isnan",     "isinf",     "isfinite",    "atan",        "asin",    "acos",     "sinh",         "cosh",       "asinh",
        "acosh",     "atanh",     "sinc",        "selu",        "celu",    "softsign", "tanhshrink",   "exp2",       "erfinv",
        "logit",     "bernoulli", "angle",       "real",        "imag",    "conj",     "resolve_conj", "resolve_neg"}) {
    rules[absl::StrCat("aten.", name)] = unary;
    rules[absl::StrCat("aten.", name, "_")] = unary;
  }
  for (const char *name : {"add",
                           "sub",
                           "rsub",
                           "mul",
                           "div",
                           "pow",
                           "maximum",
                           "minimum",
                           "fmod",
                           "remainder",
                           "floor_divide",
                           "eq",
                           "ne",
                           "lt",
                           "le",
                           "gt",
                           "ge",
                           "bitwise_and",
                           "bitwise_or",
                           "bitwise_xor",
                           "logical_and",
                           "logical_or",
                           "logical_xor",
                           "atan2",
                           "bitwise_left_shift",
                           "bitwise_right_shift",
                           "multiply",
                           "true_divide",
                           "subtract",
                           "xlogy",
                           "logaddexp"}) {
    rules[absl::StrCat("aten.", name)] = binary;
    rules[absl::StrCat("aten.", name, "_")] = binary;
  }
  rules["aten.__and__"] = rules["aten.__or__"] = rules["aten.__xor__"] = binary;
  rules["aten.gelu"] = gelu;
  rules["aten.prelu"] = rules["aten._prelu_kernel"] = prelu;
  rules["aten.softshrink"] = rules["aten.hardshrink"] = shrink;
  rules["aten.hypot"] = rules["aten.hypot_"] = hypot;
  rules["aten.frac"] = rules["aten.frac_"] = frac;
  rules["aten.copysign"] = rules["aten.copysign_"] = copysign;
  rules["aten.nan_to_num"] = rules["aten.nan_to_num_"] = nanToNum;
  rules["aten.where"] = where;
  rules["aten.masked_fill"] = rules["aten.masked_fill_"] = maskedFill;
  rules["aten.logical_not"] = rules["aten.bitwise_not"] = logicalNot;
  rules["aten.addcmul"] = rules["aten.addcdiv"] = rules["aten.addcmul_"] = rules["aten.addcdiv_"] = addcmul;
  rules["aten.lerp"] = lerp;
  for (const char *name : {"aten.to", "aten._to_copy", "aten.type_as", "prims.convert_element_type", "aten.float", "aten.half"})
    rules[name] = to;
  rules["aten.clone"] = rules["aten.lift_fresh_copy"] = copyOf;
  rules["aten.contiguous"] = contiguous;
  for (const char *name : {"aten.alias", "aten.lift_fresh", "aten.requires_grad_", "aten.positive", "aten.view_as"})
    rules[name] = alias;
  rules["aten.detach"] = rules["aten.detach_"] = detach;
  rules["aten.copy_"] = rules["aten.copy"] = copyInto;
  rules["aten.fill_"] = rules["aten.fill"] = rules["aten.zero_"] = fill;
  rules["aten.dropout"] = rules["aten.dropout_"] = rules["aten.native_dropout"] = rules["aten.feature_dropout"] = dropout;
  rules["aten.glu"] = glu;
  rules["aten.polar"] = polar;
  rules["aten.view_as_complex"] = rules["aten.view_as_real"] = complexView;
}
