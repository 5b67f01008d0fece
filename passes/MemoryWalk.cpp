//===- MemoryWalk.cpp - Live bytes of a function's body --------------------===//
#include "moai/Passes/MemoryWalk.h"
#include "moai/CostModel/GraphCost.h"

using namespace mlir;
using namespace moai;

namespace {
/// A value of the function at hand, by number.
struct ValueFacts {
  unsigned root = 0;  ///< whose storage it uses
  int64_t size = 0;   ///< of its own storage
  size_t lastUse = 0; ///< of the storage: index of an op, or kEscapes
};
constexpr size_t kEscapes = SIZE_MAX;
} // namespace

FunctionMemory MemoryWalk::walk(func::FuncOp function, llvm::function_ref<bool(BlockArgument)> consumed) {
  FunctionMemory memory;
  Block &body = function.getBody().front();
  StorageAnalysis storage(bytes.getBinding());
  DenseMap<Value, unsigned> numbers;
  SmallVector<ValueFacts, 0> values;
  auto add = [&](Value value, int64_t size) {
    unsigned number = values.size();
    numbers[value] = number;
    values.push_back({number, size, 0});
    return number;
  };
  size_t count = body.getNumArguments();
  for (Operation &op : body)
    count += op.getNumResults();
  numbers.reserve(count);
  values.reserve(count);
  // Sizes of arguments that the caller keeps don't count.
  SmallVector<bool> isConsumed;
  for (BlockArgument argument : body.getArguments()) {
    isConsumed.push_back(consumed(argument) && !argument.use_empty());
    add(argument, isConsumed.back() ? bytes(argument) : 0);
  }

  // First the last use of every storage, then the sweep.
  SmallVector<const FunctionMemory *> callees;
  size_t index = 0;
  for (Operation &op : body) {
    for (Value operand : op.getOperands())
      values[values[numbers.find(operand)->second].root].lastUse = index;
    const FunctionMemory *callee = nullptr;
    if (auto call = dyn_cast<func::CallOp>(op)) {
      callee = &of(call);
      for (auto [i, result] : llvm::enumerate(op.getResults())) {
        unsigned number = add(result, callee->resultBytes[i]);
        if (callee->resultArgument[i] >= 0)
          values[number].root = values[numbers.find(op.getOperand(callee->resultArgument[i]))->second].root;
        values[values[number].root].lastUse = index;
      }
    } else {
      storage.visit(op);
      for (Value result : op.getResults()) {
        unsigned number = add(result, bytes(result));
        if (Value root = storage.rootOf(result); root != result)
          values[number].root = values[numbers.find(root)->second].root;
        values[values[number].root].lastUse = index;
      }
    }
    callees.push_back(callee);
    ++index;
  }
  auto terminator = body.getTerminator();
  for (Value result : terminator->getOperands())
    values[values[numbers.find(result)->second].root].lastUse = kEscapes;

  std::vector<int64_t> freedAt(index, 0);
  int64_t live = 0;
  auto create = [&](const ValueFacts &value) {
    live += value.size;
    if (value.lastUse != kEscapes)
      freedAt[value.lastUse] += value.size;
  };
  unsigned next = 0;
  for (; next < body.getNumArguments(); ++next)
    create(values[next]);
  memory.peak = live;
  index = 0;
  for (Operation &op : body.without_terminator()) {
    int64_t before = live;
    for (unsigned i = 0, e = op.getNumResults(); i < e; ++i, ++next)
      if (values[next].root == next)
        create(values[next]);
    memory.peak = std::max(memory.peak, callees[index] ? before + std::max(callees[index]->peak, live - before) : live);
    live -= freedAt[index++];
  }

  SmallVector<bool> counted(values.size(), false);
  for (Value result : terminator->getOperands()) {
    unsigned root = values[numbers.find(result)->second].root;
    bool isArgument = root < body.getNumArguments();
    memory.resultArgument.push_back(isArgument ? static_cast<int>(root) : -1);
    memory.resultBytes.push_back(isArgument || counted[root] ? 0 : values[root].size);
    counted[root] = true;
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

const FunctionMemory &MemoryWalk::of(func::CallOp call) {
  const llvm::StringMap<FunctionMemory> &known = isSharedFunction(call.getCallee()) ? shared : own;
  auto it = known.find(call.getCallee());
  return it != known.end() ? it->second : of(SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(call, call.getCalleeAttr()));
}

FunctionMemory MemoryWalk::ofConsuming(func::FuncOp function, llvm::function_ref<bool(BlockArgument)> consumed) {
  return walk(function, consumed);
}
