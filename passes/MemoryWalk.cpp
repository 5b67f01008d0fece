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

FunctionMemory MemoryWalk::walk(func::FuncOp function, ArrayRef<ConsumedStorage> consumed) {
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
  for (BlockArgument argument : body.getArguments()) {
    unsigned number = argument.getArgNumber();
    add(argument, 0);
    if (consumed.empty() || !consumed[number].bytes)
      continue;
    values[number].root = consumed[number].owner;
    values[consumed[number].owner].size = consumed[number].bytes;
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
      if (auto loss = dyn_cast<CrossEntropyOp>(op))
        values[values[numbers.find(getHeldLogits(loss))->second].root].lastUse = index;
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
    auto work = dyn_cast<WorkOpInterface>(op);
    int64_t temporary = work ? work.getTemporaryBytes(bytes.getBinding()) : 0;
    memory.peak = std::max(memory.peak, callees[index] ? before + std::max(callees[index]->peak, live - before) : live + temporary);
    live -= freedAt[index++];
  }

  DenseMap<unsigned, unsigned> firstResults; // by storage
  for (auto [index, result] : llvm::enumerate(terminator->getOperands())) {
    unsigned root = values[numbers.find(result)->second].root;
    bool isArgument = root < body.getNumArguments();
    auto [first, isNew] = firstResults.try_emplace(root, index);
    memory.resultArgument.push_back(isArgument ? static_cast<int>(root) : -1);
    memory.firstResult.push_back(first->second);
    memory.resultBytes.push_back(isArgument || !isNew ? 0 : values[root].size);
  }
  return memory;
}

const FunctionMemory &MemoryWalk::of(func::FuncOp function) {
  llvm::StringMap<FunctionMemory> &known = isSharedFunction(function.getName()) ? shared : own;
  auto it = known.find(function.getName());
  if (it != known.end())
    return it->second;
  FunctionMemory memory = walk(function, {});
  return known[function.getName()] = std::move(memory);
}

const FunctionMemory &MemoryWalk::of(func::CallOp call) {
  const llvm::StringMap<FunctionMemory> &known = isSharedFunction(call.getCallee()) ? shared : own;
  auto it = known.find(call.getCallee());
  return it != known.end() ? it->second : of(SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(call, call.getCalleeAttr()));
}

FunctionMemory MemoryWalk::ofConsuming(func::FuncOp function, ArrayRef<ConsumedStorage> consumed) { return walk(function, consumed); }
