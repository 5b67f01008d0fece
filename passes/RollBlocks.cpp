//===- RollBlocks.cpp - Repeated calls of a block become one op ------------===//
#include "Activity.h"
#include "CandidateInput.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"

namespace moai {
#define GEN_PASS_DEF_ROLLBLOCKS
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

/// Calls of one function, each reading what the one before it returned.
struct Run {
  SmallVector<func::CallOp> calls;
  SmallVector<int64_t> carries;  ///< by operand: the result of the call before, or -1
  SmallVector<unsigned> stacked; ///< operands that are an argument of @step of each call's own
};

struct RollBlocksPass : public moai::impl::RollBlocksBase<RollBlocksPass> {
  void runOnOperation() override;

private:
  std::vector<Run> findRuns();
  bool extend(Run &run, func::CallOp next) const;
  bool isOwnArgument(Value operand) const;
  bool areAlike(Value operand, Value other) const;
  void roll(Run &run);
  void stack(Run &run, unsigned operand);
  void finish();

  func::FuncOp step;
  DenseSet<Value> active;
  StringAttr nameName;
  SmallVector<Attribute> argumentAttributes; ///< the function's follow at the end
  BitVector replaced;                        ///< arguments that are in a stack now
};

} // namespace

// Only one call reads it, so that its gradient is that call's alone.
bool RollBlocksPass::isOwnArgument(Value operand) const { return isa<BlockArgument>(operand) && operand.hasOneUse(); }

// Arguments of one type that differ in their name alone.
bool RollBlocksPass::areAlike(Value operand, Value other) const {
  auto attributesOf = [&](Value value) {
    return cast<DictionaryAttr>(argumentAttributes[cast<BlockArgument>(value).getArgNumber()]).getValue();
  };
  ArrayRef<NamedAttribute> own = attributesOf(operand), others = attributesOf(other);
  return operand.getType() == other.getType() && own.size() == others.size() && llvm::all_of(llvm::zip(own, others), [&](auto pair) {
           auto [a, b] = pair;
           return a.getName() == b.getName() && (a.getValue() == b.getValue() || a.getName() == nameName);
         });
}

// Takes the call into the run if it goes on where the run ends.
bool RollBlocksPass::extend(Run &run, func::CallOp next) const {
  func::CallOp last = run.calls.back();
  SmallVector<int64_t> carries;
  SmallVector<unsigned> stacked;
  BitVector isCarried(last.getNumResults());
  for (auto [index, before, operand] : llvm::enumerate(last.getOperands(), next.getOperands())) {
    carries.push_back(-1);
    if (operand.getDefiningOp() == last) {
      carries.back() = cast<OpResult>(operand).getResultNumber();
      // Where the first call's operand needs no gradient and the others' do, their backwards differ.
      if (isCarried.test(carries.back()) || active.contains(operand) != active.contains(before))
        return false;
      isCarried.set(carries.back());
    } else if (before != operand) {
      if (!isOwnArgument(before) || !isOwnArgument(operand) || !areAlike(before, operand))
        return false;
      stacked.push_back(index);
    } else if (active.contains(operand)) {
      return false;
    }
  }
  bool goesOn = isCarried.all() && llvm::all_of(last->getUsers(), [&](Operation *user) { return user == next; });
  bool isAlike = run.calls.size() == 1 || (run.carries == carries && run.stacked == stacked);
  if (!goesOn || !isAlike)
    return false;
  run.calls.push_back(next);
  run.carries = std::move(carries);
  run.stacked = std::move(stacked);
  return true;
}

std::vector<Run> RollBlocksPass::findRuns() {
  std::vector<Run> runs;
  for (func::CallOp call : step.getOps<func::CallOp>()) {
    // Calls of other blocks may stand between.
    auto run = llvm::find_if(llvm::reverse(runs), [&](Run &run) { return run.calls.back().getCallee() == call.getCallee(); });
    if (run == runs.rend() || !extend(*run, call))
      runs.push_back({{call}, {}, {}});
  }
  llvm::erase_if(runs, [](const Run &run) { return run.calls.size() < 2; });
  return runs;
}

// The tensors that an operand is in the run's calls, in one argument.
void RollBlocksPass::stack(Run &run, unsigned operand) {
  SmallVector<Attribute> names;
  for (func::CallOp call : run.calls) {
    auto argument = cast<BlockArgument>(call.getOperand(operand));
    names.push_back(cast<DictionaryAttr>(argumentAttributes[argument.getArgNumber()]).get(nameName));
    replaced.set(argument.getArgNumber());
  }
  auto first = cast<BlockArgument>(run.calls.front().getOperand(operand));
  replaced.reset(first.getArgNumber());
  NamedAttrList attributes(cast<DictionaryAttr>(argumentAttributes[first.getArgNumber()]));
  if (names.front())
    attributes.set(nameName, ArrayAttr::get(&getContext(), names));
  argumentAttributes[first.getArgNumber()] = attributes.getDictionary(&getContext());
  first.setType(StackType::get(run.calls.size(), tensorOf(first)));
}

void RollBlocksPass::roll(Run &run) {
  func::CallOp first = run.calls.front(), last = run.calls.back();
  for (unsigned operand : run.stacked)
    stack(run, operand);
  SmallVector<Attribute> blocks;
  for (func::CallOp call : run.calls)
    if (Attribute name = call->getAttr(attrs::kBlock))
      blocks.push_back(name);
  OpBuilder builder(first);
  auto repeat = builder.create<RepeatOp>(first.getLoc(), last.getResultTypes(), first.getOperands(), first.getCallee(), run.calls.size(),
                                         run.carries, blocks.size() == run.calls.size() ? builder.getArrayAttr(blocks) : ArrayAttr(),
                                         /*reversed=*/false);
  last->replaceAllUsesWith(repeat.getResults());
  for (func::CallOp call : llvm::reverse(run.calls))
    call->erase();
}

void RollBlocksPass::finish() {
  SmallVector<Attribute> kept;
  for (auto [number, attributes] : llvm::enumerate(argumentAttributes))
    if (!replaced.test(number))
      kept.push_back(attributes);
  Block &body = step.getBody().front();
  body.eraseArguments(replaced);
  step.setFunctionType(FunctionType::get(&getContext(), body.getArgumentTypes(), step.getFunctionType().getResults()));
  step.setAllArgAttrs(kept);
}

void RollBlocksPass::runOnOperation() {
  step = getStep(getOperation());
  if (!step)
    return signalPassFailure();
  nameName = StringAttr::get(&getContext(), attrs::kName);
  active = findActive(step);
  argumentAttributes.clear();
  for (unsigned i = 0; i < step.getNumArguments(); ++i) {
    DictionaryAttr attributes = step.getArgAttrDict(i);
    argumentAttributes.push_back(attributes ? attributes : DictionaryAttr::get(&getContext()));
  }
  replaced = BitVector(step.getNumArguments());
  std::vector<Run> runs = findRuns();
  if (runs.empty())
    return;
  for (Run &run : runs)
    roll(run);
  finish();
}
