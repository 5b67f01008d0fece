//===- DistributeCopies.cpp - The parameters that kernels read -------------===//
#include "DistributeParams.h"
#include "RepeatBody.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace moai;

// The compute copies, made once per step: gathered from shards, or cast from masters that are kept in another type. Kernels
// read a parameter that is its own master itself.
SmallVector<Value> ParameterDistributor::load(const Bucket &bucket, ArrayRef<SymTensorType> tensors, ValueRange masters) {
  Type element = copyElementOf(bucket.exported());
  SmallVector<Type, 12> copies;
  for (SymTensorType type : tensors)
    copies.push_back(type.getElementType() == element ? type : SymTensorType::get(context, type.getShape(), element));
  if (!isSharded() && tensorOf(masters[0]) == copies[0])
    return SmallVector<Value>(masters);
  if (lastLoad)
    builder.setInsertionPointAfter(lastLoad);
  else
    builder.setInsertionPointToStart(&step.getBody().front());
  SmallVector<Value> kept = forEach(bucket, "load.each", loadPart, masters, [&](ValueRange masters) {
    SmallVector<Value> kept;
    if (isSharded()) {
      auto gather = builder.create<GatherBucketOp>(step.getLoc(), copies, masters, AxisSet::data());
      place(gather, bucket, loadPart);
      return SmallVector<Value>(gather.getOutputs());
    }
    for (auto [master, type] : llvm::zip(masters, copies)) {
      auto cast = builder.create<CastOp>(step.getLoc(), type, master);
      place(cast, bucket, loadPart);
      kept.push_back(cast);
    }
    return kept;
  });
  lastLoad = kept.back().getDefiningOp();
  return kept;
}

// The cast in a body of the repeat's own.
void ParameterDistributor::narrowInBody(RepeatOp repeat, BlockArgument parameter, Value copy, int64_t stage) {
  func::FuncOp body = getOwnBody(repeat, stage);
  auto bodyBuilder = OpBuilder::atBlockBegin(&body.getBody().front());
  for (OpOperand &operand : repeat->getOpOperands()) {
    if (operand.get() != parameter)
      continue;
    BlockArgument wide = body.getArgument(operand.getOperandNumber());
    wide.setType(tensorOf(copy));
    auto cast = bodyBuilder.create<CastOp>(step.getLoc(), tensorOf(parameter), wide);
    wide.replaceAllUsesExcept(cast, cast);
    operand.set(copy);
  }
  updateBodyType(body);
}

// Replaces a parameter on one stage by its copy. A copy that is wider than what kernels read is narrowed ahead of its first
// use, once in the forward and once in the backward, so that the narrow one doesn't stay.
void ParameterDistributor::useCopy(BlockArgument parameter, Value copy, int64_t stage) {
  for (bool backward : {false, true}) {
    auto isUse = [&](OpOperand &use) {
      Operation *user = use.getOwner();
      return labels.stage(user) == stage && !labels.part(user) && labels.isBackward(user) == backward;
    };
    Value narrow = copy;
    if (copy.getType() != parameter.getType() && isa<StackType>(copy.getType())) {
      for (Operation *user : llvm::SmallSetVector<Operation *, 4>(parameter.user_begin(), parameter.user_end()))
        if (auto repeat = dyn_cast<RepeatOp>(user); repeat && labels.stage(user) == stage && labels.isBackward(user) == backward)
          narrowInBody(repeat, parameter, copy, stage);
      continue;
    }
    if (copy.getType() != parameter.getType()) {
      Operation *first = nullptr;
      for (OpOperand &use : parameter.getUses())
        if (isUse(use) && (!first || use.getOwner()->isBeforeInBlock(first)))
          first = use.getOwner();
      if (!first)
        continue;
      builder.setInsertionPoint(first);
      auto cast = builder.create<CastOp>(step.getLoc(), parameter.getType(), copy);
      labels.place(cast, stage, backward);
      narrow = cast;
    }
    parameter.replaceUsesWithIf(narrow, isUse);
  }
}
