//===- RecomputeSelectively.cpp - All but products and attention -----------===//
#include "Recompute.h"
#include "mlir/IR/IRMapping.h"
#include "moai/IR/Moai.h"

using namespace mlir;
using namespace moai;

namespace {

/// A value of a block's forward, as a call site has it.
struct ForwardValue {
  bool isArgument;
  unsigned index; ///< of the argument or the result
};

/// A block's functions, and how a call site wires them.
struct SelectiveBlock {
  func::FuncOp forward, backward;
  unsigned numGradients = 0;       ///< leading arguments of the backward, which stay as they are
  SmallVector<ForwardValue> saved; ///< the arguments behind them
};

/// Makes them from a block's forward and backward.
class SelectiveBuilder {
public:
  SelectiveBuilder(ModuleOp module, BlockCalls calls);
  SelectiveBlock build();

private:
  SmallVector<Value> findOrigins();
  Value rebuild(Value forwardValue);
  void keepTheRest();
  void returnKept();

  BlockCalls calls;
  OpBuilder builder;
  SelectiveBlock block;
  Block *source, *body;     ///< of the forward and of the backward
  IRMapping rebuilt;        ///< values of the forward to values of the backward
  SmallVector<Value> saved; ///< in the forward, behind the backward's further arguments
};

} // namespace

/// What selective activation checkpointing is told to save: products (mm, addmm, bmm, convolution and their grouped kin) and
/// fused attention, which cost the most to repeat.
static bool isKept(Operation *op) { return isa<ContractOp, ConvolutionOp, ExpertMatmulOp, AttentionOp>(op); }

SelectiveBuilder::SelectiveBuilder(ModuleOp module, BlockCalls calls) : calls(calls), builder(module.getContext()) {
  auto clone = [&](func::CallOp call, StringRef suffix) {
    auto original = module.lookupSymbol<func::FuncOp>(call.getCallee());
    builder.setInsertionPointAfter(original);
    auto copy = cast<func::FuncOp>(builder.clone(*original));
    copy.setName((original.getName().rsplit('.').first + suffix).str());
    return copy;
  };
  block.forward = clone(calls.forward, ".forward.selective");
  block.backward = clone(calls.backward, ".backward.selective");
  source = &block.forward.getBody().front();
  body = &block.backward.getBody().front();
}

// The value in the forward's body that the call site hands to each argument of the backward; null for gradients.
SmallVector<Value> SelectiveBuilder::findOrigins() {
  auto returned = cast<func::ReturnOp>(source->getTerminator());
  auto inputs = calls.forward.getOperands();
  SmallVector<Value> origins;
  for (Value operand : calls.backward.getOperands()) {
    Value origin;
    if (operand.getDefiningOp() == calls.forward)
      origin = returned.getOperand(cast<OpResult>(operand).getResultNumber());
    else if (auto it = llvm::find(inputs, operand); it != inputs.end())
      origin = source->getArgument(it - inputs.begin());
    origins.push_back(origin);
  }
  return origins;
}

// The value in the backward: an argument where it is saved, otherwise computed again at the start.
Value SelectiveBuilder::rebuild(Value forwardValue) {
  if (Value known = rebuilt.lookupOrNull(forwardValue))
    return known;
  Operation *op = forwardValue.getDefiningOp();
  if (!op || isKept(op)) {
    saved.push_back(forwardValue);
    Value argument = body->addArgument(forwardValue.getType(), forwardValue.getLoc());
    rebuilt.map(forwardValue, argument);
    return argument;
  }
  for (Value operand : op->getOperands())
    rebuild(operand);
  builder.clone(*op, rebuilt)->setAttr(attrs::kRecompute, builder.getUnitAttr());
  return rebuilt.lookup(forwardValue);
}

// PyTorch's cache holds every result of the ops it is told to save until the block's backward is done, also one that only the
// block's output needs.
void SelectiveBuilder::keepTheRest() {
  for (Operation &op : *source)
    if (isKept(&op))
      for (Value result : op.getResults())
        rebuild(result);
}

// The forward returns its outputs and what is saved of it.
void SelectiveBuilder::returnKept() {
  auto returned = cast<func::ReturnOp>(source->getTerminator());
  unsigned numOutputs = 0;
  for (auto [index, result] : llvm::enumerate(calls.forward.getResults()))
    if (llvm::any_of(result.getUsers(), [&](Operation *user) { return user != calls.backward; }))
      numOutputs = index + 1;
  SmallVector<Value> results(returned.getOperands().take_front(numOutputs));
  for (Value value : saved) {
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      block.saved.push_back({true, argument.getArgNumber()});
      continue;
    }
    auto known = llvm::find(results, value);
    block.saved.push_back({false, static_cast<unsigned>(known - results.begin())});
    if (known == results.end())
      results.push_back(value);
  }
  returned->setOperands(results);
  block.forward.setFunctionType(builder.getFunctionType(source->getArgumentTypes(), ValueRange(results).getTypes()));
}

SelectiveBlock SelectiveBuilder::build() {
  SmallVector<Value> origins = findOrigins();
  while (block.numGradients < origins.size() && !origins[block.numGradients])
    ++block.numGradients;
  builder.setInsertionPointToStart(body);
  for (unsigned i = block.numGradients; i < origins.size(); ++i)
    body->getArgument(i).replaceAllUsesWith(rebuild(origins[i]));
  body->eraseArguments(block.numGradients, origins.size() - block.numGradients);
  eraseDeadOps(block.backward);
  keepTheRest();
  returnKept();
  block.backward.setFunctionType(builder.getFunctionType(body->getArgumentTypes(), block.backward.getFunctionType().getResults()));
  return block;
}

static void replaceCalls(BlockCalls calls, const SelectiveBlock &block) {
  OpBuilder builder(calls.forward);
  auto forward = builder.create<func::CallOp>(calls.forward.getLoc(), block.forward, calls.forward.getOperands());
  forward->setDiscardableAttrs(calls.forward->getDiscardableAttrDictionary());
  builder.setInsertionPoint(calls.backward);
  SmallVector<Value> operands(calls.backward.getOperands().take_front(block.numGradients));
  for (auto [isArgument, index] : block.saved)
    operands.push_back(isArgument ? forward.getOperand(index) : forward.getResult(index));
  auto backward = builder.create<func::CallOp>(calls.backward.getLoc(), block.backward, operands);
  backward->setDiscardableAttrs(calls.backward->getDiscardableAttrDictionary());
  calls.backward.replaceAllUsesWith(backward.getResults());
  calls.backward->erase();
  for (auto [from, to] : llvm::zip(calls.forward.getResults(), forward.getResults()))
    from.replaceAllUsesWith(to);
  calls.forward->erase();
}

void moai::recomputeSelectively(ModuleOp module, ArrayRef<BlockCalls> blocks) {
  llvm::DenseMap<Attribute, SelectiveBlock> made; // by the forward's name
  for (BlockCalls calls : blocks) {
    SelectiveBlock &block = made[calls.forward.getCalleeAttr()];
    if (!block.forward)
      block = SelectiveBuilder(module, calls).build();
    replaceCalls(calls, block);
  }
}
