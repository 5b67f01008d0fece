//===- Storage.cpp - Which values share memory -----------------------------===//
#include "moai/IR/Storage.h"

using namespace mlir;
using namespace moai;

const StorageAnalysis::Layout &StorageAnalysis::layoutOf(Value value) {
  auto alias = updated.find(value);
  if (alias != updated.end())
    return layoutOf(alias->second);
  auto [it, isNew] = views.try_emplace(value);
  if (isNew) {
    Layout &layout = it->second;
    layout.root = value;
    layout.shape = tensorOf(value).getDims().evaluate(binding);
    layout.strides.assign(layout.shape.size(), 1);
    // Attention kernels write [batch, sequence, heads, width], so that joining the heads again is a view.
    if (isa_and_nonnull<AttentionOp, AttentionBackwardOp>(value.getDefiningOp()) && layout.shape.size() == 4) {
      int64_t heads = layout.shape[1], length = layout.shape[2], width = layout.shape[3];
      layout.strides[1] = width;
      layout.strides[2] = saturatingMultiply(heads, width);
      layout.strides[0] = saturatingMultiply(layout.strides[2], length);
      return layout;
    }
    for (size_t i = layout.shape.size(); i-- > 1;)
      layout.strides[i - 1] = saturatingMultiply(layout.strides[i], std::max<int64_t>(1, layout.shape[i]));
  }
  return it->second;
}

bool StorageAnalysis::visit(Operation &op) {
  if (auto update = dyn_cast<InPlaceOpInterface>(op))
    for (OpResult result : op.getResults())
      updated[result] = update.getUpdatedOperand(result.getResultNumber());
  auto view = dyn_cast<ViewOpInterface>(op);
  if (!view)
    return false;
  // Copied: the map may move while the result's layout is made.
  Layout input = layoutOf(op.getOperand(0));
  auto strides = view.getAliasStrides(input.shape, input.strides, binding);
  if (!strides)
    return true;
  Layout result;
  result.root = input.root;
  result.shape = tensorOf(op.getResult(0)).getDims().evaluate(binding);
  result.strides = std::move(*strides);
  views[op.getResult(0)] = std::move(result);
  return false;
}

Value StorageAnalysis::rootOf(Value value) const {
  for (auto alias = updated.find(value); alias != updated.end(); alias = updated.find(value))
    value = alias->second;
  auto it = views.find(value);
  return it == views.end() ? value : it->second.root;
}

Value moai::getHeldLogits(CrossEntropyOp loss) {
  Value value = loss.getLogits();
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<CastOp, ViewOpInterface>(op))
      break;
    value = op->getOperand(0);
  }
  return value;
}

// The operand that a result shares its storage with: views have one that can, updates in place say which.
static Value sharingOperand(OpResult result) {
  if (auto update = dyn_cast<InPlaceOpInterface>(result.getOwner()))
    return update.getUpdatedOperand(result.getResultNumber());
  return result.getOwner()->getOperand(0);
}

const FunctionFacts &FunctionTable::of(func::FuncOp function) {
  std::unique_ptr<FunctionFacts> &known = facts[function];
  if (known)
    return *known;
  known = std::make_unique<FunctionFacts>();
  StorageAnalysis storage(bytes.getBinding());
  for (Operation &op : function.getBody().front()) {
    for (Value operand : op.getOperands())
      ++known->uses[operand];
    storage.visit(op);
    for (OpResult result : op.getResults())
      if (storage.rootOf(result) != result)
        known->sharedWith[result] = sharingOperand(result);
    if (auto loss = dyn_cast<CrossEntropyOp>(op))
      if (Value held = getHeldLogits(loss); held != loss.getLogits()) {
        known->holds[&op] = held;
        ++known->uses[held];
      }
  }
  return *known;
}

func::FuncOp FunctionTable::callee(func::CallOp call) {
  func::FuncOp &known = callees[call.getCalleeAttr()];
  if (!known)
    known = module.lookupSymbol<func::FuncOp>(call.getCallee());
  return known;
}

void FunctionTable::prepare() {
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isExternal())
      continue;
    of(function);
    for (Value argument : function.getArguments())
      bytes(argument);
    for (Operation &op : function.getBody().front()) {
      for (Value result : op.getResults())
        bytes(result);
      if (auto call = dyn_cast<func::CallOp>(op))
        callee(call);
    }
  }
}
