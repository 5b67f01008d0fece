//===- BuildBackward.cpp - Reverse mode from each op's gradient rule -------===//
#include "Activity.h"
#include "CallLike.h"
#include "CandidateInput.h"
#include "GradientPath.h"
#include "OpLabels.h"
#include "moai/IR/Gradient.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"
#include "llvm/ADT/MapVector.h"
#include <map>

namespace moai {
#define GEN_PASS_DEF_BUILDBACKWARD
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

/// Gradients inside one function: contributions are summed as they come.
class FunctionGradients : public GradientBuilder {
public:
  FunctionGradients(OpBuilder &builder, const DenseSet<Value> &active) : GradientBuilder(builder), active(active) {}

  Value getGradient(Value result) override { return gradients.lookup(result); }
  bool needsGradient(Value operand) override { return active.contains(operand); }
  Value getSaved(Value forwardValue) override { return forwardValue; }
  void accumulate(Value operand, Value gradient) override {
    Value &sum = gradients[operand];
    sum = sum ? elementwise("add", {sum, gradient}, tensorOf(operand)) : gradient;
  }
  /// Lets a value take another one's place.
  void rename(Value from, Value to) {
    auto it = gradients.find(from);
    if (it == gradients.end())
      return;
    Value gradient = it->second;
    gradients.erase(it);
    gradients[to] = gradient;
  }
  Value getOrZero(Value value) {
    Value gradient = gradients.lookup(value);
    return gradient ? gradient : create<GenerateOp>(tensorOf(value), "full", ArrayRef<double>{0.0}).getResult();
  }

protected:
  const DenseSet<Value> &active;
  DenseMap<Value, Value> gradients;
};

/// The backward of a block, in a function of its own: forward values it reads become arguments.
class BlockGradients : public FunctionGradients {
public:
  BlockGradients(OpBuilder &builder, const DenseSet<Value> &active, Block *body) : FunctionGradients(builder, active), body(body) {}

  Value getSaved(Value forwardValue) override {
    auto it = saved.find(forwardValue);
    if (it != saved.end())
      return it->second;
    // What is made of nothing is made again.
    if (auto generate = forwardValue.getDefiningOp<GenerateOp>())
      return saved[forwardValue] = builder.clone(*generate)->getResult(0);
    order.push_back(forwardValue);
    return saved[forwardValue] = body->addArgument(forwardValue.getType(), location);
  }
  void seed(Value result) { gradients[result] = body->addArgument(result.getType(), location); }

  SmallVector<Value> order; ///< forward values in the order of their arguments, behind the gradients

private:
  Block *body;
  DenseMap<Value, Value> saved;
};

/// A block's function with its backward, and how a call site wires them.
struct Differentiated {
  func::FuncOp forward, backward;
  unsigned numResults = 0;                      ///< of the block itself; what the forward returns behind them is saved
  SmallVector<unsigned> outputs;                ///< results whose gradients the backward takes
  SmallVector<std::pair<bool, unsigned>> saved; ///< per further argument: (is a forward argument, index of argument or result)
  SmallVector<unsigned> inputs;                 ///< arguments whose gradients it returns
};

struct BuildBackwardPass : public moai::impl::BuildBackwardBase<BuildBackwardPass> {
  void runOnOperation() override;

private:
  llvm::MapVector<StringAttr, DenseSet<Value>> activeBlocks(func::FuncOp step, const DenseSet<Value> &active);
  Differentiated differentiate(func::FuncOp function, const DenseSet<Value> &active, const BitVector &carried);
  BlockCall callForward(BlockCall call, const Differentiated &block);
  void callBackward(BlockCall forward, const Differentiated &block, FunctionGradients &gradients);
};

} // namespace

// The ops of a gradient rule say whose gradient they are: the module of the forward op, and what it is.
static Location placeOfGradient(Operation &op) {
  auto place = dyn_cast<NameLoc>(op.getLoc());
  auto name = place ? place.getName() : StringAttr::get(op.getContext(), "");
  return NameLoc::get(name, NameLoc::get(StringAttr::get(op.getContext(), describeKind(op))));
}

// Calls the op's rule. Emits, with the op and a parameter that waits for it, where there is none.
static LogicalResult buildGradientOf(Operation &op, GradientBuilder &gradients, func::FuncOp step) {
  if (auto differentiable = dyn_cast<GradientOpInterface>(op); differentiable && differentiable.hasGradientRule()) {
    gradients.location = placeOfGradient(op);
    differentiable.buildGradient(gradients);
    return success();
  }
  auto kind = op.getAttrOfType<StringAttr>("kind");
  std::string place = placeOf(&op);
  auto error = op.emitOpError();
  if (kind)
    error << "of kind '" << kind.getValue() << "' ";
  if (!place.empty())
    error << "in " << place << " ";
  return error << "has no gradient rule, and the loss reaches parameter '" << parameterBehind(&op, step) << "' through it";
}

// The functions whose calls have something to differentiate, each with its active arguments. Calls that differ in which
// computed operands are active (those of the first layer above frozen ones) get a copy of the function. A first layer that
// reads the inputs themselves shares its function with the others, and computes a gradient that nothing reads.
llvm::MapVector<StringAttr, DenseSet<Value>> BuildBackwardPass::activeBlocks(func::FuncOp step, const DenseSet<Value> &active) {
  SymbolTable symbols(getOperation());
  std::map<std::pair<std::string, std::vector<bool>>, func::FuncOp> known;
  DenseSet<Attribute> taken;
  llvm::MapVector<StringAttr, DenseSet<Value>> inside;
  for (BlockCall call : findCalls(step)) {
    std::vector<bool> pattern;
    for (Value operand : call->getOperands())
      pattern.push_back(active.contains(operand) || isa<BlockArgument>(operand));
    if (llvm::none_of(call->getOperands(), [&](Value operand) { return active.contains(operand); }))
      continue;
    func::FuncOp &function = known[{call.callee().getValue().str(), pattern}];
    if (!function) {
      function = symbols.lookup<func::FuncOp>(call.callee().getValue());
      if (!taken.insert(call.callee()).second) {
        function = function.clone();
        symbols.insert(function); // which gives it a name of its own
      }
    }
    call.setCallee(function.getName());
    for (auto [operand, argument] : llvm::zip(call->getOperands(), function.getArguments()))
      if (active.contains(operand))
        inside[function.getNameAttr()].insert(argument);
  }
  return inside;
}

// Arguments of the function that an iteration of a repeat takes from the one before.
static BitVector findCarried(func::FuncOp function, ArrayRef<BlockCall> calls) {
  BitVector carried(function.getNumArguments());
  for (BlockCall call : calls)
    if (call.callee().getAttr() == function.getNameAttr())
      for (unsigned i = 0; i < carried.size(); ++i)
        if (call.carry(i) >= 0)
          carried.set(i);
  return carried;
}

Differentiated BuildBackwardPass::differentiate(func::FuncOp function, const DenseSet<Value> &active, const BitVector &carried) {
  Differentiated result;
  Block &forwardBody = function.getBody().front();
  auto forwardReturn = cast<func::ReturnOp>(forwardBody.getTerminator());
  OpBuilder builder(&getContext());
  builder.setInsertionPointAfter(function);
  std::string name = function.getName().str();
  result.backward = builder.create<func::FuncOp>(function.getLoc(), name + ".backward", builder.getFunctionType({}, {}));
  result.backward.setPrivate();
  Block *body = result.backward.addEntryBlock();
  builder.setInsertionPointToStart(body);

  BlockGradients gradients(builder, active, body);
  for (auto [index, value] : llvm::enumerate(forwardReturn.getOperands()))
    if (active.contains(value)) {
      gradients.seed(value);
      result.outputs.push_back(index);
    }
  for (Operation &op : llvm::reverse(forwardBody.without_terminator()))
    if (llvm::any_of(op.getResults(), [&](Value value) { return gradients.getGradient(value) != nullptr; })) {
      if (failed(buildGradientOf(op, gradients, getOperation().lookupSymbol<func::FuncOp>("step"))))
        signalPassFailure();
    }
  SmallVector<Value> returned;
  for (BlockArgument argument : forwardBody.getArguments())
    if (active.contains(argument)) {
      returned.push_back(gradients.getOrZero(argument));
      result.inputs.push_back(argument.getArgNumber());
    }
  builder.create<func::ReturnOp>(function.getLoc(), returned);
  result.backward.setFunctionType(builder.getFunctionType(body->getArgumentTypes(), ValueRange(returned).getTypes()));

  // The forward also returns what the backward reads and a caller doesn't hold.
  SmallVector<Value> results(forwardReturn.getOperands());
  result.numResults = results.size();
  for (Value value : gradients.order) {
    // A repeat has no value for what its iterations take from each other: an argument is returned, so that it stays, and a
    // result once more, to be stacked.
    auto argument = dyn_cast<BlockArgument>(value);
    if (argument && !carried.test(argument.getArgNumber())) {
      result.saved.push_back({true, argument.getArgNumber()});
      continue;
    }
    auto known = std::find(carried.any() ? results.begin() + result.numResults : results.begin(), results.end(), value);
    result.saved.push_back({false, static_cast<unsigned>(known - results.begin())});
    if (known == results.end())
      results.push_back(value);
  }
  forwardReturn->setOperands(results);
  function.setFunctionType(builder.getFunctionType(forwardBody.getArgumentTypes(), ValueRange(results).getTypes()));
  function.setName(name + ".forward");
  result.forward = function;
  return result;
}

// Calls the function that also returns what the backward reads.
BlockCall BuildBackwardPass::callForward(BlockCall call, const Differentiated &block) {
  OpBuilder builder(call.getOperation());
  RepeatOp repeated = call.repeat();
  return createLike(builder, call, block.forward, call->getOperands(), repeated ? repeated.getCarries() : ArrayRef<int64_t>(),
                    [&](unsigned result) { return result >= block.numResults; });
}

// Iterations run the other way round: the gradient that one returns for what it was handed is that of the one before's result.
void BuildBackwardPass::callBackward(BlockCall forward, const Differentiated &block, FunctionGradients &gradients) {
  SmallVector<Value> operands;
  SmallVector<int64_t> carries;
  for (unsigned output : block.outputs) {
    operands.push_back(gradients.getOrZero(forward->getResult(output)));
    auto handedOn = llvm::find_if(block.inputs, [&](unsigned input) { return forward.carry(input) == static_cast<int64_t>(output); });
    carries.push_back(handedOn == block.inputs.end() ? -1 : handedOn - block.inputs.begin());
  }
  for (auto [isArgument, index] : block.saved)
    operands.push_back(isArgument ? forward->getOperand(index) : forward->getResult(index));
  carries.resize(operands.size(), -1);
  auto isStacked = [&](unsigned result) { return isa<StackType>(forward->getOperand(block.inputs[result]).getType()); };
  BlockCall backward = createLike(gradients.builder, forward, block.backward, operands, carries, isStacked);
  if (RepeatOp repeated = backward.repeat())
    repeated.setReversed(true);
  for (auto [input, gradient] : llvm::zip(block.inputs, backward->getResults()))
    if (gradients.needsGradient(forward->getOperand(input)))
      gradients.accumulate(forward->getOperand(input), gradient);
}

void BuildBackwardPass::runOnOperation() {
  ModuleOp module = getOperation();
  func::FuncOp step = getStep(module);
  if (!step)
    return signalPassFailure();
  auto stepReturn = cast<func::ReturnOp>(step.getBody().front().getTerminator());
  // Behind the loss only updated buffers may come, which have names.
  bool onlyBuffers = true;
  for (unsigned i = 1; i < stepReturn.getNumOperands(); ++i)
    onlyBuffers &= step.getResultAttr(i, attrs::kName) != nullptr;
  if (stepReturn.getNumOperands() < 1 || tensorOf(stepReturn.getOperand(0)).getRank() != 0 || !onlyBuffers) {
    step.emitOpError("must return one scalar loss");
    return signalPassFailure();
  }

  DenseSet<Value> active = findActive(step);
  SmallVector<BlockArgument> parameters;
  for (BlockArgument argument : step.getArguments())
    if (step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole) == "parameter")
      parameters.push_back(argument);

  llvm::DenseMap<StringAttr, Differentiated> blocks;
  auto inBlocks = activeBlocks(step, active);
  SmallVector<BlockCall> calls = findCalls(step);
  for (auto &[name, inside] : inBlocks) {
    auto callee = module.lookupSymbol<func::FuncOp>(name);
    markActive(callee, inside);
    blocks[name] = differentiate(callee, inside, findCarried(callee, calls));
  }

  // What depends on parameters has a place in the order of the step, integers (routes, indices) as well.
  OpBuilder builder(stepReturn);
  SmallVector<Operation *> forwardOps;
  SmallVector<bool> hasPlace;
  SmallVector<int64_t> positions; // each iteration of a repeat has one
  int64_t nextPosition = 0;
  DenseSet<Value> dependent;
  for (BlockArgument argument : step.getArguments())
    if (auto role = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole); role == "parameter" || role == "frozen")
      dependent.insert(argument);
  for (Operation &op : step.getBody().front().without_terminator()) {
    forwardOps.push_back(&op);
    positions.push_back(nextPosition);
    nextPosition += BlockCall(&op) ? BlockCall(&op).count() : 1;
    hasPlace.push_back(llvm::any_of(op.getOperands(), [&](Value operand) { return dependent.contains(operand); }));
    if (hasPlace.back())
      dependent.insert(op.result_begin(), op.result_end());
  }
  FunctionGradients gradients(builder, active);
  Value loss = stepReturn.getOperand(0);
  auto one = gradients.create<GenerateOp>(tensorOf(loss), "full", ArrayRef<double>{1.0});
  one->setAttr(attrs::kSeed, builder.getUnitAttr());
  gradients.accumulate(loss, one);

  auto label = [&](Operation *first, int64_t position) {
    for (Operation *op = first; op && op != stepReturn; op = op->getNextNode()) {
      op->setAttr(attrs::kPhase, builder.getStringAttr("backward"));
      op->setAttr(attrs::kPosition, builder.getI64IntegerAttr(position));
    }
  };
  auto lossOp = llvm::find(forwardOps, loss.getDefiningOp());
  label(one, lossOp == forwardOps.end() ? nextPosition : positions[lossOp - forwardOps.begin()]);

  for (size_t number = forwardOps.size(); number-- > 0;) {
    Operation *op = forwardOps[number];
    Operation *before = stepReturn->getPrevNode();
    BlockCall call = op;
    if (call && blocks.count(call.callee().getAttr())) {
      const Differentiated &block = blocks[call.callee().getAttr()];
      BlockCall forward = callForward(call, block);
      for (auto [from, to] : llvm::zip(call->getResults(), forward->getResults())) {
        from.replaceAllUsesWith(to);
        // The old result is about to go, and another op may get its address.
        gradients.rename(from, to);
        if (active.erase(from))
          active.insert(to);
      }
      call->erase();
      op = forwardOps[number] = forward.getOperation();
      gradients.location = op->getLoc();
      if (llvm::any_of(op->getResults(), [&](Value value) { return gradients.getGradient(value) != nullptr; }))
        callBackward(forward, block, gradients);
    } else if (llvm::any_of(op->getResults(), [&](Value value) { return gradients.getGradient(value) != nullptr; })) {
      if (failed(buildGradientOf(*op, gradients, step)))
        return signalPassFailure();
    }
    if (hasPlace[number])
      op->setAttr(attrs::kPosition, builder.getI64IntegerAttr(positions[number]));
    label(before->getNextNode(), positions[number]);
  }

  SmallVector<Value> results(stepReturn.getOperands());
  for (BlockArgument parameter : parameters)
    if (Value gradient = gradients.getGradient(parameter))
      results.push_back(gradient);
    else
      step.setArgAttr(parameter.getArgNumber(), attrs::kRole, builder.getStringAttr("buffer"));
  SmallVector<Attribute> names;
  for (unsigned i = 0; i < stepReturn.getNumOperands(); ++i)
    names.push_back(step.getResultAttrDict(i));
  names.resize(results.size());
  bool isNamed = stepReturn.getNumOperands() > 1;
  stepReturn->setOperands(results);
  step.setFunctionType(builder.getFunctionType(step.getArgumentTypes(), ValueRange(results).getTypes()));
  if (isNamed)
    step.setAllResultAttrs(names);
}
