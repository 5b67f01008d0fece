//===- EmitModule.cpp - From the plain graph to IR -------------------------===//
#include "EmitModule.h"
#include "ImportError.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/Moai.h"

using namespace mlir;
using namespace moai;

namespace {
class Emitter {
public:
  Emitter(const TrainingGraph &graph, MLIRContext &context)
      : graph(graph), context(context), builder(&context), loc(builder.getUnknownLoc()) {}

  OwningOpRef<ModuleOp> run(const Blocks &blocks, const DimBinding &binding);

private:
  Type elementType(DType dtype);
  SymTensorType typeOf(ValueId value);
  void emitOp(const GraphOp &op, DenseMap<ValueId, Value> &values, StringRef block = "");
  Location placeOf(const GraphOp &op, StringRef block);
  func::FuncOp emitBlock(const BlockInstance &block, StringRef name);

  const TrainingGraph &graph;
  MLIRContext &context;
  OpBuilder builder;
  Location loc;
  DenseMap<ValueId, SymTensorType> types;
};
} // namespace

Type Emitter::elementType(DType dtype) {
  switch (dtype) {
  case DType::Bool:
    return builder.getI1Type();
  case DType::U8:
    return builder.getIntegerType(8, false);
  case DType::I8:
    return builder.getI8Type();
  case DType::I16:
    return builder.getI16Type();
  case DType::U16:
    return builder.getIntegerType(16, false);
  case DType::I32:
    return builder.getI32Type();
  case DType::I64:
    return builder.getI64Type();
  case DType::F16:
    return builder.getF16Type();
  case DType::BF16:
    return builder.getBF16Type();
  case DType::F32:
    return builder.getF32Type();
  case DType::F64:
    return builder.getF64Type();
  case DType::C32:
    return ComplexType::get(builder.getF16Type());
  case DType::C64:
    return ComplexType::get(builder.getF32Type());
  case DType::C128:
    return ComplexType::get(builder.getF64Type());
  case DType::F8E4M3FN:
    return builder.getFloat8E4M3FNType();
  case DType::F8E5M2:
    return builder.getFloat8E5M2Type();
  case DType::F8E4M3FNUZ:
    return builder.getFloat8E4M3FNUZType();
  case DType::F8E5M2FNUZ:
    return builder.getFloat8E5M2FNUZType();
  }
  llvm_unreachable("every dtype the reader accepts is listed");
}

SymTensorType Emitter::typeOf(ValueId value) {
  SymTensorType &type = types[value];
  if (!type) {
    SmallVector<Dim, 4> dims;
    for (DimId dim : graph.values[value].dims)
      dims.push_back(graph.dims.dim(dim));
    type = SymTensorType::get(&context, dims, elementType(graph.values[value].dtype));
  }
  return type;
}

// The module path, below the instance in a function that all instances of a block share.
Location Emitter::placeOf(const GraphOp &op, StringRef block) {
  StringRef path = op.path;
  if (!block.empty() && path.consume_front(block))
    path.consume_front(".");
  return path.empty() ? Location(builder.getUnknownLoc()) : NameLoc::get(builder.getStringAttr(path));
}

void Emitter::emitOp(const GraphOp &op, DenseMap<ValueId, Value> &values, StringRef block) {
  Location loc = placeOf(op, block);
  SmallVector<Value> operands;
  SmallVector<Type> results;
  for (ValueId operand : op.operands)
    operands.push_back(operand == kNoValue ? Value() : values.lookup(operand));
  for (ValueId result : op.results)
    results.push_back(typeOf(result));
  auto at = [&](unsigned i) { return i < operands.size() ? operands[i] : Value(); };
  ArrayRef<int64_t> ints = op.ints, more = op.moreInts;
  ArrayRef<double> floats = op.floats;
  auto f64 = [&](double value) { return builder.getF64FloatAttr(value); };
  IntegerAttr noStream = builder.getI64IntegerAttr(0); // NormalizeGraph numbers them
  Operation *created = nullptr;
  switch (op.code) {
  case OpCode::Contract:
    created = builder.create<ContractOp>(loc, results[0], at(0), at(1), at(2), op.kind);
    break;
  case OpCode::Convolution: {
    size_t n = ints.size();
    created = builder.create<ConvolutionOp>(loc, results[0], at(0), at(1), at(2), ints, more.take_front(n), more.slice(n, n), more.back());
    break;
  }
  case OpCode::TransposedConvolution: {
    size_t n = ints.size();
    created = builder.create<TransposedConvolutionOp>(loc, results[0], at(0), at(1), at(2), ints, more.take_front(n), more.slice(n, n),
                                                      more.back());
    break;
  }
  case OpCode::Attention:
    created = builder.create<AttentionOp>(loc, results[0], results[1], at(0), at(1), at(2), at(3), builder.getStringAttr(op.kind),
                                          builder.getI64IntegerAttr(ints[0]), f64(floats[0]), f64(floats[1]), noStream,
                                          !more.empty() && more[0] ? builder.getUnitAttr() : UnitAttr());
    break;
  case OpCode::Elementwise:
    created = builder.create<ElementwiseOp>(loc, results[0], operands, op.kind, floats);
    break;
  case OpCode::Cast:
    created = builder.create<CastOp>(loc, results[0], at(0));
    break;
  case OpCode::Copy:
    created = builder.create<CopyOp>(loc, results[0], at(0));
    break;
  case OpCode::Reduce:
    created = builder.create<ReduceOp>(loc, results[0], at(0), op.kind, ints, more[0] != 0);
    break;
  case OpCode::Scan:
    created = builder.create<ScanOp>(loc, results[0], at(0), op.kind, ints[0]);
    break;
  case OpCode::Pool: {
    size_t n = ints.size();
    created = builder.create<PoolOp>(loc, results[0], at(0), op.kind, ints, more.take_front(n), more.slice(n, n), more.slice(2 * n, n),
                                     more.back() != 0);
    break;
  }
  case OpCode::Normalize:
    created = builder.create<NormalizeOp>(loc, results[0], results[1], at(0), at(1), at(2), builder.getStringAttr(op.kind),
                                          builder.getI64IntegerAttr(ints[0]), f64(floats[0]));
    break;
  case OpCode::Softmax:
    created = builder.create<SoftmaxOp>(loc, results[0], at(0), ints[0], ints[1] != 0);
    break;
  case OpCode::Dropout:
    created = builder.create<DropoutOp>(loc, results[0], results[1], at(0), f64(floats[0]), noStream);
    break;
  case OpCode::CrossEntropy:
    created = builder.create<CrossEntropyOp>(loc, results[0], results[1], results[2], at(0), at(1), builder.getStringAttr(op.kind),
                                             builder.getI64IntegerAttr(ints[0]), f64(floats[0]));
    break;
  case OpCode::Reshape:
    created = builder.create<ReshapeOp>(loc, results[0], at(0));
    break;
  case OpCode::Detach:
    created = builder.create<DetachOp>(loc, results[0], at(0));
    break;
  case OpCode::ComplexView:
    created = builder.create<ComplexViewOp>(loc, results[0], at(0));
    break;
  case OpCode::Transpose:
    created = builder.create<TransposeOp>(loc, results[0], at(0), ints);
    break;
  case OpCode::Expand:
    created = builder.create<ExpandOp>(loc, results[0], at(0));
    break;
  case OpCode::Slice:
    created = builder.create<SliceOp>(loc, results[0], at(0), ints[0], op.start.str(), ints[1]);
    break;
  case OpCode::InsertSlice:
    created = builder.create<InsertSliceOp>(loc, results[0], at(0), at(1), ints[0], op.start.str(), ints[1]);
    break;
  case OpCode::Concat:
    created = builder.create<ConcatOp>(loc, results[0], operands, ints[0]);
    break;
  case OpCode::Pad:
    created = builder.create<PadOp>(loc, results[0], at(0), ints[0], op.start.str(), ints[1]);
    break;
  case OpCode::Generate:
    created = builder.create<GenerateOp>(loc, results[0], op.kind, floats);
    break;
  case OpCode::Embedding:
    created = builder.create<EmbeddingOp>(loc, results[0], at(0), at(1), ints[0]);
    break;
  case OpCode::Gather:
    created = builder.create<GatherOp>(loc, results[0], at(0), ArrayRef<Value>(operands).drop_front(), op.kind, ints);
    break;
  case OpCode::Scatter:
    created =
        builder.create<ScatterOp>(loc, results[0], at(0), ArrayRef<Value>(operands).drop_front(), op.kind, ints, more[0] != 0, floats);
    break;
  case OpCode::Sort:
    created = builder.create<SortOp>(loc, results[0], results[1], at(0), ints[0], ints[1], ints[2] != 0);
    break;
  case OpCode::Histogram:
    created = builder.create<HistogramOp>(loc, results[0], at(0), f64(floats[0]), f64(floats[1]));
    break;
  case OpCode::Route:
    created = builder.create<RouteOp>(loc, results, at(0));
    break;
  case OpCode::Dispatch:
    created = builder.create<DispatchOp>(loc, results[0], at(0), at(1), at(2), ints[0]);
    break;
  case OpCode::ExpertMatmul:
    created = builder.create<ExpertMatmulOp>(loc, results[0], at(0), at(1), at(2), ints[0] != 0);
    break;
  case OpCode::Combine:
    created = builder.create<CombineOp>(loc, results[0], at(0), at(1), at(2), ints[0]);
    break;
  case OpCode::Opaque:
    created = builder.create<OpaqueOp>(loc, results, operands, op.kind);
    break;
  }
  for (auto [id, result] : llvm::zip(op.results, created->getResults()))
    values[id] = result;
}

func::FuncOp Emitter::emitBlock(const BlockInstance &block, StringRef name) {
  SmallVector<Type> inputs, outputs;
  for (ValueId input : block.inputs)
    inputs.push_back(typeOf(input));
  for (ValueId output : block.outputs)
    outputs.push_back(typeOf(output));
  auto function = builder.create<func::FuncOp>(loc, name, builder.getFunctionType(inputs, outputs));
  function.setPrivate();
  OpBuilder::InsertionGuard guard(builder);
  Block *body = function.addEntryBlock();
  builder.setInsertionPointToStart(body);
  DenseMap<ValueId, Value> values;
  for (auto [input, argument] : llvm::zip(block.inputs, body->getArguments()))
    values[input] = argument;
  for (size_t i = block.first; i < block.last; ++i)
    if (!graph.ops[i].dead)
      emitOp(graph.ops[i], values, block.name);
  SmallVector<Value> results;
  for (ValueId output : block.outputs)
    results.push_back(values.lookup(output));
  builder.create<func::ReturnOp>(loc, results);
  return function;
}

OwningOpRef<ModuleOp> Emitter::run(const Blocks &blocks, const DimBinding &binding) {
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  setBinding(*module, binding);
  builder.setInsertionPointToEnd(module->getBody());

  SmallVector<func::FuncOp> functions;
  for (auto [index, blockClass] : llvm::enumerate(blocks.classes)) {
    functions.push_back(emitBlock(blocks.instances[blockClass.instances.front()], ("block" + Twine(index)).str()));
    functions.back()->setAttr(attrs::kBlock, builder.getStringAttr(blockClass.name));
  }

  SmallVector<Type> inputs;
  for (ValueId argument : graph.arguments)
    inputs.push_back(typeOf(argument));
  SmallVector<Type> outputs;
  for (ValueId output : graph.outputs)
    outputs.push_back(typeOf(output));
  auto step = builder.create<func::FuncOp>(loc, "step", builder.getFunctionType(inputs, outputs));
  DenseMap<ValueId, Value> values;
  Block *body = step.addEntryBlock();
  SmallVector<Attribute> attributes;
  for (auto [index, argument] : llvm::enumerate(graph.arguments)) {
    const GraphValue &value = graph.values[argument];
    StringRef role = value.role == Role::Parameter  ? "parameter"
                     : value.role == Role::Frozen   ? "frozen"
                     : value.role == Role::Buffer   ? "buffer"
                     : value.role == Role::Constant ? "constant"
                                                    : "input";
    attributes.push_back(builder.getDictionaryAttr({builder.getNamedAttr(attrs::kName, builder.getStringAttr(value.name)),
                                                    builder.getNamedAttr(attrs::kRole, builder.getStringAttr(role))}));
    values[argument] = body->getArgument(index);
  }
  step.setAllArgAttrs(attributes);
  builder.setInsertionPointToStart(body);
  size_t next = 0;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    if (next < blocks.instances.size() && i == blocks.instances[next].first) {
      const BlockInstance &block = blocks.instances[next++];
      SmallVector<Value> operands;
      for (ValueId input : block.inputs)
        operands.push_back(values.lookup(input));
      auto call = builder.create<func::CallOp>(loc, functions[block.blockClass], operands);
      call->setAttr(attrs::kBlock, builder.getStringAttr(block.name));
      for (auto [output, result] : llvm::zip(block.outputs, call.getResults()))
        values[output] = result;
      i = block.last - 1;
      continue;
    }
    if (!graph.ops[i].dead)
      emitOp(graph.ops[i], values);
  }
  SmallVector<Value> results;
  for (ValueId output : graph.outputs)
    results.push_back(values.lookup(output));
  builder.create<func::ReturnOp>(loc, results);
  size_t firstUpdate = graph.outputs.size() - graph.bufferUpdates.size();
  for (auto [index, update] : llvm::enumerate(graph.bufferUpdates))
    step.setResultAttr(firstUpdate + index, attrs::kName, builder.getStringAttr(graph.values[update.first].name));
  return module;
}

OwningOpRef<ModuleOp> moai::emitModule(const TrainingGraph &graph, const Blocks &blocks, const DimBinding &binding, MLIRContext &context) {
  return Emitter(graph, context).run(blocks, binding);
}
