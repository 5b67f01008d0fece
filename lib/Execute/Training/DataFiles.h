//===- DataFiles.h - What files of samples hold ----------------------------===//
#ifndef MOAI_LIB_EXECUTE_DATAFILES_H
#define MOAI_LIB_EXECUTE_DATAFILES_H

#include "ElementStorage.h"
#include "absl/strings/str_cat.h"
#include "moai/Execute/DataSource.h"
#include "llvm/Support/MemoryBuffer.h"

namespace moai {

/// What a model needs of files of tokens.
struct TokenDemand {
  int64_t perSample = 0;    ///< tokens of a sample
  bool lastMayLack = false; ///< the last of them is only what follows: without it that target is ignored
  int64_t numIds = 0;       ///< ids are 0 to numIds - 1

  bool takes(int64_t length) const { return length == perSample || (lastMayLack && length == perSample - 1); }
  /// `16`, `17 (or 16)`
  std::string str() const;
};

/// Ids in memory, one sample after the other.
struct TokenArray {
  const ElementStorage *storage = nullptr;
  llvm::StringRef bytes;
  std::string description;   ///< of the format
  bool isText = false;       ///< ids are bytes of a text
  int64_t perRow = 0;        ///< tokens of every sample, if the file says where they end
  std::vector<uint32_t> own; ///< what `bytes` are, if they are not the file's

  int64_t size() const { return static_cast<int64_t>(bytes.size() / storage->width); }
};

/// One sentence that names the file as wrong.
template <typename... What> absl::Status wrongData(llvm::StringRef path, const What &...what) {
  return absl::InvalidArgumentError(absl::StrCat(absl::string_view(path.data(), path.size()), ": ", what...));
}

/// Decimal ids, a sample on each line.
absl::StatusOr<TokenArray> parseIds(llvm::StringRef text, llvm::StringRef path, const TokenDemand &demand);
/// Unsigned ids of 16 or 32 bits.
absl::StatusOr<TokenArray> parseBin(llvm::StringRef bytes, llvm::StringRef path, DataFormat format);
/// NumPy's array.
absl::StatusOr<TokenArray> parseNpy(llvm::StringRef bytes, llvm::StringRef path, const TokenDemand &demand);

/// Which numbers may stand in a file.
struct NumberRange {
  bool isChecked = false;
  int64_t numIds = 0;
  std::optional<int64_t> ignored;
};

/// One pass over numbers: the place of the first that is out of range, -1 if none is. What they are goes into the hash, not how they lie.
int64_t scanNumbers(const ElementStorage &storage, llvm::StringRef bytes, const NumberRange &range, uint64_t &hash);

/// A source of tokens, and one of tensors under the inputs' names; they keep the memory they read.
absl::StatusOr<std::unique_ptr<DataSource>> openTokens(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path,
                                                       std::optional<DataFormat> format, llvm::ArrayRef<ModelInput> inputs);
absl::StatusOr<std::unique_ptr<DataSource>> openTensors(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path,
                                                        llvm::ArrayRef<ModelInput> inputs);

/// What stands in a file, cut if it is long, as messages show it.
std::string quoteData(llvm::StringRef bytes);
/// `1,125 samples`
std::string countOf(int64_t number, llvm::StringRef thing);

} // namespace moai

#endif // MOAI_LIB_EXECUTE_DATAFILES_H
