//===- Activity.cpp - What gradients flow through --------------------------===//
#include "Activity.h"
#include "moai/IR/Moai.h"

using namespace mlir;
using namespace moai;

void moai::markActive(func::FuncOp function, DenseSet<Value> &active) {
  for (Operation &op : function.getBody().front())
    if (!isa<DetachOp>(op) && llvm::any_of(op.getOperands(), [&](Value operand) { return active.contains(operand); }))
      for (Value result : op.getResults())
        if (isFloating(tensorOf(result).getElementType()))
          active.insert(result);
}

DenseSet<Value> moai::findActive(func::FuncOp step) {
  DenseSet<Value> active;
  active.reserve(step.getNumArguments());
  auto roleName = StringAttr::get(step.getContext(), attrs::kRole), parameter = StringAttr::get(step.getContext(), "parameter");
  for (BlockArgument argument : step.getArguments())
    if (DictionaryAttr attributes = step.getArgAttrDict(argument.getArgNumber());
        attributes && attributes.get(roleName) == parameter && isFloating(tensorOf(argument).getElementType()))
      active.insert(argument);
  markActive(step, active);
  return active;
}
