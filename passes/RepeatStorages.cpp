//===- RepeatStorages.cpp - Storages of stacks and iterations --------------===//
#include "RepeatStorages.h"

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

// The entry for what the iterations but the last return as this result; their order is that of the stacks' elements.
static unsigned handOn(StorageTable &table, Value result, const ResultPart &part, int64_t count) {
  auto [it, isNew] = table.handedOn.try_emplace(result, 0);
  if (isNew)
    it->second = table.add({part.bytes, count - 1});
  return it->second;
}

// A stack of what iterations hand on: all but one are its own, `other` is what the first was given or what the last returns.
static StorageParts joinChain(unsigned handedOn, const StoragePart &other, int64_t count, bool otherComesFirst) {
  StorageParts parts;
  if (otherComesFirst)
    parts.push_back(other);
  if (count > 1)
    parts.push_back({handedOn, count - 1, 0});
  if (!otherComesFirst)
    parts.push_back(other);
  return parts;
}

static StorageParts partsOfStack(StorageTable &table, RepeatOp repeat, const FunctionMemory &callee, unsigned number) {
  int64_t count = repeat.getCount();
  const ResultPart &part = callee.results[number].front();
  if (part.argument >= 0) {
    StorageParts given = table.partsOf(repeat.getOperand(part.argument));
    if (repeat.isStacked(part.argument))
      return given;
    int64_t carry = repeat.getCarries()[part.argument];
    if (carry < 0 || callee.results[carry].front().argument >= 0)
      return {{given.front().storage, count, given.front().first}};
    unsigned handedOn = handOn(table, repeat.getResult(carry), callee.results[carry].front(), count);
    return joinChain(handedOn, given.front(), count, /*otherComesFirst=*/!repeat.getReversed());
  }
  for (unsigned earlier = 0; !part.isFirst && earlier < number; ++earlier) {
    if (callee.results[earlier].front().storage != part.storage)
      continue;
    Value same = repeat.getResult(earlier);
    if (isa<StackType>(same.getType()))
      return table.partsOf(same);
    return joinChain(handOn(table, same, part, count), table.partsOf(same).front(), count, /*otherComesFirst=*/repeat.getReversed());
  }
  return {{table.add({part.bytes, count}), count, 0}};
}

void moai::addRepeatResults(StorageTable &table, RepeatOp repeat, const FunctionMemory &callee) {
  for (OpResult result : repeat.getResults()) {
    const ResultPart &part = callee.results[result.getResultNumber()].front();
    if (isa<StackType>(result.getType()))
      table.define(result, partsOfStack(table, repeat, callee, result.getResultNumber()));
    else if (part.argument >= 0)
      table.define(result, StorageParts{table.partsOf(repeat.getOperand(part.argument)).front()});
    else
      table.define(result, table.add({part.bytes, 1}));
  }
}

//===----------------------------------------------------------------------===//
// Iterations
//===----------------------------------------------------------------------===//

RepeatStorages::RepeatStorages(const StorageTable &table, RepeatOp repeat, const FunctionMemory &callee, size_t index)
    : table(table), repeat(repeat), callee(callee), index(index), count(repeat.getCount()) {
  for (Value operand : repeat.getOperands())
    operands.push_back(table.partsOf(operand));
  for (OpResult result : repeat.getResults()) {
    auto it = table.handedOn.find(result);
    handedOn.push_back(it == table.handedOn.end() ? std::nullopt : std::optional(it->second));
  }
}

// The first iteration is given what it takes, the last one frees what all had, and the first or last element of a stack may be of
// another storage than the rest.
SmallVector<int64_t> RepeatStorages::bounds() const {
  if (count <= 2)
    return count == 1 ? SmallVector<int64_t>{0, 1} : SmallVector<int64_t>{0, 1, 2};
  return {0, 1, count - 1, count};
}

RepeatStorages::Tensor RepeatStorages::tensorAt(const StorageParts &parts, int64_t element) const {
  for (const StoragePart &part : parts) {
    if (element < part.count)
      return {part.storage, table.storages[part.storage].count == 1 ? 0 : part.first + element};
    element -= part.count;
  }
  llvm_unreachable("a stack has a storage for each of its tensors");
}

// Nothing for what the iteration before returned and no stack holds.
std::optional<RepeatStorages::Tensor> RepeatStorages::operandIn(unsigned operand, int64_t iteration) const {
  if (repeat.isStacked(operand))
    return tensorAt(operands[operand], repeat.elementOf(iteration));
  int64_t carry = repeat.getCarries()[operand];
  if (iteration == 0 || carry < 0)
    return tensorAt(operands[operand], 0);
  if (int argument = callee.results[carry].front().argument; argument >= 0)
    return operandIn(argument, iteration - 1);
  if (!handedOn[carry])
    return {};
  return Tensor{*handedOn[carry], iteration - 1};
}

bool RepeatStorages::isUsedAfter(Tensor tensor, int64_t iteration) const {
  for (unsigned operand = 0; operand < operands.size(); ++operand) {
    if (!repeat.isStacked(operand)) {
      // The same one in all iterations, or another in each: then the next could have it.
      if (iteration + 1 < count && operandIn(operand, iteration + 1) == tensor)
        return true;
      continue;
    }
    int64_t begin = 0;
    for (const StoragePart &part : operands[operand]) {
      int64_t end = begin + part.count;
      if (part.storage == tensor.storage) {
        // A single storage is that of all the part's tensors.
        bool isSingle = table.storages[part.storage].count == 1;
        int64_t first = isSingle ? begin : begin + tensor.number - part.first, last = isSingle ? end - 1 : first;
        int64_t use = repeat.getReversed() ? count - 1 - first : last;
        if (first >= begin && last < end && use > iteration)
          return true;
      }
      begin = end;
    }
  }
  return false;
}

ConsumedStorages RepeatStorages::consumedBy(int64_t iteration, Live &taken) const {
  ConsumedStorages consumed;
  SmallVector<std::pair<Tensor, unsigned>> owners; // with the first operand that has it
  auto consume = [&](unsigned operand, unsigned owner, const StorageFacts &facts) {
    consumed.resize(operands.size());
    consumed[operand] = {{facts.bytes, 1, 1, owner, facts.isSaved}};
    if (owner == operand)
      taken.add(facts, 1);
  };
  for (unsigned operand = 0; operand < operands.size(); ++operand) {
    std::optional<Tensor> tensor = operandIn(operand, iteration);
    if (!tensor) {
      const ResultPart &part = callee.results[repeat.getCarries()[operand]].front();
      if (part.bytes)
        consume(operand, operand, {part.bytes, 1, index});
      continue;
    }
    const StorageFacts &facts = table.storages[tensor->storage];
    if (facts.lastUse != index || !facts.bytes || isUsedAfter(*tensor, iteration))
      continue;
    auto owner = llvm::find_if(owners, [&](auto &entry) { return entry.first == *tensor; });
    if (owner == owners.end())
      owner = owners.insert(owners.end(), {*tensor, operand});
    consume(operand, owner->second, facts);
  }
  return consumed;
}

Live RepeatStorages::madeBy(int64_t iteration) const {
  Live made;
  bool isLast = iteration + 1 == count;
  for (OpResult result : repeat.getResults()) {
    unsigned number = result.getResultNumber();
    const ResultPart &part = callee.results[number].front();
    if (part.argument >= 0 || !part.isFirst)
      continue;
    if (!isLast && !isa<StackType>(result.getType())) {
      if (handedOn[number])
        made.add(table.storages[*handedOn[number]], 1);
      else if (llvm::is_contained(repeat.getCarries(), static_cast<int64_t>(number)))
        made.total += part.bytes;
      continue;
    }
    const StorageFacts &facts = table.storages[table.partsOf(result).front().storage];
    if (facts.lastUse != index)
      made.add(facts, 1);
  }
  return made;
}
