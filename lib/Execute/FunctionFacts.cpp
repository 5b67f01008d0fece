//===- FunctionFacts.cpp - What a device asks of a function again and again ===//
#include "FunctionFacts.h"

using namespace mlir;
using namespace moai;

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
