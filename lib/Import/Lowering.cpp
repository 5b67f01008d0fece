//===- Lowering.cpp - From framework nodes to the dialect's vocabulary -----===//
#include "Lowering.h"
#include "absl/strings/str_cat.h"
#include "llvm/Support/SaveAndRestore.h"

using namespace moai;
using pt2::Argument;

// Views are followed back to what owns their memory, again and again; real graphs have a few.
static constexpr unsigned kMaxViews = 256;

Lowering::Lowering(const pt2::ExportedProgram &program, TrainingGraph &graph, const llvm::StringMap<Dim> &symbols, Readings &readings,
                   bool autocastsOnGpu)
    : graph(graph), readings(readings), autocastsOnGpu(autocastsOnGpu), program(program), symbols(symbols) {}

void Lowering::fail(const std::string &what) const {
  std::string where = node ? absl::StrCat("node '", node->outputs.empty() ? "" : node->outputs[0].str(), "' (", node->target.str(), ")")
                           : std::string("the graph");
  throw ImportError(absl::StrCat("model.json: ", where, ": ", what));
}

//===----------------------------------------------------------------------===//
// Arguments of the current node
//===----------------------------------------------------------------------===//

const Argument *Lowering::argument(llvm::StringRef name) const {
  for (const Argument &argument : node->arguments)
    if (argument.name == name)
      return argument.kind == Argument::Kind::None ? nullptr : &argument;
  return nullptr;
}

int Lowering::slotOf(llvm::StringRef name) const {
  auto it = scopes.back().slots.find(name);
  if (it == scopes.back().slots.end())
    fail(absl::StrCat("reads tensor '", name.str(), "', which no earlier node and no input defines"));
  return it->second;
}

ValueId Lowering::optionalTensor(llvm::StringRef name) {
  const Argument *found = argument(name);
  if (!found)
    return kNoValue;
  if (found->kind != Argument::Kind::Tensor)
    fail(absl::StrCat("argument '", name.str(), "' is not a tensor"));
  return operand(read(slotOf(found->tensors[0])));
}

ValueId Lowering::operand(ValueId value) {
  bool half = dtype(value) == DType::BF16 || dtype(value) == DType::F16;
  return widensOperands && half ? cast(value, DType::F32) : value;
}

ValueId Lowering::tensor(llvm::StringRef name) {
  ValueId value = optionalTensor(name);
  if (value == kNoValue)
    fail(absl::StrCat("has no tensor argument '", name.str(), "'"));
  return value;
}

llvm::SmallVector<ValueId, 4> Lowering::tensors(llvm::StringRef name) {
  llvm::SmallVector<ValueId, 4> values;
  const Argument *found = argument(name);
  if (!found)
    return values;
  if (found->kind != Argument::Kind::Tensors && found->kind != Argument::Kind::Tensor)
    fail(absl::StrCat("argument '", name.str(), "' is not a list of tensors"));
  for (llvm::StringRef item : found->tensors)
    values.push_back(item.empty() ? kNoValue : operand(read(slotOf(item))));
  return values;
}

llvm::SmallVector<ValueId, 4> Lowering::allTensors(llvm::StringRef name) {
  auto values = tensors(name);
  if (llvm::is_contained(values, kNoValue))
    fail(absl::StrCat("argument '", name.str(), "' lacks a tensor"));
  return values;
}

int64_t Lowering::integer(llvm::StringRef name, int64_t defaultValue) {
  const Argument *found = argument(name);
  if (!found)
    return defaultValue;
  if (found->kind == Argument::Kind::SymInt && !found->ints[0].symbol.empty())
    return symbolicIntegers(name)[0]->evaluate(DimBinding());
  if (!found->ints.empty())
    return found->ints[0].value;
  if (!found->floats.empty() && std::abs(found->floats[0]) < 1e18)
    return static_cast<int64_t>(found->floats[0]);
  fail(absl::StrCat("argument '", name.str(), "' is not an integer"));
}

double Lowering::number(llvm::StringRef name, double defaultValue) {
  const Argument *found = argument(name);
  if (!found)
    return defaultValue;
  if (!found->floats.empty())
    return found->floats[0];
  if (!found->ints.empty()) {
    // A symbol's value isn't in the file.
    if (!found->ints[0].symbol.empty())
      throw DynamicNumber();
    return static_cast<double>(found->ints[0].value);
  }
  fail(absl::StrCat("argument '", name.str(), "' is not a number"));
}

bool Lowering::flag(llvm::StringRef name, bool defaultValue) { return integer(name, defaultValue) != 0; }

llvm::StringRef Lowering::text(llvm::StringRef name, llvm::StringRef defaultValue) {
  const Argument *found = argument(name);
  return found && found->kind == Argument::Kind::String ? found->text : defaultValue;
}

llvm::SmallVector<int64_t, 4> Lowering::integers(llvm::StringRef name) {
  llvm::SmallVector<int64_t, 4> result;
  if (const Argument *found = argument(name))
    for (const pt2::Size &size : found->ints)
      result.push_back(size.value);
  return result;
}

Dim Lowering::resolveSymbol(llvm::StringRef name, int64_t hint) const {
  auto local = scopes.back().symbols.find(name);
  if (local != scopes.back().symbols.end())
    return local->second;
  auto global = symbols.find(name);
  if (global != symbols.end())
    return global->second;
  return Dim(hint);
}

llvm::SmallVector<std::optional<Dim>, 4> Lowering::symbolicIntegers(llvm::StringRef name) {
  llvm::SmallVector<std::optional<Dim>, 4> result;
  if (const Argument *found = argument(name))
    for (const pt2::Size &size : found->ints)
      result.push_back(size.symbol.empty() ? std::nullopt : std::optional<Dim>(resolveSymbol(size.symbol, size.value)));
  return result;
}

int64_t Lowering::dimension(llvm::StringRef name, int64_t defaultValue, size_t rank) {
  int64_t dim = integer(name, defaultValue);
  int64_t wrapped = dim < 0 ? dim + static_cast<int64_t>(rank) : dim;
  if (wrapped < 0 || wrapped >= static_cast<int64_t>(std::max<size_t>(rank, 1)))
    fail(absl::StrCat("names dimension ", dim, " of a tensor of rank ", rank));
  return wrapped;
}

llvm::SmallVector<int64_t, 4> Lowering::dimensions(llvm::StringRef name, size_t rank) {
  llvm::SmallVector<int64_t, 4> result = integers(name);
  for (int64_t &dim : result) {
    int64_t wrapped = dim < 0 ? dim + static_cast<int64_t>(rank) : dim;
    if (wrapped < 0 || wrapped >= static_cast<int64_t>(rank))
      fail(absl::StrCat("names dimension ", dim, " of a tensor of rank ", rank));
    dim = wrapped;
  }
  return result;
}

const pt2::TensorMeta &Lowering::outputMeta(unsigned index) const {
  if (index >= node->outputs.size())
    fail(absl::StrCat("has ", node->outputs.size(), " outputs, expected at least ", index + 1));
  if (auto widened = scopes.back().widened.find(node->outputs[index]); widened != scopes.back().widened.end())
    return widened->second;
  auto it = scopes.back().body->tensors.find(node->outputs[index]);
  if (it == scopes.back().body->tensors.end())
    fail(absl::StrCat("output '", node->outputs[index].str(), "' has no entry in tensor_values"));
  return it->second;
}

//===----------------------------------------------------------------------===//
// Emitting
//===----------------------------------------------------------------------===//

llvm::StringRef Lowering::keep(std::string text) {
  for (const std::string &known : graph.storage)
    if (known == text)
      return known;
  // Short strings live inside their object, so the vector must never move them.
  if (graph.storage.capacity() < 4096)
    graph.storage.reserve(4096);
  if (graph.storage.size() == graph.storage.capacity())
    fail("has more than 4096 distinct equations and targets");
  graph.storage.push_back(std::move(text));
  return graph.storage.back();
}

ValueId Lowering::newValue(DType dtype, llvm::ArrayRef<DimId> dims) {
  GraphValue value;
  value.dtype = dtype;
  value.dims.assign(dims.begin(), dims.end());
  graph.values.push_back(std::move(value));
  return static_cast<ValueId>(graph.values.size() - 1);
}

GraphOp &Lowering::emit(OpCode code, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands) {
  GraphOp op;
  op.code = code;
  op.kind = kind;
  op.operands.assign(operands.begin(), operands.end());
  op.path = node ? node->path : llvm::StringRef();
  graph.ops.push_back(std::move(op));
  return graph.ops.back();
}

ValueId Lowering::emitOne(OpCode code, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands, DType dtype, llvm::ArrayRef<DimId> dims,
                          llvm::ArrayRef<int64_t> ints, llvm::ArrayRef<double> floats) {
  ValueId result = newValue(dtype, dims);
  GraphOp &op = emit(code, kind, operands);
  op.ints.assign(ints.begin(), ints.end());
  op.floats.assign(floats.begin(), floats.end());
  op.results = {result};
  graph.values[result].producer = static_cast<int32_t>(graph.ops.size() - 1);
  return result;
}

ValueId Lowering::reshape(ValueId value, llvm::ArrayRef<DimId> to) {
  if (dims(value) == to)
    return value;
  llvm::SmallVector<DimId, 4> copy(to.begin(), to.end());
  return emitOne(OpCode::Reshape, "", {value}, dtype(value), copy);
}

ValueId Lowering::cast(ValueId value, DType to) {
  if (dtype(value) == to)
    return value;
  llvm::SmallVector<DimId, 4> shape(dims(value));
  return emitOne(OpCode::Cast, "", {value}, to, shape);
}

ValueId Lowering::slice(ValueId value, int64_t dim, const Dim &start, DimId size, int64_t step) {
  llvm::SmallVector<DimId, 4> shape(dims(value));
  if (start == Dim(0) && shape[dim] == size && step == 1)
    return value;
  shape[dim] = size;
  ValueId result = emitOne(OpCode::Slice, "", {value}, dtype(value), shape, {dim, step});
  graph.ops.back().start = start;
  return result;
}

llvm::SmallVector<DimId, 4> Lowering::broadcast(llvm::ArrayRef<ValueId> values) {
  llvm::SmallVector<DimId, 4> shape;
  for (ValueId value : values) {
    if (value == kNoValue)
      continue;
    llvm::ArrayRef<DimId> from = dims(value);
    if (from.size() > shape.size())
      shape.insert(shape.begin(), from.size() - shape.size(), one());
    size_t extra = shape.size() - from.size();
    for (size_t i = 0; i < from.size(); ++i) {
      DimId &to = shape[i + extra];
      int64_t a = graph.dims.hint(to), b = graph.dims.hint(from[i]);
      if (a != b && a != 1 && b != 1)
        fail(absl::StrCat("combines shapes that do not broadcast: ", a, " and ", b, " in dimension ", i));
      if (a == b)
        to = graph.dims.unify(to, from[i], /*sure=*/false);
      else if (a == 1)
        to = from[i];
    }
  }
  return shape;
}

llvm::SmallVector<DimId, 4> Lowering::matchShape(const pt2::TensorMeta &meta, llvm::ArrayRef<ValueId> operands) {
  llvm::SmallVector<DimId, 4> shape;
  for (auto [index, size] : llvm::enumerate(meta.sizes)) {
    std::optional<DimId> found;
    if (!size.symbol.empty() && !resolveSymbol(size.symbol, size.value).isConstant())
      found = graph.dims.get(resolveSymbol(size.symbol, size.value));
    // The same position first, then any symbolic dimension of that size.
    for (ValueId operand : operands)
      if (!found && operand != kNoValue && index < rank(operand) && graph.dims.hint(dims(operand)[index]) == size.value)
        found = dims(operand)[index];
    for (ValueId operand : operands)
      if (!found && operand != kNoValue && size.value != 1)
        for (DimId dim : dims(operand))
          if (graph.dims.hint(dim) == size.value && !graph.dims.dim(dim).isConstant())
            found = dim;
    shape.push_back(found ? *found : graph.dims.literal(size.value, site(static_cast<unsigned>(index))));
  }
  return shape;
}

//===----------------------------------------------------------------------===//
// Names, views and writes
//===----------------------------------------------------------------------===//

void Lowering::setOutput(unsigned index, ValueId value) {
  if (replayOutput >= 0) {
    if (static_cast<unsigned>(replayOutput) == index)
      replayed = value;
    return;
  }
  if (index >= node->outputs.size() || node->outputs[index].empty())
    return;
  Slot slot;
  slot.value = value;
  slot.hasGradient = region.gradients;
  slots.push_back(slot);
  define(node->outputs[index], static_cast<int>(slots.size() - 1));
}

void Lowering::define(llvm::StringRef name, int slot) {
  if (!scopes.back().slots.try_emplace(name, slot).second)
    fail(absl::StrCat("defines tensor '", name.str(), "', which is already there"));
}

void Lowering::markView(llvm::StringRef base) {
  const Argument *found = argument(base);
  if (replayOutput >= 0 || !found || found->kind != Argument::Kind::Tensor)
    return;
  int baseSlot = slotOf(found->tensors[0]);
  for (auto [index, name] : llvm::enumerate(node->outputs)) {
    if (name.empty())
      continue;
    Slot &slot = slots[slotOf(name)];
    slot.base = baseSlot;
    slot.depth = slots[baseSlot].depth + 1;
    if (slot.depth > kMaxViews)
      fail(absl::StrCat("is a view of more than ", kMaxViews, " views, one of the other"));
    slot.view = node;
    slot.body = scopes.back().body;
    slot.output = static_cast<unsigned>(index);
    slot.baseVersion = slots[baseSlot].version;
    slot.ordinal = ordinal;
  }
}

// A view of something that was written since is taken again.
ValueId Lowering::read(int index) {
  if (slots[index].base < 0)
    return slots[index].value;
  int base = slots[index].base;
  read(base);
  if (slots[index].baseVersion != slots[base].version) {
    const pt2::Node *current = node;
    uint64_t currentOrdinal = ordinal;
    int currentOutput = replayOutput;
    ValueId currentReplayed = replayed;
    node = slots[index].view;
    ordinal = slots[index].ordinal;
    replayOutput = static_cast<int>(slots[index].output);
    replayed = kNoValue;
    lowerNode(*node);
    if (replayed == kNoValue)
      fail("can't be taken again of what was written since");
    slots[index].value = replayed;
    replayOutput = currentOutput;
    replayed = currentReplayed;
    node = current;
    ordinal = currentOrdinal;
    slots[index].baseVersion = slots[base].version;
    ++slots[index].version;
  }
  return slots[index].value;
}

void Lowering::write(llvm::StringRef name, ValueId value) {
  const Argument *found = argument(name);
  if (!found || found->kind != Argument::Kind::Tensor)
    fail(absl::StrCat("writes to '", name.str(), "', which is not a tensor"));
  int slot = slotOf(found->tensors[0]);
  auto before = dims(read(slot)), after = dims(value);
  auto sameSize = [&](DimId a, DimId b) { return graph.dims.hint(a) == graph.dims.hint(b); };
  if (!std::equal(before.begin(), before.end(), after.begin(), after.end(), sameSize))
    fail(absl::StrCat("writes a tensor of another shape to '", name.str(), "'"));
  // Written without gradients, a tensor that has none gets none.
  writeSlot(slot, !region.gradients && slots[slot].hasGradient && !dependsOnTrained(read(slot)) ? detached(value) : value);
}

ValueId Lowering::pasteIntoBase(const Slot &slot, ValueId base, ValueId value) {
  const pt2::Node *current = node;
  node = slot.view;
  llvm::StringRef op = node->target;
  op = op.take_front(op.rfind('.'));
  llvm::SmallVector<DimId, 4> baseDims(dims(base));
  ValueId result = kNoValue;
  auto paste = [&](int64_t dim, const Dim &start, int64_t step) {
    result = emitOne(OpCode::InsertSlice, "", {base, value}, dtype(base), baseDims, {dim, step});
    graph.ops.back().start = start;
  };
  if (op == "aten.slice" || op == "aten.select") {
    bool select = op == "aten.select";
    int64_t dim = dimension("dim", 0, baseDims.size());
    int64_t start = integer(select ? "index" : "start", 0);
    Dim from = start < 0 ? graph.dims.dim(baseDims[dim]) + Dim(start) : Dim(start);
    if (select) {
      llvm::SmallVector<DimId, 4> with(dims(value));
      with.insert(with.begin() + dim, one());
      value = reshape(value, with);
    }
    paste(dim, from, select ? 1 : integer("step", 1));
  } else if (op == "aten.split" || op == "aten.chunk" || op == "aten.split_with_sizes" || op == "aten.unbind") {
    int64_t dim = dimension("dim", 0, baseDims.size());
    Dim start = 0;
    for (unsigned i = 0; i < slot.output; ++i)
      start = start + (op == "aten.unbind" ? Dim(1) : Dim(outputMeta(i).sizes[dim].value));
    if (op == "aten.unbind") {
      llvm::SmallVector<DimId, 4> with(dims(value));
      with.insert(with.begin() + dim, one());
      value = reshape(value, with);
    }
    paste(dim, start, 1);
  } else if (op == "aten.transpose" || op == "aten.permute" || op == "aten.t") {
    llvm::SmallVector<int64_t, 4> permutation;
    for (size_t i = 0; i < baseDims.size(); ++i)
      permutation.push_back(i);
    if (op == "aten.permute") {
      auto forward = dimensions("dims", baseDims.size());
      for (auto [index, dim] : llvm::enumerate(forward))
        permutation[dim] = index;
    } else if (baseDims.size() >= 2) {
      std::swap(permutation[dimension("dim0", 0, baseDims.size())], permutation[dimension("dim1", 1, baseDims.size())]);
    }
    result = emitOne(OpCode::Transpose, "", {value}, dtype(base), baseDims, permutation);
  } else if (op == "aten.expand") {
    fail("an in-place op writes into an expanded view, where one element stands for many");
  } else {
    result = reshape(value, baseDims);
  }
  node = current;
  return result;
}

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

void Lowering::addArguments() {
  for (const pt2::InputSpec &spec : program.inputs) {
    if (spec.argument.empty())
      continue;
    auto meta = program.graph.tensors.find(spec.argument);
    if (meta == program.graph.tensors.end())
      throw ImportError(absl::StrCat("model.json: input '", spec.argument.str(), "' has no entry in tensor_values"));
    llvm::SmallVector<DimId, 4> shape;
    ordinal = nextOrdinal++;
    for (auto [index, size] : llvm::enumerate(meta->second.sizes)) {
      if (spec.kind == pt2::InputSpec::Kind::User) {
        // importPt2 named these dimensions after the argument.
        auto named = symbols.find(absl::StrCat("arg:", spec.argument.str(), ":", index));
        shape.push_back(graph.dims.get(named == symbols.end() ? resolveSymbol(size.symbol, size.value) : named->second));
      } else if (spec.kind == pt2::InputSpec::Kind::Buffer || spec.kind == pt2::InputSpec::Kind::Constant)
        shape.push_back(graph.dims.literal(size.value, site(static_cast<unsigned>(index))));
      else
        shape.push_back(constant(size.value));
    }
    ValueId value = newValue(meta->second.dtype, shape);
    GraphValue &created = graph.values[value];
    created.name = spec.name;
    switch (spec.kind) {
    case pt2::InputSpec::Kind::Parameter:
      created.role = spec.trained ? Role::Parameter : Role::Frozen;
      break;
    case pt2::InputSpec::Kind::Buffer:
      created.role = Role::Buffer;
      break;
    case pt2::InputSpec::Kind::Constant:
      created.role = Role::Constant;
      break;
    default:
      created.role = Role::Input;
      break;
    }
    graph.arguments.push_back(value);
    Slot slot;
    slot.value = value;
    slots.push_back(slot);
    if (!scopes.back().slots.try_emplace(spec.argument, static_cast<int>(slots.size() - 1)).second)
      throw ImportError(absl::StrCat("model.json: the signature names input '", spec.argument.str(), "' twice"));
  }
}

// A graph without in-place ops says in its signature what becomes of a buffer.
void Lowering::updateBuffer(llvm::StringRef name, ValueId value) {
  for (ValueId argument : graph.arguments)
    if (graph.values[argument].role == Role::Buffer && graph.values[argument].name == name && slots[argument].value == argument)
      slots[argument].value = value;
}

void Lowering::lowerNode(const pt2::Node &current) {
  node = &current;
  llvm::SaveAndRestore<bool> outer(widensOperands, runsInFloat32(current));
  if (region.gpuAutocast || hasWidened)
    widenOutputs(current, widensOperands);
  llvm::StringRef target = current.target;
  LoweringRule rule = findLoweringRule(target);
  if (!rule && target.count('.') > 1)
    rule = findLoweringRule(target.take_front(target.rfind('.')));
  size_t opsBefore = graph.ops.size();
  try {
    if (rule)
      rule(*this);
    else
      lowerOpaque();
  } catch (const DynamicNumber &) {
    // The op computes with a size that isn't known: its shapes are, its numbers can't be.
    graph.ops.resize(opsBefore);
    lowerOpaque();
  }
}

void Lowering::lowerOpaque() {
  llvm::SmallVector<ValueId, 4> operands;
  for (const Argument &argument : node->arguments)
    for (llvm::StringRef name : argument.tensors)
      if (!name.empty())
        operands.push_back(read(slotOf(name)));
  if (node->outputs.empty())
    return; // an assertion or a print
  ++opaqueTargets[node->target];
  llvm::SmallVector<ValueId, 2> results;
  for (unsigned i = 0; i < numOutputs(); ++i)
    if (!node->outputs[i].empty())
      results.push_back(newValue(outputMeta(i).dtype, matchShape(outputMeta(i), operands)));
  GraphOp &op = emit(OpCode::Opaque, node->target, operands);
  op.results.assign(results.begin(), results.end());
  for (ValueId result : results)
    graph.values[result].producer = static_cast<int32_t>(graph.ops.size() - 1);
  unsigned next = 0;
  for (unsigned i = 0; i < numOutputs(); ++i)
    if (!node->outputs[i].empty())
      setOutput(i, results[next++]);
  // What it does in place reaches later readers, though nothing reads its result.
  llvm::StringRef name = llvm::StringRef(node->target).take_front(node->target.rfind('.'));
  if (name.ends_with("_") && has("self") && !results.empty())
    write("self", results.front());
}

void Lowering::run() {
  scopes.emplace_back();
  scopes.back().body = &program.graph;
  addArguments();
  for (const pt2::Node &current : program.graph.nodes) {
    ordinal = nextOrdinal++;
    lowerNode(current);
  }
  node = nullptr;
  for (const pt2::OutputSpec &spec : program.outputs) {
    bool isMutation = spec.kind == "buffer_mutation";
    if (spec.argument.empty() || (spec.kind != "user_output" && spec.kind != "loss_output" && !isMutation))
      continue;
    auto it = scopes.back().slots.find(spec.argument);
    if (it == scopes.back().slots.end())
      throw ImportError(absl::StrCat("model.json: output '", spec.argument.str(), "' is not defined by any node"));
    ValueId value = read(it->second);
    if (isMutation)
      updateBuffer(spec.target, value);
    else
      graph.outputs.push_back(value);
  }
  for (ValueId argument : graph.arguments)
    if (graph.values[argument].role == Role::Buffer) {
      ValueId now = slots[argument].value;
      if (now != argument && graph.values[now].dtype == graph.values[argument].dtype && dims(now) == dims(argument))
        graph.bufferUpdates.push_back({argument, now});
    }
}
