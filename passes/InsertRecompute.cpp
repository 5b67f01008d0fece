//===- InsertRecompute.cpp - Forward work done again in the backward -------===//
#include "CandidateInput.h"
#include "mlir/IR/IRMapping.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"
#include "llvm/ADT/MapVector.h"

namespace moai {
#define GEN_PASS_DEF_INSERTRECOMPUTE
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

/// The forward and backward call of one block instance.
struct CallPair {
  func::CallOp forward, backward;
};

struct InsertRecomputePass : public moai::impl::InsertRecomputeBase<InsertRecomputePass> {
  void runOnOperation() override;

private:
  void recomputeFully(ArrayRef<CallPair> pairs);
  void recomputeSelectively(ArrayRef<CallPair> pairs);
};

} // namespace

/// Matrix products are what a selective recomputation keeps: they cost the most to repeat.
static bool isKept(Operation *op) { return isa<ContractOp, ConvolutionOp, ExpertMatmulOp, OpaqueOp, DropoutOp, RouteOp, SortOp>(op); }

static void eraseDeadOps(func::FuncOp function) {
  for (Operation &op : llvm::make_early_inc_range(llvm::drop_begin(llvm::reverse(function.getBody().front()))))
    if (isOpTriviallyDead(&op))
      op.erase();
}

// A copy of the forward that returns only what the backward reads, ahead of each backward call: what the forward itself
// returned beyond its outputs is no longer used, so it is freed at once. As with activation checkpointing that stops early,
// what only the block's output needs does not run again.
void InsertRecomputePass::recomputeFully(ArrayRef<CallPair> pairs) {
  ModuleOp module = getOperation();
  OpBuilder builder(&getContext());
  struct Recomputed {
    func::FuncOp function;
    SmallVector<unsigned> results; ///< of the forward
  };
  llvm::DenseMap<Attribute, Recomputed> functions;
  for (auto [forward, backward] : pairs) {
    Recomputed &recomputed = functions[forward.getCalleeAttr()];
    if (!recomputed.function) {
      auto original = module.lookupSymbol<func::FuncOp>(forward.getCallee());
      for (auto [index, result] : llvm::enumerate(forward.getResults()))
        if (llvm::is_contained(backward.getOperands(), result))
          recomputed.results.push_back(index);
      builder.setInsertionPointAfter(original);
      recomputed.function = cast<func::FuncOp>(builder.clone(*original));
      recomputed.function.setName((original.getName().rsplit('.').first + ".recompute").str());
      auto returned = cast<func::ReturnOp>(recomputed.function.getBody().front().getTerminator());
      SmallVector<Value> kept;
      for (unsigned index : recomputed.results)
        kept.push_back(returned.getOperand(index));
      returned->setOperands(kept);
      recomputed.function.setFunctionType(builder.getFunctionType(original.getArgumentTypes(), ValueRange(kept).getTypes()));
      eraseDeadOps(recomputed.function);
    }
    builder.setInsertionPoint(backward);
    auto again = builder.create<func::CallOp>(forward.getLoc(), recomputed.function, forward.getOperands());
    again->setDiscardableAttrs(backward->getDiscardableAttrDictionary());
    again->setAttr(attrs::kRecompute, builder.getUnitAttr());
    for (auto [index, result] : llvm::zip(recomputed.results, again.getResults()))
      forward.getResult(index).replaceUsesWithIf(result, [&, call = backward](OpOperand &use) { return use.getOwner() == call; });
  }
}

// Inside each block's backward, saved values are rebuilt from block inputs and matrix products.
void InsertRecomputePass::recomputeSelectively(ArrayRef<CallPair> pairs) {
  ModuleOp module = getOperation();
  OpBuilder builder(&getContext());
  struct Variant {
    func::FuncOp forward, backward;
    unsigned numGradients = 0;
    SmallVector<std::pair<bool, unsigned>> sources; ///< of arguments behind the gradients: (forward operand, index)
  };
  llvm::DenseMap<Attribute, Variant> variants;
  for (auto [forwardCall, backwardCall] : pairs) {
    Variant &variant = variants[forwardCall.getCalleeAttr()];
    if (!variant.forward) {
      auto forward = module.lookupSymbol<func::FuncOp>(forwardCall.getCallee());
      auto backward = module.lookupSymbol<func::FuncOp>(backwardCall.getCallee());
      builder.setInsertionPointAfter(backward);
      variant.forward = cast<func::FuncOp>(builder.clone(*forward));
      variant.forward.setName((forward.getName().rsplit('.').first + ".forward.selective").str());
      variant.backward = cast<func::FuncOp>(builder.clone(*backward));
      variant.backward.setName((backward.getName().rsplit('.').first + ".backward.selective").str());
      Block &source = variant.forward.getBody().front(), &body = variant.backward.getBody().front();
      auto returned = cast<func::ReturnOp>(source.getTerminator());

      // How the call site fills each argument of the backward.
      SmallVector<Value> origin; // in the forward's body; null for gradients
      for (Value operand : backwardCall.getOperands()) {
        Value from;
        if (operand.getDefiningOp() == forwardCall)
          from = returned.getOperand(cast<OpResult>(operand).getResultNumber());
        else if (auto it = llvm::find(forwardCall.getOperands(), operand); it != forwardCall.getOperands().end())
          from = source.getArgument(it - forwardCall.getOperands().begin());
        origin.push_back(from);
      }
      while (variant.numGradients < origin.size() && !origin[variant.numGradients])
        ++variant.numGradients;

      unsigned oldArguments = body.getNumArguments();
      builder.setInsertionPointToStart(&body);
      IRMapping rebuilt;
      SmallVector<Value> savedResults;
      std::function<Value(Value)> rebuild = [&](Value value) -> Value {
        if (Value known = rebuilt.lookupOrNull(value))
          return known;
        Operation *op = value.getDefiningOp();
        if (!op || isKept(op)) {
          Value argument = body.addArgument(value.getType(), value.getLoc());
          if (auto input = dyn_cast<BlockArgument>(value)) {
            variant.sources.push_back({true, input.getArgNumber()});
          } else {
            variant.sources.push_back({false, static_cast<unsigned>(savedResults.size())});
            savedResults.push_back(value);
          }
          rebuilt.map(value, argument);
          return argument;
        }
        for (Value operand : op->getOperands())
          rebuild(operand);
        Operation *copy = builder.clone(*op, rebuilt);
        copy->setAttr(attrs::kRecompute, builder.getUnitAttr());
        return rebuilt.lookup(value);
      };
      for (unsigned i = variant.numGradients; i < oldArguments; ++i)
        body.getArgument(i).replaceAllUsesWith(rebuild(origin[i]));
      body.eraseArguments(variant.numGradients, oldArguments - variant.numGradients);
      eraseDeadOps(variant.backward);
      // Arguments that only fed what turned out dead are not saved.
      unsigned numOutputs = 0;
      for (auto [index, result] : llvm::enumerate(forwardCall.getResults()))
        if (llvm::any_of(result.getUsers(), [&, call = backwardCall](Operation *user) { return user != call; }))
          numOutputs = std::max(numOutputs, static_cast<unsigned>(index) + 1);
      SmallVector<Value> results(returned.getOperands().take_front(numOutputs));
      for (unsigned i = variant.sources.size(); i-- > 0;)
        if (body.getArgument(variant.numGradients + i).use_empty()) {
          body.eraseArgument(variant.numGradients + i);
          variant.sources.erase(variant.sources.begin() + i);
        }
      for (auto &[isOperand, index] : variant.sources) {
        if (isOperand)
          continue;
        Value value = savedResults[index];
        auto known = llvm::find(results, value);
        index = static_cast<unsigned>(known - results.begin());
        if (known == results.end())
          results.push_back(value);
      }
      returned->setOperands(results);
      variant.forward.setFunctionType(builder.getFunctionType(source.getArgumentTypes(), ValueRange(results).getTypes()));
      variant.backward.setFunctionType(builder.getFunctionType(body.getArgumentTypes(), variant.backward.getFunctionType().getResults()));
    }
    builder.setInsertionPoint(forwardCall);
    auto forward = builder.create<func::CallOp>(forwardCall.getLoc(), variant.forward, forwardCall.getOperands());
    forward->setDiscardableAttrs(forwardCall->getDiscardableAttrDictionary());
    builder.setInsertionPoint(backwardCall);
    SmallVector<Value> operands(backwardCall.getOperands().take_front(variant.numGradients));
    for (auto [isOperand, index] : variant.sources)
      operands.push_back(isOperand ? forward.getOperand(index) : forward.getResult(index));
    auto backward = builder.create<func::CallOp>(backwardCall.getLoc(), variant.backward, operands);
    backward->setDiscardableAttrs(backwardCall->getDiscardableAttrDictionary());
    backwardCall.replaceAllUsesWith(backward.getResults());
    backwardCall->erase();
    for (auto [from, to] : llvm::zip(forwardCall.getResults(), forward.getResults()))
      from.replaceAllUsesWith(to);
    forwardCall->erase();
  }
}

void InsertRecomputePass::runOnOperation() {
  FailureOr<ParallelConfig> config = getConfig(getOperation());
  func::FuncOp step = getStep(getOperation());
  if (failed(config) || !step)
    return signalPassFailure();
  if (config->recomputation == Recomputation::None)
    return;
  llvm::MapVector<Attribute, CallPair> byPosition;
  for (func::CallOp call : step.getOps<func::CallOp>())
    if (Attribute position = call->getAttr(attrs::kPosition)) {
      CallPair &pair = byPosition[position];
      (call->hasAttr(attrs::kPhase) ? pair.backward : pair.forward) = call;
    }
  SmallVector<CallPair> pairs;
  for (auto &[position, pair] : byPosition)
    if (pair.forward && pair.backward)
      pairs.push_back(pair);
  if (config->recomputation == Recomputation::Full)
    recomputeFully(pairs);
  else
    recomputeSelectively(pairs);
}
