//===- RepeatOp.cpp - Repeated blocks --------------------------------------===//
#include "OpSupport.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace moai;

LogicalResult RepeatOp::verify() {
  int64_t count = getCount();
  if (count < 1)
    return emitOpError() << "count must be positive, found " << count;
  if (getCarries().size() != getInputs().size())
    return emitOpError() << "has " << getCarries().size() << " carries for " << getInputs().size() << " operands";
  if (getBlocksAttr() && static_cast<int64_t>(getBlocksAttr().size()) != count)
    return emitOpError() << "names " << getBlocksAttr().size() << " blocks, but has a count of " << count;
  auto isAsLong = [&](Type type) { return !isa<StackType>(type) || countTensors(type) == count; };
  if (!llvm::all_of(getOperandTypes(), isAsLong) || !llvm::all_of(getResultTypes(), isAsLong))
    return emitOpError() << "takes and returns stacks of " << count << " tensors, one for each iteration";
  for (auto [operand, result] : llvm::enumerate(getCarries()))
    if (result >= static_cast<int64_t>(getNumResults()) || (result >= 0 && isStacked(operand)))
      return emitOpError() << "operand " << operand << " cannot carry result " << result;
  return success();
}

// The function sees single tensors.
LogicalResult RepeatOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto function = symbols.lookupNearestSymbolFrom<FunctionOpInterface>(*this, getCalleeAttr());
  if (!function)
    return emitOpError() << "calls @" << getCallee() << ", which is no function";
  if (function.getNumArguments() != getNumOperands() || function.getNumResults() != getNumResults())
    return emitOpError() << "has " << getNumOperands() << " operands and " << getNumResults() << " results, @" << getCallee() << " "
                         << function.getNumArguments() << " and " << function.getNumResults();
  for (auto [operand, type] : llvm::zip(getOperands(), function.getArgumentTypes()))
    if (tensorOf(operand) != type)
      return emitOpError() << "gives @" << getCallee() << " " << tensorOf(operand) << " for " << type;
  for (auto [result, type] : llvm::zip(getResults(), function.getResultTypes()))
    if (tensorOf(result) != type)
      return emitOpError() << "expects " << tensorOf(result) << " of @" << getCallee() << ", which returns " << type;
  return success();
}
