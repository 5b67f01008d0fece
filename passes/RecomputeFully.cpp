//===- RecomputeFully.cpp - Whole blocks run again in the backward ---------===//
#include "Recompute.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace moai;

namespace {

/// A block's functions for its recomputation.
struct Recomputed {
  func::FuncOp again;            ///< returns what the backward reads of the forward
  SmallVector<unsigned> results; ///< which of the forward's results these are
  func::FuncOp forward;          ///< of a repeat: returns the block's results, and the arguments that iterations hand on
  func::FuncOp backward;         ///< of a repeat: the body that runs the forward again, then the backward
};

/// What a repeat's backward, run after its forward once more, takes; and what of it the parts take.
struct BodyOperands {
  llvm::SetVector<Value> values;
  SmallVector<int64_t> carries;

  unsigned add(Value value, int64_t carry) {
    if (values.insert(value))
      carries.push_back(carry);
    return llvm::find(values, value) - values.begin();
  }
};

class FullBuilder {
public:
  explicit FullBuilder(ModuleOp module) : module(module), builder(module.getContext()) {}
  void recompute(BlockCalls calls);

private:
  Recomputed &functionsOf(BlockCalls calls);
  func::FuncOp copyOf(BlockCall call, StringRef name, function_ref<SmallVector<Value>(func::FuncOp)> results);
  void recomputeCall(BlockCalls calls, const Recomputed &functions);
  void recomputeRepeat(BlockCalls calls, Recomputed &functions);
  func::FuncOp buildBody(BlockCalls calls, const Recomputed &functions, ArrayRef<unsigned> forwardOperands,
                         ArrayRef<std::optional<unsigned>> backwardOperands, const BodyOperands &operands);

  ModuleOp module;
  OpBuilder builder;
  llvm::DenseMap<std::pair<Attribute, OperationName>, Recomputed> known; ///< by the forward's name, and whether it is repeated
};

} // namespace

static func::ReturnOp returnOf(func::FuncOp function) { return cast<func::ReturnOp>(function.getBody().front().getTerminator()); }

// A copy of the function that a call names, with other results.
func::FuncOp FullBuilder::copyOf(BlockCall call, StringRef name, function_ref<SmallVector<Value>(func::FuncOp)> results) {
  auto original = module.lookupSymbol<func::FuncOp>(call.callee().getValue());
  builder.setInsertionPointAfter(original);
  auto copy = cast<func::FuncOp>(builder.clone(*original));
  copy.setName((original.getName().rsplit('.').first + name).str());
  SmallVector<Value> kept = results(copy);
  returnOf(copy)->setOperands(kept);
  copy.setFunctionType(builder.getFunctionType(original.getArgumentTypes(), ValueRange(kept).getTypes()));
  eraseDeadOps(copy);
  return copy;
}

// Only what the backward reads is computed again. As with activation checkpointing that stops early, what only the block's
// output needs is not.
Recomputed &FullBuilder::functionsOf(BlockCalls calls) {
  bool isRepeated = static_cast<bool>(calls.forward.repeat());
  Recomputed &functions = known[{calls.forward.callee(), calls.forward->getName()}];
  if (functions.again)
    return functions;
  func::ReturnOp returned = returnOf(module.lookupSymbol<func::FuncOp>(calls.forward.callee().getValue()));
  for (auto [index, result] : llvm::enumerate(calls.forward->getResults()))
    if (llvm::is_contained(calls.backward->getOperands(), result) && !isa<BlockArgument>(returned.getOperand(index)))
      functions.results.push_back(index);
  functions.again = copyOf(calls.forward, isRepeated ? ".recompute.each" : ".recompute", [&](func::FuncOp copy) {
    SmallVector<Value> kept;
    for (unsigned index : functions.results)
      kept.push_back(returnOf(copy).getOperand(index));
    return kept;
  });
  if (isRepeated)
    functions.forward = copyOf(calls.forward, ".forward.full", [&](func::FuncOp copy) {
      SmallVector<Value> kept(returnOf(copy).getOperands().take_front(calls.numOutputs()));
      for (BlockArgument argument : copy.getArguments())
        if (calls.forward.carry(argument.getArgNumber()) >= 0)
          kept.push_back(argument);
      return kept;
    });
  return functions;
}

// What the forward itself returned beyond its outputs is no longer used, so it is freed at once.
void FullBuilder::recomputeCall(BlockCalls calls, const Recomputed &functions) {
  BlockCall forward = calls.forward;
  builder.setInsertionPoint(calls.backward.getOperation());
  auto again = builder.create<func::CallOp>(forward->getLoc(), functions.again, forward->getOperands());
  // Its block's name among them: random numbers are drawn again.
  again->setDiscardableAttrs(calls.backward->getDiscardableAttrDictionary());
  again->setAttr(attrs::kRecompute, builder.getUnitAttr());
  for (auto [index, result] : llvm::zip(functions.results, again.getResults()))
    forward->getResult(index).replaceUsesWithIf(result, [&](OpOperand &use) { return use.getOwner() == calls.backward.getOperation(); });
}

// One iteration. An operand of the backward that is nothing of the body's is the next result of the forward.
func::FuncOp FullBuilder::buildBody(BlockCalls calls, const Recomputed &functions, ArrayRef<unsigned> forwardOperands,
                                    ArrayRef<std::optional<unsigned>> backwardOperands, const BodyOperands &operands) {
  auto backward = module.lookupSymbol<func::FuncOp>(calls.backward.callee().getValue());
  builder.setInsertionPointAfter(backward);
  SmallVector<Type> types;
  for (Value value : operands.values)
    types.push_back(tensorOf(value));
  auto body = builder.create<func::FuncOp>(backward.getLoc(), (backward.getName() + ".full").str(),
                                           builder.getFunctionType(types, backward.getResultTypes()));
  body.setPrivate();
  body->setAttr(attrs::kBody, builder.getUnitAttr());
  Block *block = body.addEntryBlock();
  builder.setInsertionPointToStart(block);
  SmallVector<Value> taken;
  for (unsigned operand : forwardOperands)
    taken.push_back(block->getArgument(operand));
  auto again = builder.create<func::CallOp>(body.getLoc(), functions.again, taken);
  again->setAttr(attrs::kRecompute, builder.getUnitAttr());
  taken.clear();
  for (auto [operand, value] : llvm::zip(backwardOperands, calls.backward->getOperands())) {
    if (operand) {
      taken.push_back(block->getArgument(*operand));
      continue;
    }
    auto result = llvm::find(functions.results, cast<OpResult>(value).getResultNumber());
    taken.push_back(again.getResult(result - functions.results.begin()));
  }
  auto call = builder.create<func::CallOp>(body.getLoc(), backward, taken);
  builder.create<func::ReturnOp>(body.getLoc(), call.getResults());
  return body;
}

void FullBuilder::recomputeRepeat(BlockCalls calls, Recomputed &functions) {
  RepeatOp forward = calls.forward.repeat();
  unsigned numOutputs = calls.numOutputs();
  builder.setInsertionPoint(forward);
  BlockCall newForward = createLike(builder, forward.getOperation(), functions.forward, forward.getOperands(), forward.getCarries(),
                                    [&](unsigned result) { return result >= numOutputs; });
  // What each iteration had for the forward's operands.
  SmallVector<Value> given(forward.getOperands());
  unsigned next = numOutputs;
  for (auto [operand, carry] : llvm::enumerate(forward.getCarries()))
    if (carry >= 0)
      given[operand] = newForward->getResult(next++);
  BodyOperands operands;
  SmallVector<std::optional<unsigned>> backwardOperands;
  func::ReturnOp returned = returnOf(module.lookupSymbol<func::FuncOp>(forward.getCallee()));
  for (auto [index, operand] : llvm::enumerate(calls.backward->getOperands())) {
    Value value = operand;
    if (operand.getDefiningOp() == forward) {
      auto argument = dyn_cast<BlockArgument>(returned.getOperand(cast<OpResult>(operand).getResultNumber()));
      value = argument ? given[argument.getArgNumber()] : Value();
    }
    backwardOperands.push_back(value ? std::optional(operands.add(value, calls.backward.carry(index))) : std::nullopt);
  }
  SmallVector<unsigned> forwardOperands;
  for (Value value : given)
    forwardOperands.push_back(operands.add(value, -1));
  if (!functions.backward)
    functions.backward = buildBody(calls, functions, forwardOperands, backwardOperands, operands);
  builder.setInsertionPoint(calls.backward.getOperation());
  BlockCall newBackward = createLike(builder, calls.backward, functions.backward, operands.values.getArrayRef(), operands.carries,
                                     [&](unsigned result) { return isa<StackType>(calls.backward->getResult(result).getType()); });
  calls.backward->replaceAllUsesWith(newBackward->getResults());
  calls.backward->erase();
  for (auto [from, to] : llvm::zip(forward.getResults().take_front(numOutputs), newForward->getResults()))
    from.replaceAllUsesWith(to);
  forward->erase();
}

void FullBuilder::recompute(BlockCalls calls) {
  Recomputed &functions = functionsOf(calls);
  if (calls.forward.repeat())
    recomputeRepeat(calls, functions);
  else
    recomputeCall(calls, functions);
}

void moai::recomputeFully(ModuleOp module, ArrayRef<BlockCalls> blocks) {
  FullBuilder builder(module);
  for (BlockCalls calls : blocks)
    builder.recompute(calls);
}
