//===- DataSource.cpp - Samples to train on --------------------------------===//
#include "moai/Execute/DataSource.h"
#include "DataFiles.h"
#include "absl/strings/str_cat.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/xxhash.h"

using namespace moai;

//===----------------------------------------------------------------------===//
// Formats
//===----------------------------------------------------------------------===//

static constexpr std::pair<DataFormat, const char *> kFormats[] = {{DataFormat::Text, "text"},   {DataFormat::Ids, "ids"},
                                                                   {DataFormat::Npy, "npy"},     {DataFormat::Bin16, "bin16"},
                                                                   {DataFormat::Bin32, "bin32"}, {DataFormat::Safetensors, "safetensors"}};

absl::StatusOr<DataFormat> moai::parseDataFormat(llvm::StringRef text) {
  for (auto [format, name] : kFormats)
    if (text == name)
      return format;
  return absl::InvalidArgumentError(
      absl::StrCat("'", text.str(), "' is no format of data; expected text, ids, npy, bin16, bin32 or safetensors"));
}

llvm::StringRef moai::toString(DataFormat format) {
  return llvm::find_if(kFormats, [&](const auto &known) { return known.first == format; })->second;
}

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

static absl::StatusOr<std::unique_ptr<DataSource>> openBuffer(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path,
                                                              std::optional<DataFormat> format, llvm::ArrayRef<ModelInput> inputs) {
  bool isTensors = format ? *format == DataFormat::Safetensors : path.ends_with(".safetensors");
  return isTensors ? openTensors(std::move(buffer), path, inputs) : openTokens(std::move(buffer), path, format, inputs);
}

absl::StatusOr<std::unique_ptr<DataSource>> DataSource::open(llvm::StringRef path, std::optional<DataFormat> format,
                                                             llvm::ArrayRef<ModelInput> inputs) {
  if (llvm::sys::fs::is_directory(path))
    return wrongData(path, "is a directory; expected a file of samples");
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return absl::NotFoundError(absl::StrCat(path.str(), ": can't be read (", buffer.getError().message(), ")"));
  return openBuffer(std::move(*buffer), path, format, inputs);
}

absl::StatusOr<std::unique_ptr<DataSource>> DataSource::parse(llvm::StringRef bytes, llvm::StringRef path, std::optional<DataFormat> format,
                                                              llvm::ArrayRef<ModelInput> inputs) {
  return openBuffer(llvm::MemoryBuffer::getMemBuffer(bytes, path, /*RequiresNullTerminator=*/false), path, format, inputs);
}

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

int64_t moai::scanNumbers(const ElementStorage &storage, llvm::StringRef bytes, const NumberRange &range, uint64_t &hash) {
  constexpr size_t kBlock = 4096;
  double block[kBlock];
  auto end = static_cast<double>(range.numIds);
  // Without one, a number that is in range anyway.
  auto ignored = static_cast<double>(range.ignored.value_or(0));
  size_t count = bytes.size() / storage.width;
  for (size_t first = 0; first < count; first += kBlock) {
    size_t size = std::min(kBlock, count - first);
    storage.load(bytes.data() + first * storage.width, 1, block, size);
    auto isWrong = [&](double number) { return !(number >= 0 && number < end) && number != ignored; };
    bool hasWrong = false;
    for (size_t i = 0; i < size; ++i)
      hasWrong |= isWrong(block[i]);
    if (hasWrong && range.isChecked)
      return static_cast<int64_t>(first) + (std::find_if(block, block + size, isWrong) - block);
    hash = hash * 0x9E3779B97F4A7C15u + llvm::xxh3_64bits(llvm::ArrayRef(reinterpret_cast<const uint8_t *>(block), size * sizeof(double)));
  }
  return -1;
}

//===----------------------------------------------------------------------===//
// Messages
//===----------------------------------------------------------------------===//

std::string moai::quoteData(llvm::StringRef bytes) {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::printEscapedString(bytes.take_front(20), os);
  return absl::StrCat("'", text, bytes.size() > 20 ? "...'" : "'");
}

std::string moai::countOf(int64_t number, llvm::StringRef thing) {
  std::string digits = std::to_string(number);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(at, ",");
  return absl::StrCat(digits, " ", thing.str(), number == 1 ? "" : "s");
}
