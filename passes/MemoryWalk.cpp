//===- MemoryWalk.cpp - Live bytes of a function's body --------------------===//
#include "moai/Passes/MemoryWalk.h"
#include "moai/CostModel/GraphCost.h"

using namespace mlir;
using namespace moai;

FunctionMemory MemoryWalk::walk(func::FuncOp function, llvm::function_ref<bool(BlockArgument)> consumed) {
  FunctionMemory memory;
  Block &body = function.getBody().front();
  StorageAnalysis storage(bytes.getBinding());
  DenseMap<Value, Value> callRoots; // results of calls that share storage with something else
  auto rootOf = [&](Value value) {
    Value root = storage.rootOf(value);
    auto it = callRoots.find(root);
    return it == callRoots.end() ? root : it->second;
  };

  // First the last use of every storage, then the sweep.
  DenseMap<Value, size_t> lastUse;
  SmallVector<const FunctionMemory *> callees;
  size_t index = 0;
  for (Operation &op : body) {
    storage.visit(op);
    const FunctionMemory *callee = nullptr;
    if (auto call = dyn_cast<func::CallOp>(op)) {
      callee = &of(SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(call, call.getCalleeAttr()));
      for (auto [i, result] : llvm::enumerate(op.getResults()))
        if (callee->resultArgument[i] >= 0)
          callRoots[result] = rootOf(op.getOperand(callee->resultArgument[i]));
    }
    callees.push_back(callee);
    for (Value operand : op.getOperands())
      lastUse[rootOf(operand)] = index;
    for (Value result : op.getResults())
      if (rootOf(result) == result)
        lastUse[result] = index;
    ++index;
  }
  auto terminator = body.getTerminator();
  for (Value result : terminator->getOperands())
    lastUse[rootOf(result)] = SIZE_MAX;

  int64_t live = 0;
  for (BlockArgument argument : body.getArguments())
    if (consumed(argument) && lastUse.count(argument))
      live += bytes(argument);
  memory.peak = live;
  SmallVector<SmallVector<std::pair<Value, int64_t>, 2>> freedAt(index);
  auto schedule = [&](Value root, int64_t size) {
    if (size_t at = lastUse.lookup(root); at != SIZE_MAX)
      freedAt[at].push_back({root, size});
  };
  for (BlockArgument argument : body.getArguments())
    if (consumed(argument) && lastUse.count(argument))
      schedule(argument, bytes(argument));
  index = 0;
  for (Operation &op : body.without_terminator()) {
    const FunctionMemory *callee = callees[index];
    int64_t created = 0;
    for (auto [i, result] : llvm::enumerate(op.getResults())) {
      if (rootOf(result) != result)
        continue;
      int64_t size = callee ? callee->resultBytes[i] : bytes(result);
      created += size;
      schedule(result, size);
    }
    live += created;
    memory.peak = std::max(memory.peak, callee ? live - created + std::max(callee->peak, created) : live);
    for (auto [root, size] : freedAt[index])
      live -= size;
    ++index;
  }

  DenseSet<Value> counted;
  for (Value result : terminator->getOperands()) {
    Value root = rootOf(result);
    auto argument = dyn_cast<BlockArgument>(root);
    memory.resultArgument.push_back(argument ? static_cast<int>(argument.getArgNumber()) : -1);
    memory.resultBytes.push_back(argument || !counted.insert(root).second ? 0 : bytes(root));
  }
  return memory;
}

const FunctionMemory &MemoryWalk::of(func::FuncOp function) {
  llvm::StringMap<FunctionMemory> &known = isSharedFunction(function.getName()) ? shared : own;
  auto it = known.find(function.getName());
  if (it != known.end())
    return it->second;
  FunctionMemory memory = walk(function, [](BlockArgument) { return false; });
  return known[function.getName()] = std::move(memory);
}

FunctionMemory MemoryWalk::ofConsuming(func::FuncOp function, llvm::function_ref<bool(BlockArgument)> consumed) { return walk(function, consumed); }
