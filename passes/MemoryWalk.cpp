//===- MemoryWalk.cpp - Live bytes of a function's body --------------------===//
#include "moai/Passes/MemoryWalk.h"
#include "RepeatStorages.h"
#include "moai/CostModel/GraphCost.h"

using namespace mlir;
using namespace moai;

namespace {

/// One function's walk: first the last use of every storage, then a sweep over the ops.
class Walk {
public:
  Walk(MemoryWalk &walk, func::FuncOp function, const ConsumedStorages &consumed)
      : walk(walk), body(function.getBody().front()), aliases(walk.bytes.getBinding()) {
    addArguments(consumed);
    findLastUses();
    sweep();
    describeResults();
  }

  FunctionMemory memory;

private:
  void addArguments(const ConsumedStorages &consumed);
  void addResults(Operation &op);
  void addCallResults(Operation &op);
  void findLastUses();
  ConsumedStorages consumedBy(Operation &call, size_t index, Live &taken);
  void enter(Operation &op, StringAttr block, const FunctionMemory &callee, Live kept);
  void run(RepeatOp repeat, size_t index);
  void iterate(RepeatOp repeat, RepeatStorages &storages, int64_t iteration);
  void create(unsigned storage);
  void freeAfterLastUse(unsigned storage);
  void sweep();
  void noteOp(Operation &op);
  void describeResults();

  MemoryWalk &walk;
  Block &body;
  StorageAnalysis aliases;
  StorageTable table;
  unsigned numArgumentStorages = 0;
  std::vector<unsigned> storagesBefore; ///< by index of an op: how many there were before its results
  Live live;
  std::vector<Live> freedAt; ///< by index of an op
};

} // namespace

// Those that the caller keeps are storages without bytes.
void Walk::addArguments(const ConsumedStorages &consumed) {
  size_t count = body.getNumArguments();
  for (Operation &op : body)
    count += op.getNumResults();
  table.reserve(count);
  DenseMap<unsigned, unsigned> known; // by number among the consumed ones
  for (auto [number, argument] : llvm::enumerate(body.getArguments())) {
    if (number >= consumed.size() || consumed[number].empty()) {
      table.define(argument, table.add({0, countTensors(argument.getType())}, number));
      continue;
    }
    StorageParts parts;
    for (const ConsumedPart &part : consumed[number]) {
      if (!part.bytes) {
        parts.push_back({table.add({0, part.count}, number), part.count, 0});
        continue;
      }
      auto [it, isNew] = known.try_emplace(part.storage, 0);
      if (isNew)
        it->second = table.add({part.bytes, part.storages, kNever, part.isSaved}, number);
      parts.push_back({it->second, part.count, 0});
    }
    table.define(argument, std::move(parts));
  }
  numArgumentStorages = table.storages.size();
}

void Walk::addCallResults(Operation &op) {
  const FunctionMemory &callee = walk.ofCallee(&op);
  DenseMap<unsigned, unsigned> known; // by number among the callee's results
  for (auto [result, parts] : llvm::zip(op.getResults(), callee.results)) {
    const ResultPart &part = parts.front();
    if (part.argument >= 0) {
      table.define(result, table.partsOf(op.getOperand(part.argument)));
      continue;
    }
    auto [it, isNew] = known.try_emplace(part.storage, 0);
    if (isNew)
      it->second = table.add({part.bytes, 1});
    table.define(result, it->second);
  }
}

void Walk::addResults(Operation &op) {
  if (auto repeat = dyn_cast<RepeatOp>(op))
    return addRepeatResults(table, repeat, walk.ofCallee(&op));
  if (isa<func::CallOp>(op))
    return addCallResults(op);
  aliases.visit(op);
  for (Value result : op.getResults())
    if (Value root = aliases.rootOf(result); root != result)
      table.define(result, table.partsOf(root));
    else
      table.define(result, table.add({walk.bytes(result), 1}));
}

void Walk::findLastUses() {
  size_t index = 0;
  for (Operation &op : body) {
    for (Value operand : op.getOperands())
      table.use(operand, index);
    if (auto loss = dyn_cast<CrossEntropyOp>(op))
      table.use(getHeldLogits(loss), index);
    storagesBefore.push_back(table.storages.size());
    addResults(op);
    for (Value result : op.getResults())
      table.use(result, index);
    ++index;
  }
  for (Value result : body.getTerminator()->getOperands())
    table.use(result, kEscapes);
  freedAt.resize(index);
}

// What a call gets for good: storages that nothing needs after it.
ConsumedStorages Walk::consumedBy(Operation &call, size_t index, Live &taken) {
  ConsumedStorages consumed;
  SmallVector<std::pair<unsigned, unsigned>, 16> owners; // storage, first operand that has it
  for (auto [number, operand] : llvm::enumerate(call.getOperands())) {
    unsigned storage = table.partsOf(operand).front().storage;
    const StorageFacts &facts = table.storages[storage];
    if (facts.lastUse != index || !facts.bytes)
      continue;
    consumed.resize(call.getNumOperands());
    auto owner = llvm::find_if(owners, [&](auto &entry) { return entry.first == storage; });
    if (owner == owners.end()) {
      owner = owners.insert(owners.end(), {storage, static_cast<unsigned>(number)});
      taken.add(facts, 1);
    }
    consumed[number] = {{facts.bytes, 1, 1, owner->second, facts.isSaved}};
  }
  return consumed;
}

// `kept` is what stays with the caller meanwhile.
void Walk::enter(Operation &op, StringAttr block, const FunctionMemory &callee, Live kept) {
  if (kept.total + callee.peak <= memory.peak || callee.peakOp.empty())
    return;
  memory.peak = kept.total + callee.peak;
  memory.peakResults = kept.results;
  memory.peakSaved = kept.saved + callee.peakSaved;
  memory.peakOp = (block ? block.str() + ": " : "") + callee.peakOp;
}

void Walk::iterate(RepeatOp repeat, RepeatStorages &storages, int64_t iteration) {
  Live taken;
  ConsumedStorages consumed = storages.consumedBy(iteration, taken);
  Live kept = live;
  kept -= taken;
  enter(*repeat, repeat.blockOf(iteration), walk.ofCallee(repeat, consumed), kept);
  live = kept;
  live += storages.madeBy(iteration);
}

// Iterations between two bounds are alike: each adds to what lives as much as the one before it, so that the most is in use in the
// first or in the last of them.
void Walk::run(RepeatOp repeat, size_t index) {
  RepeatStorages storages(table, repeat, walk.ofCallee(repeat), index);
  SmallVector<int64_t> bounds = storages.bounds();
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    Live before = live;
    iterate(repeat, storages, bounds[i]);
    int64_t between = bounds[i + 1] - bounds[i] - 2;
    if (between < 0)
      continue;
    Live change = live;
    change -= before;
    for (int64_t *bytes : {&change.total, &change.results, &change.saved})
      *bytes *= between;
    live += change;
    iterate(repeat, storages, bounds[i + 1] - 1);
  }
}

// A repeat frees what it is the last to use itself.
void Walk::freeAfterLastUse(unsigned storage) {
  const StorageFacts &facts = table.storages[storage];
  if (facts.lastUse < freedAt.size())
    freedAt[facts.lastUse].add(facts, facts.count);
}

void Walk::create(unsigned storage) {
  const StorageFacts &facts = table.storages[storage];
  if (facts.lastUse == kNever)
    return;
  live.add(facts, facts.count);
  freeAfterLastUse(storage);
}

void Walk::noteOp(Operation &op) {
  auto work = dyn_cast<WorkOpInterface>(op);
  int64_t now = live.total + (work ? work.getTemporaryBytes(walk.bytes.getBinding()) : 0);
  if (now <= memory.peak)
    return;
  memory.peak = now;
  memory.peakResults = live.results;
  memory.peakSaved = live.saved;
  memory.peakOp = describeOp(op);
}

void Walk::sweep() {
  for (unsigned storage = 0; storage < numArgumentStorages; ++storage)
    create(storage);
  size_t index = 0;
  for (Operation &op : body.without_terminator()) {
    auto repeat = dyn_cast<RepeatOp>(op);
    if (repeat) {
      run(repeat, index);
      for (unsigned storage = storagesBefore[index]; storage < storagesBefore[index + 1]; ++storage)
        freeAfterLastUse(storage);
      ++index;
      continue;
    }
    bool isCall = isa<func::CallOp>(op);
    if (isCall) {
      Live kept = live, taken;
      ConsumedStorages consumed = consumedBy(op, index, taken);
      kept -= taken;
      enter(op, op.getAttrOfType<StringAttr>(attrs::kBlock), walk.ofCallee(&op, consumed), kept);
    }
    for (unsigned storage = storagesBefore[index]; storage < storagesBefore[index + 1]; ++storage)
      create(storage);
    if (!isCall)
      noteOp(op);
    live -= freedAt[index++];
  }
}

void Walk::describeResults() {
  DenseMap<unsigned, unsigned> known; // by storage
  for (Value result : body.getTerminator()->getOperands()) {
    auto &parts = memory.results.emplace_back();
    for (const StoragePart &part : table.partsOf(result)) {
      const StorageFacts &facts = table.storages[part.storage];
      auto [it, isNew] = known.try_emplace(part.storage, known.size());
      parts.push_back({facts.argument >= 0 ? 0 : facts.bytes, part.count, facts.count, facts.argument, it->second, isNew});
    }
  }
}

size_t MemoryWalk::KeyHash::operator()(const Key &key) const {
  llvm::hash_code hash = llvm::hash_value(llvm::StringRef(key.name));
  for (const auto &parts : key.consumed) {
    hash = llvm::hash_combine(hash, parts.size());
    for (const ConsumedPart &part : parts)
      hash = llvm::hash_combine(hash, part.bytes, part.count, part.storages, part.storage, part.isSaved);
  }
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

const FunctionMemory &MemoryWalk::ofCallee(Operation *call, const ConsumedStorages &consumed) {
  FlatSymbolRefAttr callee = BlockCall(call).callee();
  const Known &known = isSharedFunction(callee.getValue()) ? shared : own;
  auto it = known.find(Key{callee.getValue().str(), consumed});
  return it != known.end() ? it->second : of(SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(call, callee), consumed);
}
