//===- MemoryWalk.cpp - Live bytes of a function's body --------------------===//
#include "moai/Passes/MemoryWalk.h"
#include "moai/CostModel/GraphCost.h"

using namespace mlir;
using namespace moai;

namespace {

constexpr size_t kEscapes = SIZE_MAX;
constexpr size_t kNever = SIZE_MAX - 1;

/// A value of the function at hand, by number.
struct ValueFacts {
  unsigned root = 0;       ///< whose storage it uses
  int64_t size = 0;        ///< of its own storage; 0 for an argument that the caller keeps
  size_t lastUse = kNever; ///< of the storage: index of an op, or kEscapes
  bool isSaved = false;
};

/// Bytes in use, and of which kinds.
struct Live {
  int64_t total = 0, results = 0, saved = 0;
  void add(const ValueFacts &value) {
    total += value.size;
    if (value.lastUse == kEscapes)
      results += value.size;
    if (value.isSaved)
      saved += value.size;
  }
  void operator-=(const Live &other) {
    total -= other.total;
    results -= other.results;
    saved -= other.saved;
  }
};

/// One function's walk: first the last use of every storage, then a sweep over the ops.
class Walk {
public:
  Walk(MemoryWalk &walk, func::FuncOp function, const ConsumedStorages &consumed)
      : walk(walk), body(function.getBody().front()), storage(walk.bytes.getBinding()) {
    addArguments(consumed);
    findLastUses();
    sweep();
    describeResults();
  }

  FunctionMemory memory;

private:
  unsigned number(Value value) const { return numbers.find(value)->second; }
  ValueFacts &rootOf(Value value) { return values[values[number(value)].root]; }
  unsigned add(Value value, int64_t size);
  void addArguments(const ConsumedStorages &consumed);
  void addResults(Operation &op, size_t index);
  void findLastUses();
  ConsumedStorages consumedBy(func::CallOp call, size_t index);
  void enter(func::CallOp call, size_t index);
  void create(unsigned value);
  void sweep();
  void describePeak();
  void describeResults();

  MemoryWalk &walk;
  Block &body;
  StorageAnalysis storage;
  DenseMap<Value, unsigned> numbers;
  SmallVector<ValueFacts, 0> values;
  Live live;
  std::vector<Live> freedAt; ///< by index of an op
  Operation *peakOp = nullptr;
  const FunctionMemory *peakCallee = nullptr; ///< if the op is a call
};

} // namespace

unsigned Walk::add(Value value, int64_t size) {
  unsigned added = values.size();
  numbers[value] = added;
  values.push_back({added, size});
  return added;
}

void Walk::addArguments(const ConsumedStorages &consumed) {
  size_t count = body.getNumArguments();
  for (Operation &op : body)
    count += op.getNumResults();
  numbers.reserve(count);
  values.reserve(count);
  for (BlockArgument argument : body.getArguments())
    add(argument, 0);
  for (auto [argument, taken] : llvm::enumerate(consumed))
    if (taken.bytes) {
      values[argument].root = taken.owner;
      values[taken.owner].size = taken.bytes;
      values[taken.owner].isSaved = taken.isSaved;
    }
}

void Walk::addResults(Operation &op, size_t index) {
  auto call = dyn_cast<func::CallOp>(op);
  const FunctionMemory *callee = call ? &walk.of(call) : nullptr;
  if (!call)
    storage.visit(op);
  for (auto [i, result] : llvm::enumerate(op.getResults())) {
    unsigned added = add(result, callee ? callee->resultBytes[i] : walk.bytes(result));
    if (callee && callee->resultArgument[i] >= 0)
      values[added].root = values[number(op.getOperand(callee->resultArgument[i]))].root;
    else if (callee && callee->firstResult[i] != i)
      values[added].root = number(op.getResult(callee->firstResult[i]));
    else if (Value root = callee ? result : storage.rootOf(result); root != result)
      values[added].root = values[number(root)].root;
    values[values[added].root].lastUse = index;
  }
}

void Walk::findLastUses() {
  size_t index = 0;
  for (Operation &op : body) {
    for (Value operand : op.getOperands())
      rootOf(operand).lastUse = index;
    if (auto loss = dyn_cast<CrossEntropyOp>(op))
      rootOf(getHeldLogits(loss)).lastUse = index;
    addResults(op, index);
    ++index;
  }
  for (Value result : body.getTerminator()->getOperands())
    rootOf(result).lastUse = kEscapes;
  freedAt.resize(index);
}

// What a call gets for good: storages that nothing needs after it.
ConsumedStorages Walk::consumedBy(func::CallOp call, size_t index) {
  ConsumedStorages consumed;
  SmallVector<std::pair<unsigned, unsigned>, 16> owners; // root, first operand
  for (auto [operand, value] : llvm::enumerate(call.getOperands())) {
    unsigned root = values[number(value)].root;
    if (values[root].lastUse != index || !values[root].size)
      continue;
    consumed.resize(call.getNumOperands());
    auto owner = llvm::find_if(owners, [&](auto &entry) { return entry.first == root; });
    if (owner == owners.end())
      owner = owners.insert(owners.end(), {root, static_cast<unsigned>(operand)});
    consumed[operand] = {values[root].size, owner->second, values[root].isSaved};
  }
  return consumed;
}

void Walk::enter(func::CallOp call, size_t index) {
  ConsumedStorages consumed = consumedBy(call, index);
  const FunctionMemory &callee = walk.of(call, consumed);
  Live kept = live;
  for (auto [operand, taken] : llvm::enumerate(consumed))
    if (taken.bytes && taken.owner == operand) {
      kept.total -= taken.bytes;
      kept.saved -= taken.isSaved ? taken.bytes : 0;
    }
  if (kept.total + callee.peak <= memory.peak || callee.peakOp.empty())
    return;
  memory.peak = kept.total + callee.peak;
  memory.peakResults = kept.results;
  memory.peakSaved = kept.saved + callee.peakSaved;
  peakOp = call;
  peakCallee = &callee;
}

void Walk::create(unsigned value) {
  const ValueFacts &facts = values[value];
  if (facts.root != value || facts.lastUse == kNever)
    return;
  live.add(facts);
  if (facts.lastUse != kEscapes)
    freedAt[facts.lastUse].add(facts);
}

void Walk::sweep() {
  unsigned next = 0;
  for (; next < body.getNumArguments(); ++next)
    create(next);
  size_t index = 0;
  for (Operation &op : body.without_terminator()) {
    auto call = dyn_cast<func::CallOp>(op);
    if (call)
      enter(call, index);
    for (unsigned i = 0, e = op.getNumResults(); i < e; ++i, ++next)
      create(next);
    auto work = dyn_cast<WorkOpInterface>(op);
    int64_t now = live.total + (work ? work.getTemporaryBytes(walk.bytes.getBinding()) : 0);
    if (!call && now > memory.peak) {
      memory.peak = now;
      memory.peakResults = live.results;
      memory.peakSaved = live.saved;
      peakOp = &op;
      peakCallee = nullptr;
    }
    live -= freedAt[index++];
  }
  describePeak();
}

void Walk::describePeak() {
  if (!peakOp)
    return;
  auto block = peakCallee ? peakOp->getAttrOfType<StringAttr>(attrs::kBlock) : StringAttr();
  memory.peakOp = (block ? block.str() + ": " : "") + (peakCallee ? peakCallee->peakOp : describeOp(*peakOp));
}

void Walk::describeResults() {
  DenseMap<unsigned, unsigned> firstResults; // by storage
  for (auto [index, result] : llvm::enumerate(body.getTerminator()->getOperands())) {
    unsigned root = values[number(result)].root;
    bool isArgument = root < body.getNumArguments();
    auto [first, isNew] = firstResults.try_emplace(root, index);
    memory.resultArgument.push_back(isArgument ? static_cast<int>(root) : -1);
    memory.firstResult.push_back(first->second);
    memory.resultBytes.push_back(isArgument || !isNew ? 0 : values[root].size);
  }
}

size_t MemoryWalk::KeyHash::operator()(const Key &key) const {
  llvm::hash_code hash = llvm::hash_value(llvm::StringRef(key.name));
  for (const ConsumedStorage &storage : key.consumed)
    hash = llvm::hash_combine(hash, storage.bytes, storage.owner, storage.isSaved);
  return hash;
}

const FunctionMemory &MemoryWalk::of(func::FuncOp function, const ConsumedStorages &consumed) {
  Known &known = isSharedFunction(function.getName()) ? shared : own;
  Key key{function.getName().str(), consumed};
  auto it = known.find(key);
  if (it != known.end())
    return it->second;
  FunctionMemory memory = Walk(*this, function, consumed).memory;
  return known.emplace(std::move(key), std::move(memory)).first->second;
}

const FunctionMemory &MemoryWalk::of(func::CallOp call, const ConsumedStorages &consumed) {
  const Known &known = isSharedFunction(call.getCallee()) ? shared : own;
  auto it = known.find(Key{call.getCallee().str(), consumed});
  return it != known.end() ? it->second : of(SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(call, call.getCalleeAttr()), consumed);
}
