//===- RepeatStorages.h - Storages of stacks and iterations ----------------===//
#ifndef MOAI_PASSES_REPEATSTORAGES_H
#define MOAI_PASSES_REPEATSTORAGES_H

#include "moai/IR/BlockCall.h"
#include "moai/Passes/MemoryWalk.h"

namespace moai {

constexpr size_t kEscapes = SIZE_MAX;
constexpr size_t kNever = SIZE_MAX - 1;

/// A storage, or equal ones of several tensors of a stack.
struct StorageFacts {
  int64_t bytes = 0;       ///< of each; 0 for an argument that the caller keeps
  int64_t count = 1;       ///< how many
  size_t lastUse = kNever; ///< index of an op, or kEscapes
  bool isSaved = false;
  int argument = -1; ///< number of the argument that brought it, or -1
};

/// Tensors of a value that follow each other and have storages of one entry in the table, from its `first` on.
struct StoragePart {
  unsigned storage;
  int64_t count, first;
};
using StorageParts = llvm::SmallVector<StoragePart, 1>; ///< of a stack in the order of its tensors

/// The storages of a function's values.
class StorageTable {
public:
  void reserve(size_t count) {
    storages.reserve(count);
    values.reserve(count);
  }
  unsigned add(StorageFacts facts, int argument = -1) {
    facts.argument = argument;
    storages.push_back(facts);
    return storages.size() - 1;
  }
  void define(mlir::Value value, unsigned storage) { values[value] = {{storage, storages[storage].count, 0}}; }
  void define(mlir::Value value, StorageParts parts) { values[value] = std::move(parts); }
  StorageParts partsOf(mlir::Value value) const { return values.find(value)->second; }
  void use(mlir::Value value, size_t index) {
    for (const StoragePart &part : values.find(value)->second)
      storages[part.storage].lastUse = index;
  }

  std::vector<StorageFacts> storages;
  /// By a repeat's result that iterations hand on and a stack holds as well: the entry for those of all iterations but the last.
  llvm::DenseMap<mlir::Value, unsigned> handedOn;

private:
  llvm::DenseMap<mlir::Value, StorageParts> values;
};

/// Bytes in use, and of which kinds.
struct Live {
  int64_t total = 0, results = 0, saved = 0;

  void add(const StorageFacts &storage, int64_t count) {
    total += storage.bytes * count;
    if (storage.lastUse == kEscapes)
      results += storage.bytes * count;
    if (storage.isSaved)
      saved += storage.bytes * count;
  }
  void operator+=(const Live &other) {
    total += other.total;
    results += other.results;
    saved += other.saved;
  }
  void operator-=(const Live &other) {
    total -= other.total;
    results -= other.results;
    saved -= other.saved;
  }
};

/// Adds the results of a repeat whose function's are `callee`. What an iteration took from the one before and returned is the
/// one before's storage.
void addRepeatResults(StorageTable &table, RepeatOp repeat, const FunctionMemory &callee);

/// What each iteration of a repeat takes and makes, once the last uses of all storages are known. `callee` must outlive it.
class RepeatStorages {
public:
  RepeatStorages(const StorageTable &table, RepeatOp repeat, const FunctionMemory &callee, size_t index);

  /// Iterations from one of these to the next, the end among them, take and make alike.
  llvm::SmallVector<int64_t> bounds() const;
  /// What an iteration frees, by operand, and what that is together.
  ConsumedStorages consumedBy(int64_t iteration, Live &taken) const;
  /// What stays of an iteration's results.
  Live madeBy(int64_t iteration) const;

private:
  struct Tensor {
    unsigned storage;
    int64_t number; ///< among those of the storage's entry
    bool operator==(const Tensor &other) const { return storage == other.storage && number == other.number; }
  };
  Tensor tensorAt(const StorageParts &parts, int64_t element) const;
  std::optional<Tensor> operandIn(unsigned operand, int64_t iteration) const;
  bool isUsedAfter(Tensor tensor, int64_t iteration) const;

  const StorageTable &table;
  mutable RepeatOp repeat;
  const FunctionMemory &callee;
  size_t index;
  int64_t count;
  llvm::SmallVector<StorageParts> operands;
  llvm::SmallVector<std::optional<unsigned>> handedOn; ///< by result: the entry of what iterations hand on and a stack holds
};

} // namespace moai

#endif // MOAI_PASSES_REPEATSTORAGES_H
