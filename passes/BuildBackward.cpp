//===- BuildBackward.cpp - Reverse mode from each op's gradient rule -------===//
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
  SmallVector<unsigned> outputs;                ///< results whose gradients the backward takes
  SmallVector<std::pair<bool, unsigned>> saved; ///< per further argument: (is a forward argument, index of argument or result)
  SmallVector<unsigned> inputs;                 ///< arguments whose gradients it returns
};

struct BuildBackwardPass : public moai::impl::BuildBackwardBase<BuildBackwardPass> {
  void runOnOperation() override;

private:
  void markActive(func::FuncOp function, DenseSet<Value> &active);
  llvm::MapVector<StringAttr, DenseSet<Value>> activeBlocks(func::FuncOp step, const DenseSet<Value> &active);
  Differentiated differentiate(func::FuncOp function, const DenseSet<Value> &active);
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

// Floating values that depend on active ones. Losses and gradients flow through these only.
void BuildBackwardPass::markActive(func::FuncOp function, DenseSet<Value> &active) {
  for (Operation &op : function.getBody().front())
    if (!isa<DetachOp>(op) && llvm::any_of(op.getOperands(), [&](Value operand) { return active.contains(operand); }))
      for (Value result : op.getResults())
        if (isFloating(tensorOf(result).getElementType()))
          active.insert(result);
}

// The functions whose calls have something to differentiate, each with its active arguments. Calls that differ in which
// computed operands are active (those of the first layer above frozen ones) get a copy of the function. A first layer that
// reads the inputs themselves shares its function with the others, and computes a gradient that nothing reads.
llvm::MapVector<StringAttr, DenseSet<Value>> BuildBackwardPass::activeBlocks(func::FuncOp step, const DenseSet<Value> &active) {
  SymbolTable symbols(getOperation());
  std::map<std::pair<std::string, std::vector<bool>>, func::FuncOp> known;
  DenseSet<Attribute> taken;
  llvm::MapVector<StringAttr, DenseSet<Value>> inside;
  for (func::CallOp call : step.getOps<func::CallOp>()) {
    std::vector<bool> pattern;
    for (Value operand : call.getOperands())
      pattern.push_back(active.contains(operand) || isa<BlockArgument>(operand));
    if (llvm::none_of(call.getOperands(), [&](Value operand) { return active.contains(operand); }))
      continue;
    func::FuncOp &function = known[{call.getCallee().str(), pattern}];
    if (!function) {
      function = symbols.lookup<func::FuncOp>(call.getCallee());
      if (!taken.insert(call.getCalleeAttr()).second) {
        function = function.clone();
        symbols.insert(function); // which gives it a name of its own
      }
    }
    call.setCallee(function.getName());
    for (auto [operand, argument] : llvm::zip(call.getOperands(), function.getArguments()))
      if (active.contains(operand))
        inside[function.getNameAttr()].insert(argument);
  }
  return inside;
}

Differentiated BuildBackwardPass::differentiate(func::FuncOp function, const DenseSet<Value> &active) {
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
  for (Value value : gradients.order) {
    if (auto argument = dyn_cast<BlockArgument>(value)) {
      result.saved.push_back({true, argument.getArgNumber()});
      continue;
    }
    auto known = llvm::find(results, value);
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

  DenseSet<Value> active;
  SmallVector<BlockArgument> parameters;
  for (BlockArgument argument : step.getArguments())
    if (step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole) == "parameter") {
      parameters.push_back(argument);
      if (isFloating(tensorOf(argument).getElementType()))
        active.insert(argument);
    }
  markActive(step, active);

  llvm::DenseMap<StringAttr, Differentiated> blocks;
  for (auto &[name, inside] : activeBlocks(step, active)) {
    auto callee = module.lookupSymbol<func::FuncOp>(name);
    markActive(callee, inside);
    blocks[name] = differentiate(callee, inside);
  }

  // What depends on parameters has a place in the order of the step, integers (routes, indices) as well.
  OpBuilder builder(stepReturn);
  SmallVector<Operation *> forwardOps;
  SmallVector<bool> hasPlace;
  DenseSet<Value> dependent;
  for (BlockArgument argument : step.getArguments())
    if (auto role = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole); role == "parameter" || role == "frozen")
      dependent.insert(argument);
  for (Operation &op : step.getBody().front().without_terminator()) {
    forwardOps.push_back(&op);
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
  label(one, llvm::find(forwardOps, loss.getDefiningOp()) - forwardOps.begin());

  for (size_t position = forwardOps.size(); position-- > 0;) {
    Operation *op = forwardOps[position];
    Operation *before = stepReturn->getPrevNode();
    auto call = dyn_cast<func::CallOp>(op);
    if (call && blocks.count(call.getCalleeAttr().getAttr())) {
      Differentiated &block = blocks[call.getCalleeAttr().getAttr()];
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(call);
      auto forward = builder.create<func::CallOp>(call.getLoc(), block.forward, call.getOperands());
      forward->setDiscardableAttrs(call->getDiscardableAttrDictionary());
      for (auto [from, to] : llvm::zip(call.getResults(), forward.getResults())) {
        from.replaceAllUsesWith(to);
        // The old result is about to go, and another op may get its address.
        gradients.rename(from, to);
        if (active.erase(from))
          active.insert(to);
      }
      call->erase();
      op = forwardOps[position] = forward;
      if (llvm::any_of(forward.getResults(), [&](Value value) { return gradients.getGradient(value) != nullptr; })) {
        builder.setInsertionPoint(stepReturn);
        SmallVector<Value> operands;
        for (unsigned index : block.outputs)
          operands.push_back(gradients.getOrZero(forward.getResult(index)));
        for (auto [isArgument, index] : block.saved)
          operands.push_back(isArgument ? forward.getOperand(index) : forward.getResult(index));
        auto backward = builder.create<func::CallOp>(forward.getLoc(), block.backward, operands);
        if (Attribute name = forward->getAttr(attrs::kBlock))
          backward->setAttr(attrs::kBlock, name);
        for (auto [index, gradient] : llvm::zip(block.inputs, backward.getResults()))
          if (active.contains(forward.getOperand(index)))
            gradients.accumulate(forward.getOperand(index), gradient);
      }
    } else if (llvm::any_of(op->getResults(), [&](Value value) { return gradients.getGradient(value) != nullptr; })) {
      if (failed(buildGradientOf(*op, gradients, step)))
        return signalPassFailure();
    }
    if (hasPlace[position])
      op->setAttr(attrs::kPosition, builder.getI64IntegerAttr(static_cast<int64_t>(position)));
    label(before->getNextNode(), static_cast<int64_t>(position));
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
