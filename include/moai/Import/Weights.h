//===- Weights.h - Tensors that a .pt2 archive holds -----------------------===//
#ifndef MOAI_IMPORT_WEIGHTS_H
#define MOAI_IMPORT_WEIGHTS_H

#include "absl/status/statusor.h"
#include "llvm/ADT/StringRef.h"
#include <string>
#include <vector>

namespace moai {

/// A parameter, buffer or constant as it lies in the archive: a storage, and how the tensor looks at it.
struct ArchivedTensor {
  std::string name; ///< in the framework
  std::string type; ///< as safetensors spells it: F32, BF16, I64, BOOL, ...
  std::vector<int64_t> shape, strides;
  int64_t offset = 0; ///< of its first element, in elements
  std::string bytes;  ///< of the storage, little-endian
};

/// Reads all weights and constants of an archive, those without data left out. For executing small models: everything is in
/// memory at once. Fails with a sentence that names the file and the entry.
absl::StatusOr<std::vector<ArchivedTensor>> readPt2Tensors(llvm::StringRef path);

} // namespace moai

#endif // MOAI_IMPORT_WEIGHTS_H
