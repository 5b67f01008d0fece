//===- Differentiable.cpp - Whether every gradient can be computed ---------===//
#include "moai/Passes/Differentiable.h"
#include "GradientPath.h"
#include "absl/strings/str_cat.h"

using namespace mlir;
using namespace moai;

StringRef moai::parameterBehind(Operation *op, func::FuncOp step) {
  SmallVector<Value> queue(op->getOperands());
  DenseSet<Value> seen;
  while (!queue.empty()) {
    Value value = queue.pop_back_val();
    if (!isFloating(tensorOf(value).getElementType()) || !seen.insert(value).second)
      continue;
    if (Operation *maker = value.getDefiningOp()) {
      if (!isa<DetachOp>(maker))
        queue.append(maker->operand_begin(), maker->operand_end());
      continue;
    }
    auto argument = cast<BlockArgument>(value);
    auto function = cast<func::FuncOp>(argument.getOwner()->getParentOp());
    if (function != step) {
      for (auto call : step.getOps<func::CallOp>())
        if (call.getCallee() == function.getName())
          queue.push_back(call.getOperand(argument.getArgNumber()));
    } else if (step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole) == "parameter") {
      auto name = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kName);
      return name ? name.getValue() : "";
    }
  }
  return {};
}

std::string moai::placeOf(Operation *op) {
  std::string text;
  if (auto function = op->getParentOfType<func::FuncOp>())
    if (auto block = function->getAttrOfType<StringAttr>(attrs::kBlock))
      text = block.str();
  if (auto name = dyn_cast<NameLoc>(op->getLoc()); name && !name.getName().empty())
    text += (text.empty() ? "" : ".") + name.getName().str();
  return text;
}

absl::Status moai::checkDifferentiable(ModuleOp forward) {
  auto step = forward.lookupSymbol<func::FuncOp>("step");
  std::string reason;
  forward.walk([&](OpaqueOp op) {
    StringRef parameter = parameterBehind(op, step);
    if (parameter.empty())
      return WalkResult::advance();
    std::string place = placeOf(op);
    reason = absl::StrCat("op ", op.getTarget().str(), place.empty() ? "" : " in ", place,
                          " has no gradient rule, and the loss reaches parameter '", parameter.str(),
                          "' through it: moai-plan can plan this model, but its training step can't be computed");
    return WalkResult::interrupt();
  });
  return reason.empty() ? absl::OkStatus() : absl::InvalidArgumentError(reason);
}
