//===- MemoryWalk.h - Live bytes of a function's body ----------------------===//
#ifndef MOAI_PASSES_MEMORYWALK_H
#define MOAI_PASSES_MEMORYWALK_H

#include "moai/IR/Storage.h"
#include "llvm/ADT/StringMap.h"

namespace moai {

/// What a call of a function allocates.
struct FunctionMemory {
  /// The most bytes alive at once beyond the arguments, results included.
  int64_t peak = 0;
  /// Per result: bytes of its storage, or 0 where it shares an argument's or an earlier result's.
  llvm::SmallVector<int64_t, 8> resultBytes;
  /// Per result: the argument it shares storage with, or -1.
  llvm::SmallVector<int, 8> resultArgument;
  /// Per result: the first result with its storage, itself if none is before it.
  llvm::SmallVector<unsigned, 8> firstResult;
};

/// A storage that a function takes over with an argument, and frees after its last use.
struct ConsumedStorage {
  int64_t bytes = 0;  ///< 0: the caller keeps it
  unsigned owner = 0; ///< number of the first argument with that storage
};

/// Walks functions under one binding as an eager framework runs them: an op's results appear with it, a storage goes
/// after its last use. Functions that all candidates of a model share are remembered by name; those of one candidate until
/// `forgetCandidate`. Not thread-safe.
class MemoryWalk {
public:
  explicit MemoryWalk(const DimBinding &binding) : bytes(binding) {}

  const FunctionMemory &of(mlir::func::FuncOp function);
  /// The same for the function that is called.
  const FunctionMemory &of(mlir::func::CallOp call);
  /// As `of`, but the storages that `consumed` gives for the arguments are counted as alive at the start and freed after their
  /// last use.
  FunctionMemory ofConsuming(mlir::func::FuncOp function, llvm::ArrayRef<ConsumedStorage> consumed);

  /// To be called before the functions of another candidate are walked.
  void forgetCandidate() { own.clear(); }

  ByteCounts bytes;

private:
  FunctionMemory walk(mlir::func::FuncOp function, llvm::ArrayRef<ConsumedStorage> consumed);

  llvm::StringMap<FunctionMemory> shared, own;
};

} // namespace moai

#endif // MOAI_PASSES_MEMORYWALK_H
