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
  unsigned numOutputs = 0;         ///< leading results of the forward, which stay as they are
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
static bool isKept(Operation *op) { return isa<ContractOp, ConvolutionOp, TransposedConvolutionOp, ExpertMatmulOp, AttentionOp>(op); }

SelectiveBuilder::SelectiveBuilder(ModuleOp module, BlockCalls calls) : calls(calls), builder(module.getContext()) {
  auto clone = [&](BlockCall call, StringRef suffix) {
    auto original = module.lookupSymbol<func::FuncOp>(call.callee().getValue());
    builder.setInsertionPointAfter(original);
    auto copy = cast<func::FuncOp>(builder.clone(*original));
    copy.setName((original.getName().rsplit('.').first + suffix + (call.repeat() ? ".each" : "")).str());
    return copy;
  };
  block.numOutputs = calls.numOutputs();
  block.forward = clone(calls.forward, ".forward.selective");
  block.backward = clone(calls.backward, ".backward.selective");
  source = &block.forward.getBody().front();
  body = &block.backward.getBody().front();
}

// The value in the forward's body that the call site hands to each argument of the backward; null for gradients.
SmallVector<Value> SelectiveBuilder::findOrigins() {
  auto returned = cast<func::ReturnOp>(source->getTerminator());
  auto inputs = calls.forward->getOperands();
  SmallVector<Value> origins;
  for (Value operand : calls.backward->getOperands()) {
    Value origin;
    if (operand.getDefiningOp() == calls.forward.getOperation())
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

// The forward returns its outputs and what is saved of it, arguments among it that the iterations of a repeat hand on.
void SelectiveBuilder::returnKept() {
  auto returned = cast<func::ReturnOp>(source->getTerminator());
  SmallVector<Value> results(returned.getOperands().take_front(block.numOutputs));
  for (Value value : saved) {
    auto argument = dyn_cast<BlockArgument>(value);
    if (argument && calls.forward.carry(argument.getArgNumber()) < 0) {
      block.saved.push_back({true, argument.getArgNumber()});
      continue;
    }
    auto known = std::find(calls.forward.repeat() ? results.begin() + block.numOutputs : results.begin(), results.end(), value);
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
  OpBuilder builder(calls.forward.getOperation());
  RepeatOp repeated = calls.forward.repeat();
  BlockCall forward =
      createLike(builder, calls.forward, block.forward, calls.forward->getOperands(),
                 repeated ? repeated.getCarries() : ArrayRef<int64_t>(), [&](unsigned result) { return result >= block.numOutputs; });
  builder.setInsertionPoint(calls.backward.getOperation());
  SmallVector<Value> operands(calls.backward->getOperands().take_front(block.numGradients));
  SmallVector<int64_t> carries;
  for (unsigned i = 0; i < block.numGradients; ++i)
    carries.push_back(calls.backward.carry(i));
  for (auto [isArgument, index] : block.saved)
    operands.push_back(isArgument ? forward->getOperand(index) : forward->getResult(index));
  carries.resize(operands.size(), -1);
  BlockCall backward = createLike(builder, calls.backward, block.backward, operands, carries,
                                  [&](unsigned result) { return isa<StackType>(calls.backward->getResult(result).getType()); });
  calls.backward->replaceAllUsesWith(backward->getResults());
  calls.backward->erase();
  for (auto [from, to] : llvm::zip(calls.forward->getResults().take_front(block.numOutputs), forward->getResults()))
    from.replaceAllUsesWith(to);
  calls.forward->erase();
}

void moai::recomputeSelectively(ModuleOp module, ArrayRef<BlockCalls> blocks) {
  llvm::DenseMap<std::pair<Attribute, OperationName>, SelectiveBlock> made; // by the forward's name, and whether it is repeated
  for (BlockCalls calls : blocks) {
    SelectiveBlock &block = made[{calls.forward.callee(), calls.forward->getName()}];
    if (!block.forward)
      block = SelectiveBuilder(module, calls).build();
    replaceCalls(calls, block);
  }
}
