//===- RepeatBody.cpp - What one repeat does in each iteration -------------===//
#include "RepeatBody.h"

using namespace mlir;
using namespace moai;

func::FuncOp moai::createBody(ModuleOp module, int64_t stage, StringRef name, ArrayRef<Type> arguments) {
  OpBuilder builder(module.getContext());
  builder.setInsertionPointToEnd(module.getBody());
  std::string free = "stage" + std::to_string(stage) + "." + name.str();
  for (unsigned i = 1; module.lookupSymbol(free); ++i)
    free = "stage" + std::to_string(stage) + "." + name.str() + "." + std::to_string(i);
  auto body = builder.create<func::FuncOp>(module.getLoc(), free, builder.getFunctionType(arguments, {}));
  body.setPrivate();
  body->setAttr(attrs::kBody, builder.getUnitAttr());
  body.addEntryBlock();
  return body;
}

void moai::updateBodyType(func::FuncOp body) {
  Block &block = body.getBody().front();
  body.setFunctionType(FunctionType::get(body.getContext(), block.getArgumentTypes(), block.getTerminator()->getOperandTypes()));
}

func::FuncOp moai::getOwnBody(RepeatOp repeat, int64_t stage) {
  auto module = repeat->getParentOfType<ModuleOp>();
  auto callee = module.lookupSymbol<func::FuncOp>(repeat.getCallee());
  if (callee.getName().starts_with("stage"))
    return callee;
  func::FuncOp body = createBody(module, stage, callee.getName(), callee.getArgumentTypes());
  auto builder = OpBuilder::atBlockEnd(&body.getBody().front());
  auto call = builder.create<func::CallOp>(body.getLoc(), callee, body.getArguments());
  builder.create<func::ReturnOp>(body.getLoc(), call.getResults());
  updateBodyType(body);
  repeat.setCallee(body.getName());
  return body;
}

RepeatOp moai::replaceRepeat(RepeatOp repeat, func::FuncOp body, ValueRange addedOperands) {
  OpBuilder builder(repeat);
  SmallVector<Value> operands(repeat.getOperands());
  operands.append(addedOperands.begin(), addedOperands.end());
  SmallVector<int64_t> carries(repeat.getCarries());
  carries.resize(operands.size(), -1);
  SmallVector<Type> types;
  for (auto [before, type] : llvm::zip(repeat.getResultTypes(), body.getResultTypes()))
    types.push_back(stackLike(before, cast<SymTensorType>(type)));
  auto made = builder.create<RepeatOp>(repeat.getLoc(), types, operands, body.getName(), repeat.getCount(), carries, repeat.getBlocksAttr(),
                                       repeat.getReversed());
  made->setDiscardableAttrs(repeat->getDiscardableAttrDictionary());
  repeat.replaceAllUsesWith(made.getResults());
  repeat->erase();
  return made;
}
