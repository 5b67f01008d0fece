//===- Safetensors.h - Named tensors in a file -----------------------------===//
#ifndef MOAI_EXECUTE_SAFETENSORS_H
#define MOAI_EXECUTE_SAFETENSORS_H

#include "absl/status/statusor.h"
#include "moai/Execute/Tensor.h"
#include "llvm/ADT/StringRef.h"
#include <map>
#include <string>

namespace moai {

struct StoredTensor {
  std::string type; ///< as the file spells it: F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL
  Tensor tensor;
};
using StoredTensors = std::map<std::string, StoredTensor>;

/// Reads all tensors of a file: eight bytes of header length (little-endian), the header as JSON, and data. Refuses, with
/// one sentence that names the file and the tensor, a header beyond the file, unknown types, negative or overflowing
/// shapes, and ranges that lie outside of the data, overlap, or don't match the shape.
absl::StatusOr<StoredTensors> readSafetensors(llvm::StringRef path);

/// The same of a file's bytes; `path` is for messages.
absl::StatusOr<StoredTensors> parseSafetensors(llvm::StringRef bytes, llvm::StringRef path);

/// A tensor out of a storage of elements of that type, which lie `strides` apart from `offset` on. InvalidArgument, with
/// the name, if a size or stride is negative or it reaches beyond the storage.
absl::StatusOr<StoredTensor> decodeTensor(llvm::StringRef name, llvm::StringRef type, llvm::ArrayRef<int64_t> shape,
                                          llvm::ArrayRef<int64_t> strides, int64_t offset, llvm::StringRef bytes);

/// Writes the tensors in the order of their names, whole or not at all.
absl::Status writeSafetensors(llvm::StringRef path, const StoredTensors &tensors);

} // namespace moai

#endif // MOAI_EXECUTE_SAFETENSORS_H
