//===- RecomputeFully.cpp - Whole blocks run again in the backward ---------===//
#include "Recompute.h"
#include "moai/IR/Moai.h"

using namespace mlir;
using namespace moai;

namespace {
/// A copy of a block's forward for its backward.
struct Recomputed {
  func::FuncOp function;
  SmallVector<unsigned> results; ///< which of the forward's results it returns
};
} // namespace

// Only what the backward reads is returned. As with activation checkpointing that stops early, what only the block's output
// needs does not run again.
static Recomputed copyForward(ModuleOp module, BlockCalls calls) {
  OpBuilder builder(module.getContext());
  Recomputed recomputed;
  auto original = module.lookupSymbol<func::FuncOp>(calls.forward.getCallee());
  for (auto [index, result] : llvm::enumerate(calls.forward.getResults()))
    if (llvm::is_contained(calls.backward.getOperands(), result))
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
  return recomputed;
}

// What the forward itself returned beyond its outputs is no longer used, so it is freed at once.
void moai::recomputeFully(ModuleOp module, ArrayRef<BlockCalls> blocks) {
  OpBuilder builder(module.getContext());
  llvm::DenseMap<Attribute, Recomputed> functions;
  for (auto [forward, backward] : blocks) {
    Recomputed &recomputed = functions[forward.getCalleeAttr()];
    if (!recomputed.function)
      recomputed = copyForward(module, {forward, backward});
    builder.setInsertionPoint(backward);
    auto again = builder.create<func::CallOp>(forward.getLoc(), recomputed.function, forward.getOperands());
    // Its block's name among them: random numbers are drawn again.
    again->setDiscardableAttrs(backward->getDiscardableAttrDictionary());
    again->setAttr(attrs::kRecompute, builder.getUnitAttr());
    for (auto [index, result] : llvm::zip(recomputed.results, again.getResults()))
      forward.getResult(index).replaceUsesWithIf(result, [&, call = backward](OpOperand &use) { return use.getOwner() == call; });
  }
}

FailureOr<SmallVector<BlockCalls>> moai::takeFirstBlocks(ModuleOp module, ArrayRef<BlockCalls> blocks, ArrayRef<int64_t> counts,
                                                         llvm::function_ref<int64_t(func::CallOp)> stageOf) {
  SmallVector<BlockCalls> taken;
  SmallVector<int64_t> found(counts.size());
  for (BlockCalls calls : blocks)
    if (int64_t stage = stageOf(calls.forward); found[stage]++ < counts[stage])
      taken.push_back(calls);
  for (auto [stage, count] : llvm::enumerate(counts))
    if (found[stage] < count)
      return module.emitError() << "recomputation is to repeat " << count << " blocks of stage " << stage << ", which has " << found[stage]
                                << " of the model's " << blocks.size() << "; give at most as many";
  return taken;
}
