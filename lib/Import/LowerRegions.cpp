//===- LowerRegions.cpp - Nested graphs, with and without gradients and autocast ===//
#include "Lowering.h"
#include "absl/strings/str_cat.h"
#include "llvm/ADT/StringSet.h"

using namespace moai;
using pt2::Argument;

//===----------------------------------------------------------------------===//
// Gradients
//===----------------------------------------------------------------------===//

bool Lowering::dependsOnTrained(ValueId value) {
  trained.resize(graph.values.size());
  if (!trainedOps)
    for (ValueId argument : graph.arguments)
      trained[argument] = graph.values[argument].role == Role::Parameter;
  for (; trainedOps < graph.ops.size(); ++trainedOps) {
    const GraphOp &op = graph.ops[trainedOps];
    if (op.code != OpCode::Detach && llvm::any_of(op.operands, [&](ValueId operand) { return operand != kNoValue && trained[operand]; }))
      for (ValueId result : op.results)
        trained[result] = pt2::isFloating(dtype(result));
  }
  return trained[value];
}

ValueId Lowering::detached(ValueId value) {
  if (!dependsOnTrained(value))
    return value;
  llvm::SmallVector<DimId, 4> shape(dims(value));
  return emitOne(OpCode::Detach, "", {value}, dtype(value), shape);
}

void Lowering::detachSlot(int index) {
  if (slots[index].hasGradient)
    return;
  slots[index].value = detached(read(index));
  slots[index].hasGradient = true;
}

void Lowering::writeSlot(int index, ValueId value) {
  slots[index].value = value;
  ++slots[index].version;
  int base = slots[index].base;
  if (base < 0)
    return;
  writeSlot(base, pasteIntoBase(slots[index], read(base), value));
  slots[index].baseVersion = slots[base].version;
}

//===----------------------------------------------------------------------===//
// Autocast on a GPU
//===----------------------------------------------------------------------===//

// What autocast runs in float32 on CUDA; an export on a CPU recorded these ops in the type of their operands.
static const llvm::StringSet<> &float32Ops() {
  static const llvm::StringSet<> names{"acos",
                                       "asin",
                                       "cosh",
                                       "erfinv",
                                       "exp",
                                       "expm1",
                                       "log",
                                       "log10",
                                       "log2",
                                       "log1p",
                                       "reciprocal",
                                       "rsqrt",
                                       "sinh",
                                       "tan",
                                       "pow",
                                       "softplus",
                                       "layer_norm",
                                       "native_layer_norm",
                                       "group_norm",
                                       "nll_loss",
                                       "kl_div",
                                       "l1_loss",
                                       "mse_loss",
                                       "huber_loss",
                                       "norm",
                                       "logsumexp",
                                       "smooth_l1_loss",
                                       "cross_entropy_loss",
                                       "binary_cross_entropy_with_logits",
                                       "nll_loss_forward",
                                       "upsample_bilinear2d",
                                       "upsample_bicubic2d",
                                       "frobenius_norm",
                                       "dist",
                                       "cosine_similarity",
                                       "cosine_embedding_loss",
                                       "hinge_embedding_loss",
                                       "margin_ranking_loss",
                                       "multi_margin_loss",
                                       "poisson_nll_loss",
                                       "soft_margin_loss",
                                       "triplet_margin_loss"};
  return names;
}

// The same, unless they are told a type.
static const llvm::StringSet<> &float32OpsWithoutType() {
  static const llvm::StringSet<> names{"prod", "softmax", "log_softmax", "cumprod", "cumsum", "linalg_vector_norm", "sum"};
  return names;
}

// Ops whose result has the type that was recorded: what autocast narrows, and casts.
static const llvm::StringSet<> &typedOps() {
  static const llvm::StringSet<> names{"linear",
                                       "matmul",
                                       "mm",
                                       "bmm",
                                       "mv",
                                       "addmm",
                                       "baddbmm",
                                       "einsum",
                                       "conv1d",
                                       "conv2d",
                                       "conv3d",
                                       "convolution",
                                       "scaled_dot_product_attention",
                                       "_grouped_mm",
                                       "to",
                                       "_to_copy",
                                       "type_as",
                                       "float",
                                       "half",
                                       "convert_element_type"};
  return names;
}

static bool isHalf(DType type) { return type == DType::BF16 || type == DType::F16; }

// `aten.pow.Tensor_Scalar` -> pow
static llvm::StringRef opName(llvm::StringRef target) { return target.split('.').second.split('.').first; }

bool Lowering::runsInFloat32(const pt2::Node &current) const {
  if (!region.gpuAutocast)
    return false;
  llvm::StringRef name = opName(current.target);
  if (float32OpsWithoutType().contains(name))
    return llvm::none_of(current.arguments, [](const Argument &argument) { return argument.name == "dtype" && !argument.ints.empty(); });
  return float32Ops().contains(name);
}

// Half-precision outputs of what runs in float32, and of what reads such outputs, are in float32 as well.
void Lowering::widenOutputs(const pt2::Node &current, bool float32) {
  llvm::StringRef name = opName(current.target);
  Scope &scope = scopes.back();
  auto isWidened = [&](llvm::StringRef tensor) {
    auto slot = scope.slots.find(tensor);
    auto meta = scope.body->tensors.find(tensor);
    return slot != scope.slots.end() && meta != scope.body->tensors.end() && isHalf(meta->second.dtype) &&
           dtype(slots[slot->second].value) == DType::F32;
  };
  bool inPlace = name.ends_with("_") && !name.starts_with("__");
  if (typedOps().contains(name))
    return;
  for (const Argument &argument : current.arguments)
    if (!inPlace || argument.name == "self")
      float32 |= llvm::any_of(argument.tensors, isWidened);
  if (!float32)
    return;
  for (llvm::StringRef output : current.outputs)
    if (auto meta = scope.body->tensors.find(output); meta != scope.body->tensors.end() && isHalf(meta->second.dtype)) {
      pt2::TensorMeta wide = meta->second;
      wide.dtype = DType::F32;
      scope.widened.insert_or_assign(output, std::move(wide));
      hasWidened = true;
    }
}

//===----------------------------------------------------------------------===//
// Nested graphs
//===----------------------------------------------------------------------===//

void Lowering::inlineGraph(const pt2::Graph &body, llvm::ArrayRef<const Argument *> arguments, RegionMode mode) {
  const pt2::Node *caller = node;
  RegionMode outside = region;
  if (mode.gradients && !outside.gradients)
    for (const Argument *argument : arguments)
      if (argument->kind == Argument::Kind::Tensor)
        detachSlot(slotOf(argument->tensors[0]));
  region = mode;
  if (body.inputs.size() != arguments.size())
    fail(absl::StrCat("passes ", arguments.size(), " arguments to a graph of ", body.inputs.size()));
  Scope inner;
  inner.body = &body;
  for (auto [input, argument] : llvm::zip(body.inputs, arguments)) {
    if (input.kind == Argument::Kind::Tensor && argument->kind == Argument::Kind::Tensor)
      inner.slots[input.tensors[0]] = slotOf(argument->tensors[0]);
    else if (!input.ints.empty() && !input.ints[0].symbol.empty() && !argument->ints.empty())
      inner.symbols[input.ints[0].symbol] = argument->ints[0].symbol.empty()
                                                ? Dim(argument->ints[0].value)
                                                : resolveSymbol(argument->ints[0].symbol, argument->ints[0].value);
  }
  scopes.push_back(std::move(inner));
  for (const pt2::Node &nested : body.nodes) {
    ordinal = nextOrdinal++;
    lowerNode(nested);
  }
  llvm::SmallVector<int, 4> results;
  for (const Argument &output : body.outputs)
    for (llvm::StringRef name : output.tensors)
      results.push_back(name.empty() ? -1 : slotOf(name));
  scopes.pop_back();
  node = caller;
  region = outside;
  if (outside.gradients && !mode.gradients)
    for (int result : results)
      if (result >= 0)
        detachSlot(result);
  for (unsigned i = 0; i < results.size() && i < node->outputs.size(); ++i)
    if (results[i] >= 0 && !node->outputs[i].empty())
      define(node->outputs[i], results[i]);
}

// wrap_with_set_grad_enabled(enabled, graph, ...), wrap_with_autocast(device, type, enabled, cache, graph, ...)
static void nestedGraph(Lowering &l) {
  llvm::SmallVector<const Argument *, 4> arguments;
  const pt2::Graph *body = nullptr;
  std::optional<bool> enabled;
  for (const Argument &argument : l.node->arguments)
    if (body)
      arguments.push_back(&argument);
    else if (argument.kind == Argument::Kind::Bool && !enabled)
      enabled = argument.ints[0].value != 0;
    else if (argument.kind == Argument::Kind::Graph)
      body = argument.graph.get();
  if (!body)
    l.fail("has no nested graph");
  RegionMode mode = l.region;
  if (enabled && l.node->target.contains("wrap_with_set_grad_enabled"))
    mode.gradients = *enabled;
  if (enabled && l.node->target.contains("wrap_with_autocast"))
    mode.gpuAutocast = *enabled && l.autocastsOnGpu;
  l.inlineGraph(*body, arguments, mode);
}

void moai::addRegionRules(llvm::StringMap<LoweringRule> &rules) {
  for (const char *name : {"wrap_with_set_grad_enabled", "wrap_with_autocast", "tag_activation_checkpoint", "checkpoint"})
    rules[std::string("higher_order.") + name] = nestedGraph;
}
