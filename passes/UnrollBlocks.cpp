//===- UnrollBlocks.cpp - Every iteration written out ----------------------===//
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"
#include "moai/Passes/Pipelines.h"

namespace moai {
#define GEN_PASS_DEF_UNROLLBLOCKS
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

struct UnrollBlocksPass : public moai::impl::UnrollBlocksBase<UnrollBlocksPass> {
  void runOnOperation() override { unrollBlocks(getOperation()); }
};

/// Writes out one function.
class Unroller {
public:
  Unroller(func::FuncOp function, SymbolTable &symbols) : function(function), symbols(symbols), builder(function.getContext()) {}
  void run();

private:
  void expandArguments();
  void expandOp(Operation &op);
  void unroll(RepeatOp repeat);
  void emit(func::FuncOp callee, ArrayRef<Value> operands, StringAttr block, DictionaryAttr labels, SmallVectorImpl<Value> &results);
  void inlineBody(func::FuncOp body, ArrayRef<Value> operands, StringAttr block, DictionaryAttr labels, SmallVectorImpl<Value> &results);
  void finish();
  SmallVector<Value> elementsOf(Value value) const;

  func::FuncOp function;
  SymbolTable &symbols;
  OpBuilder builder;
  DenseMap<Value, SmallVector<Value>> elements; ///< of each stack
  SmallVector<Attribute> argumentAttributes;
  SmallVector<unsigned> firstArgument; ///< by argument before: where its tensors are now
};

} // namespace

SmallVector<Value> Unroller::elementsOf(Value value) const {
  auto it = elements.find(value);
  return it == elements.end() ? SmallVector<Value>{value} : it->second;
}

// A stack of flat shards is named by stacks: one list per tensor, with an entry for each shard.
static Attribute nameOfElement(ArrayAttr names, int64_t element) {
  if (!names.empty() && !isa<ArrayAttr>(names[0]))
    return names[element];
  SmallVector<Attribute> own;
  for (auto list : names.getAsRange<ArrayAttr>())
    own.push_back(list[element]);
  return ArrayAttr::get(names.getContext(), own);
}

void Unroller::expandArguments() {
  Block &body = function.getBody().front();
  unsigned count = body.getNumArguments();
  for (unsigned number = 0; number < count; ++number) {
    BlockArgument argument = body.getArgument(number);
    firstArgument.push_back(body.getNumArguments() - count);
    DictionaryAttr attributes = function.getArgAttrDict(number);
    auto names = attributes ? attributes.getAs<ArrayAttr>(attrs::kName) : ArrayAttr();
    bool isStack = isa<StackType>(argument.getType());
    for (int64_t i = 0, e = countTensors(argument.getType()); i < e; ++i) {
      BlockArgument added = body.addArgument(tensorOf(argument), argument.getLoc());
      NamedAttrList own(attributes);
      if (isStack && names)
        own.set(attrs::kName, nameOfElement(names, i));
      argumentAttributes.push_back(own.getDictionary(function.getContext()));
      if (isStack)
        elements[argument].push_back(added);
      else
        argument.replaceAllUsesWith(added);
    }
  }
}

// The ops of a body of a repeat, where a call of it would stand.
void Unroller::inlineBody(func::FuncOp body, ArrayRef<Value> operands, StringAttr block, DictionaryAttr labels,
                          SmallVectorImpl<Value> &results) {
  IRMapping mapping;
  for (auto [argument, operand] : llvm::zip(body.getArguments(), operands))
    mapping.map(argument, operand);
  for (Operation &op : body.getBody().front().without_terminator()) {
    NamedAttrList own(op.getDiscardableAttrDictionary());
    own.append(labels.getValue());
    if (auto call = dyn_cast<func::CallOp>(op)) {
      SmallVector<Value> inner, returned;
      for (Value operand : op.getOperands())
        inner.push_back(mapping.lookup(operand));
      emit(symbols.lookup<func::FuncOp>(call.getCallee()), inner, block, own.getDictionary(op.getContext()), returned);
      mapping.map(op.getResults(), ValueRange(returned));
      continue;
    }
    Operation *copy = builder.clone(op, mapping);
    if (block)
      own.set(attrs::kBlock, block);
    copy->setDiscardableAttrs(own.getDictionary(op.getContext()));
  }
  for (Value returned : body.getBody().front().getTerminator()->getOperands())
    results.push_back(mapping.lookup(returned));
}

void Unroller::emit(func::FuncOp callee, ArrayRef<Value> operands, StringAttr block, DictionaryAttr labels,
                    SmallVectorImpl<Value> &results) {
  if (callee->hasAttr(attrs::kBody))
    return inlineBody(callee, operands, block, labels, results);
  auto call = builder.create<func::CallOp>(function.getLoc(), callee, operands);
  NamedAttrList own(labels);
  if (block)
    own.set(attrs::kBlock, block);
  call->setDiscardableAttrs(own.getDictionary(call->getContext()));
  results.append(call.result_begin(), call.result_end());
}

// Each iteration has a position of its own in the step.
static DictionaryAttr labelsOf(RepeatOp repeat, int64_t element) {
  NamedAttrList labels(repeat->getDiscardableAttrDictionary());
  if (auto first = dyn_cast_if_present<IntegerAttr>(labels.get(attrs::kPosition)))
    labels.set(attrs::kPosition, IntegerAttr::get(first.getType(), first.getInt() + element));
  return labels.getDictionary(repeat->getContext());
}

void Unroller::unroll(RepeatOp repeat) {
  auto callee = symbols.lookup<func::FuncOp>(repeat.getCallee());
  SmallVector<Value> previous;
  for (Value result : repeat.getResults())
    if (isa<StackType>(result.getType()))
      elements[result].resize(repeat.getCount());
  for (int64_t i = 0, e = repeat.getCount(); i < e; ++i) {
    int64_t element = repeat.elementOf(i);
    SmallVector<Value> operands, returned;
    for (auto [operand, carry] : llvm::zip(repeat.getOperands(), repeat.getCarries()))
      operands.push_back(isa<StackType>(operand.getType()) ? elements[operand][element] : i > 0 && carry >= 0 ? previous[carry] : operand);
    emit(callee, operands, repeat.blockOf(i), labelsOf(repeat, element), returned);
    for (auto [result, value] : llvm::zip(repeat.getResults(), returned))
      if (isa<StackType>(result.getType()))
        elements[result][element] = value;
    previous = std::move(returned);
  }
  for (auto [result, value] : llvm::zip(repeat.getResults(), previous))
    if (!isa<StackType>(result.getType()))
      result.replaceAllUsesWith(value);
}

// Any other op has the tensors of a stack in its place.
void Unroller::expandOp(Operation &op) {
  SmallVector<Value> operands;
  for (Value operand : op.getOperands())
    operands.append(elementsOf(operand));
  SmallVector<Type> types;
  for (Type type : op.getResultTypes())
    types.append(countTensors(type), tensorOf(type));
  OperationState state(op.getLoc(), op.getName(), operands, types, op.getAttrs());
  Operation *expanded = builder.create(state);
  auto next = expanded->result_begin();
  for (OpResult result : op.getResults())
    if (isa<StackType>(result.getType()))
      for (int64_t i = 0, e = countTensors(result.getType()); i < e; ++i)
        elements[result].push_back(*next++);
    else
      result.replaceAllUsesWith(*next++);
}

// The function's type, and its attributes by argument and result.
void Unroller::finish() {
  Block &body = function.getBody().front();
  body.eraseArguments(0, firstArgument.size());
  SmallVector<Attribute> resultAttributes;
  for (unsigned i = 0; i < function.getNumResults(); ++i) {
    DictionaryAttr attributes = function.getResultAttrDict(i);
    auto updated = attributes ? attributes.getAs<IntegerAttr>(attrs::kUpdates) : IntegerAttr();
    for (int64_t element = 0, e = countTensors(function.getResultTypes()[i]); element < e; ++element) {
      NamedAttrList own(attributes);
      if (updated)
        own.set(attrs::kUpdates, builder.getI64IntegerAttr(firstArgument[updated.getInt()] + element));
      resultAttributes.push_back(own.getDictionary(function.getContext()));
    }
  }
  function.setFunctionType(builder.getFunctionType(body.getArgumentTypes(), body.getTerminator()->getOperandTypes()));
  function.setAllArgAttrs(argumentAttributes);
  function.setAllResultAttrs(resultAttributes);
}

void Unroller::run() {
  expandArguments();
  SmallVector<Operation *> replaced;
  auto isStack = [](Type type) { return isa<StackType>(type); };
  for (Operation &op : llvm::make_early_inc_range(function.getBody().front())) {
    builder.setInsertionPoint(&op);
    if (auto repeat = dyn_cast<RepeatOp>(op))
      unroll(repeat);
    else if (llvm::any_of(op.getOperandTypes(), isStack) || llvm::any_of(op.getResultTypes(), isStack))
      expandOp(op);
    else
      continue;
    replaced.push_back(&op);
  }
  for (Operation *op : llvm::reverse(replaced))
    op->erase();
  finish();
}

void moai::unrollBlocks(ModuleOp module) {
  SymbolTable symbols(module);
  for (auto function : module.getOps<func::FuncOp>())
    if (!function.getBody().empty() && !function->hasAttr(attrs::kBody))
      Unroller(function, symbols).run();
  for (auto function : llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
    if (function->hasAttr(attrs::kBody))
      symbols.erase(function);
}
