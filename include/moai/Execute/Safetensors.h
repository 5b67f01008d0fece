//===- Safetensors.h - Named tensors in a file -----------------------------===//
#ifndef MOAI_EXECUTE_SAFETENSORS_H
#define MOAI_EXECUTE_SAFETENSORS_H

#include "absl/status/statusor.h"
#include "moai/Execute/Tensor.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/MemoryBuffer.h"
#include <map>
#include <memory>
#include <string>

namespace moai {

struct StoredTensor {
  std::string type; ///< as the file spells it: F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL
  Tensor tensor;
};
using StoredTensors = std::map<std::string, StoredTensor>;

/// A tensor to be written, in pieces that lie elsewhere one after the other: as shards of devices are, joined without a copy.
struct TensorView {
  struct Piece {
    std::shared_ptr<const Tensor> tensor;
    int64_t begin = 0, count = 0; ///< elements
  };
  std::string type; ///< in which it is written, rounded
  llvm::SmallVector<int64_t, 4> shape;
  std::vector<Piece> pieces;

  /// Its numbers, as they would be read back.
  StoredTensor read() const;
};
using TensorViews = std::map<std::string, TensorView>;

/// The same tensors, which must outlive the views.
TensorViews viewsOf(const StoredTensors &tensors);

/// Whether every number of a stored type is one of the other as well, so that it may stand for it: a narrower floating type, and
/// any integer type for any other, as indices fit.
bool mayStandFor(llvm::StringRef storedType, llvm::StringRef type);

/// A file whose tensors are decoded when they are asked for. Safe to read from several threads.
class SafetensorsFile {
public:
  struct Entry {
    std::string type;
    llvm::SmallVector<int64_t, 4> shape;
    llvm::StringRef bytes; ///< in the file's memory
  };

  /// Maps a file: eight bytes of header length (little-endian), the header as JSON, and data. Refuses, with one sentence that names
  /// the file and the tensor, a header beyond the file, unknown types, negative or overflowing shapes, and ranges that lie outside
  /// of the data, overlap, or don't match the shape.
  static absl::StatusOr<SafetensorsFile> open(llvm::StringRef path);
  /// The same of a file's bytes, which must outlive it; `path` is for messages.
  static absl::StatusOr<SafetensorsFile> parse(llvm::StringRef bytes, llvm::StringRef path);

  const std::map<std::string, Entry> &entries() const { return tensors; }
  /// What the file says of itself under `__metadata__`.
  const std::map<std::string, std::string> &metadata() const { return facts; }

  static StoredTensor read(const Entry &entry);
  /// Rows [first, first + count) of the first dimension, which must lie within it.
  static Tensor readRows(const Entry &entry, int64_t first, int64_t count);
  /// Elements [first, first + count) in row-major order.
  static void readElements(const Entry &entry, int64_t first, int64_t count, double *to);
  StoredTensors readAll() const;

  /// Whether the file has the checksum that writeSafetensors adds where it is asked to, and it is that of all its other bytes.
  bool hasGoodChecksum() const;

private:
  std::unique_ptr<llvm::MemoryBuffer> buffer; ///< null if the bytes are another's
  llvm::StringRef header, data;
  std::map<std::string, Entry> tensors;
  std::map<std::string, std::string> facts;
};

/// All tensors of a file, which is refused as SafetensorsFile refuses it.
absl::StatusOr<StoredTensors> readSafetensors(llvm::StringRef path);
/// The same of a file's bytes; `path` is for messages.
absl::StatusOr<StoredTensors> parseSafetensors(llvm::StringRef bytes, llvm::StringRef path);

/// A tensor out of a storage of elements of that type, which lie `strides` apart from `offset` on. InvalidArgument, with
/// the name, if a size or stride is negative or it reaches beyond the storage.
absl::StatusOr<StoredTensor> decodeTensor(llvm::StringRef name, llvm::StringRef type, llvm::ArrayRef<int64_t> shape,
                                          llvm::ArrayRef<int64_t> strides, int64_t offset, llvm::StringRef bytes);

/// Writes the tensors in the order of their names, whole or not at all, and returns once the disk has them. The same tensors and metadata
/// give the same bytes. `withChecksum` adds a last tensor, `~checksum`, over all that comes before it.
absl::Status writeTensorViews(llvm::StringRef path, const TensorViews &tensors, const std::map<std::string, std::string> &metadata = {},
                              bool withChecksum = false);
/// The same of tensors in memory.
absl::Status writeSafetensors(llvm::StringRef path, const StoredTensors &tensors, const std::map<std::string, std::string> &metadata = {});

} // namespace moai

#endif // MOAI_EXECUTE_SAFETENSORS_H
