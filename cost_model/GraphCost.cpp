//===- GraphCost.cpp - Seconds of IR on a device ---------------------------===//
#include "moai/CostModel/GraphCost.h"
#include "moai/CostModel/Kernel.h"
#include "moai/IR/Storage.h"

using namespace mlir;
using namespace moai;

// Blocks keep their name and body through all candidates; what belongs to a stage is named after it.
bool moai::isSharedFunction(StringRef name) { return !name.starts_with("stage"); }

double GraphCost::seconds(Operation *op) {
  if (auto call = dyn_cast<func::CallOp>(op)) {
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(call, call.getCalleeAttr());
    return callee ? seconds(callee) : 0;
  }
  auto work = dyn_cast<WorkOpInterface>(op);
  if (!work)
    return 0;
  double time = kernelSeconds(work.getWork(binding), accelerator.device);
  return isa<ExpertMatmulOp, ExpertOuterOp>(op) ? time * expertImbalance : time;
}

double GraphCost::bodySeconds(func::FuncOp function) {
  StorageAnalysis storage(binding);
  double total = 0;
  for (Operation &op : function.getBody().front())
    if (storage.visit(op))
      total += kernelSeconds({OpKernel::Memory, 0, 2.0 * static_cast<double>(tensorOf(op.getResult(0)).countBytes(binding)), false}, accelerator.device);
    else
      total += seconds(&op);
  return total;
}

double GraphCost::seconds(func::FuncOp function) {
  if (!isSharedFunction(function.getName()))
    return bodySeconds(function);
  auto it = functions.find(function.getName());
  if (it != functions.end())
    return it->second;
  double total = bodySeconds(function);
  functions[function.getName()] = total;
  return total;
}
