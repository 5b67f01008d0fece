//===- MemoryWalk.h - Live bytes of a function's body ----------------------===//
#ifndef MOAI_PASSES_MEMORYWALK_H
#define MOAI_PASSES_MEMORYWALK_H

#include "moai/IR/Storage.h"
#include "llvm/ADT/StringMap.h"
#include <string>
#include <unordered_map>
#include <vector>

namespace moai {

/// What a call of a function allocates.
struct FunctionMemory {
  /// The most bytes in use while an op runs, beyond what the caller keeps; results, and consumed arguments until they are
  /// freed, included.
  int64_t peak = 0;
  int64_t peakResults = 0; ///< of them, storages of results
  int64_t peakSaved = 0;   ///< of them, consumed arguments that a forward had saved
  std::string peakOp;      ///< the op, ahead of it the block it is in
  /// Per result: bytes of its storage, or 0 where it shares an argument's or an earlier result's.
  llvm::SmallVector<int64_t, 8> resultBytes;
  /// Per result: the argument it shares storage with, or -1.
  llvm::SmallVector<int, 8> resultArgument;
  /// Per result: the first result with its storage, itself if none is before it.
  llvm::SmallVector<unsigned, 8> firstResult;
};

/// A storage that a function takes over with an argument, and frees after its last use.
struct ConsumedStorage {
  int64_t bytes = 0;    ///< 0: the caller keeps it
  unsigned owner = 0;   ///< number of the first argument with that storage
  bool isSaved = false; ///< a forward left it for its backward
  bool operator==(const ConsumedStorage &other) const { return bytes == other.bytes && owner == other.owner && isSaved == other.isSaved; }
};
using ConsumedStorages = std::vector<ConsumedStorage>; ///< by argument; empty: the caller keeps all

/// Walks functions under one binding as an eager framework runs them: an op's results appear with it, a storage goes after
/// its last use, also inside of a function that is called with it. Functions that all candidates of a model share are
/// remembered by name; those of one candidate until `forgetCandidate`. Not thread-safe.
class MemoryWalk {
public:
  explicit MemoryWalk(const DimBinding &binding, int64_t granularity = 1) : bytes(binding, granularity) {}

  const FunctionMemory &of(mlir::func::FuncOp function, const ConsumedStorages &consumed = {});
  /// The same for the function that is called.
  const FunctionMemory &of(mlir::func::CallOp call, const ConsumedStorages &consumed = {});

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
