//===- MemoryWalk.h - Live bytes of a function's body ----------------------===//
#ifndef MOAI_PASSES_MEMORYWALK_H
#define MOAI_PASSES_MEMORYWALK_H

#include "moai/IR/Storage.h"
#include "llvm/ADT/StringMap.h"
#include <string>
#include <unordered_map>
#include <vector>

namespace moai {

/// Storages of one size that a result of a function uses: one, or of a stack those of some tensors that follow each other.
struct ResultPart {
  int64_t bytes = 0;    ///< of each storage, or 0 where it is an argument's
  int64_t count = 1;    ///< tensors
  int64_t storages = 1; ///< as many, or one that all of them share
  int argument = -1;    ///< the argument whose storage it shares, or -1
  unsigned storage = 0; ///< which storage, among those of all results
  bool isFirst = true;  ///< no earlier part has this storage
};

/// What a call of a function allocates.
struct FunctionMemory {
  /// The most bytes in use while an op runs, beyond what the caller keeps; results, and consumed arguments until they are
  /// freed, included.
  int64_t peak = 0;
  int64_t peakResults = 0; ///< of them, storages of results
  int64_t peakSaved = 0;   ///< of them, consumed arguments that a forward had saved
  std::string peakOp;      ///< the op, ahead of it the block it is in
  std::vector<llvm::SmallVector<ResultPart, 1>> results;

  /// Bytes of the storages that are the result's and no argument's or earlier result's.
  int64_t ownBytes(unsigned result) const {
    int64_t total = 0;
    for (const ResultPart &part : results[result])
      total += part.isFirst && part.argument < 0 ? part.bytes * part.storages : 0;
    return total;
  }
};

/// Storages that a function takes over with an argument, and frees after their last use.
struct ConsumedPart {
  int64_t bytes = 0;    ///< of each storage; 0: the caller keeps them
  int64_t count = 1;    ///< tensors
  int64_t storages = 1; ///< as many, or one that all of them share
  unsigned storage = 0; ///< which storage, among those of all arguments
  bool isSaved = false; ///< a forward left it for its backward
  bool operator==(const ConsumedPart &o) const {
    return bytes == o.bytes && count == o.count && storages == o.storages && storage == o.storage && isSaved == o.isSaved;
  }
};
/// By argument, in the order of a stack's tensors; empty where the caller keeps them, altogether if it keeps all.
using ConsumedStorages = std::vector<llvm::SmallVector<ConsumedPart, 1>>;

/// Walks functions under one binding as an eager framework runs them: an op's results appear with it, a storage goes after
/// its last use, also inside of a function that is called with it. Of a repeat's iterations only those are walked that differ. Functions
/// that all candidates of a model share are remembered by name; those of one candidate until `forgetCandidate`. Not thread-safe.
class MemoryWalk {
public:
  explicit MemoryWalk(const DimBinding &binding, int64_t granularity = 1) : bytes(binding, granularity) {}

  const FunctionMemory &of(mlir::func::FuncOp function, const ConsumedStorages &consumed = {});
  /// The same for the function that a func.call or a moai.repeat names.
  const FunctionMemory &ofCallee(mlir::Operation *call, const ConsumedStorages &consumed = {});

  /// To be called before the functions of another candidate are walked.
  void forgetCandidate() { own.clear(); }

  ByteCounts bytes;

private:
  struct Key {
    std::string name;
    ConsumedStorages consumed;
    bool operator==(const Key &other) const { return name == other.name && consumed == other.consumed; }
  };
  struct KeyHash {
    size_t operator()(const Key &key) const;
  };
  using Known = std::unordered_map<Key, FunctionMemory, KeyHash>;

  Known shared, own;
};

} // namespace moai

#endif // MOAI_PASSES_MEMORYWALK_H
