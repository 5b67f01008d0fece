//===- CheckpointWeights.h - A model's weights in files --------------------===//
#ifndef MOAI_EXECUTE_CHECKPOINTWEIGHTS_H
#define MOAI_EXECUTE_CHECKPOINTWEIGHTS_H

#include "moai/Execute/Safetensors.h"
#include <vector>

namespace moai {

/// Named tensors that are decoded when they are asked for: of one file, of a checkpoint in several, or of memory.
class CheckpointWeights {
public:
  struct Entry {
    llvm::StringRef type;
    llvm::ArrayRef<int64_t> shape;
    const SafetensorsFile::Entry *stored = nullptr; ///< null if it is in memory
    const Tensor *inMemory = nullptr;

    Tensor read() const { return stored ? SafetensorsFile::read(*stored).tensor : *inMemory; }
  };

  /// Maps a .safetensors file, the files that the index of a sharded checkpoint of Hugging Face names (a .json file with a weight_map; they
  /// lie beside it), or, in a folder, `model.safetensors` or else `model.safetensors.index.json`. One sentence that names the file:
  /// NotFound; InvalidArgument for what SafetensorsFile refuses, a broken index, a shard elsewhere, a tensor that isn't in its shard.
  static absl::StatusOr<CheckpointWeights> open(llvm::StringRef path);
  /// Tensors that must outlive it; `path` is for messages.
  static CheckpointWeights of(const StoredTensors &tensors, llvm::StringRef path);

  const std::map<std::string, Entry> &entries() const { return tensors; }
  const std::string &path() const { return from; }

private:
  absl::Status openFile(llvm::StringRef file);
  absl::Status openIndex(llvm::StringRef index);

  std::string from;
  std::vector<SafetensorsFile> files;
  std::map<std::string, Entry> tensors;
};

} // namespace moai

#endif // MOAI_EXECUTE_CHECKPOINTWEIGHTS_H
