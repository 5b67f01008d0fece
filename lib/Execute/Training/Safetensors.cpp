//===- Safetensors.cpp - Named tensors in a file ---------------------------===//
#include "moai/Execute/Safetensors.h"
#include "ElementStorage.h"
#include "Kernels/Kernels.h"
#include "absl/strings/str_cat.h"
#include "moai/Support/File.h"
#include "moai/Support/Json.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/xxhash.h"

using namespace moai;
namespace json = llvm::json;

bool moai::mayStandFor(llvm::StringRef storedType, llvm::StringRef type) {
  auto isInteger = [](llvm::StringRef name) { return name == "BOOL" || name.starts_with("I") || name.starts_with("U"); };
  if (storedType == type || (isInteger(storedType) && isInteger(type)))
    return true;
  bool isHalf = storedType == "F16" || storedType == "BF16";
  return (type == "F32" && isHalf) || (type == "F64" && (isHalf || storedType == "F32"));
}

//===----------------------------------------------------------------------===//
// The header
//===----------------------------------------------------------------------===//

static std::optional<std::vector<int64_t>> readSizes(const json::Array *array) {
  if (!array)
    return std::nullopt;
  std::vector<int64_t> sizes;
  for (const json::Value &value : *array) {
    auto size = value.getAsInteger();
    if (!size || *size < 0)
      return std::nullopt;
    sizes.push_back(*size);
  }
  return sizes;
}

// What the header says of a tensor; a refusal is without the file's name.
static absl::StatusOr<SafetensorsFile::Entry> readEntry(const std::string &name, const json::Object *description, llvm::StringRef data) {
  auto wrong = [&](auto... what) { return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' ", what...)); };
  auto type = description ? description->getString("dtype") : std::nullopt;
  const ElementStorage *storage = type ? findStorage(*type) : nullptr;
  if (!storage)
    return wrong("has the type '", type ? type->str() : "", "', which moai doesn't read");
  auto shape = readSizes(description->getArray("shape")), range = readSizes(description->getArray("data_offsets"));
  if (!shape || !range || range->size() != 2)
    return wrong("needs a shape and two data_offsets of whole numbers");
  int64_t begin = (*range)[0], end = (*range)[1], count = 1, width = static_cast<int64_t>(storage->width);
  for (int64_t size : *shape)
    if (__builtin_mul_overflow(count, size, &count))
      return wrong("has more elements than can be counted");
  if (begin > end || static_cast<uint64_t>(end) > data.size())
    return wrong("lies at ", begin, " to ", end, ", the data has ", data.size(), " bytes; the file is cut off or damaged");
  if (count > (end - begin) / width || count * width != end - begin)
    return wrong("has ", count, " elements of ", width, " bytes in ", end - begin, " bytes");
  return SafetensorsFile::Entry{type->str(), llvm::SmallVector<int64_t, 4>(shape->begin(), shape->end()), data.slice(begin, end)};
}

static absl::Status checkOverlap(const std::map<std::string, SafetensorsFile::Entry> &entries) {
  std::vector<std::pair<llvm::StringRef, llvm::StringRef>> ranges;
  for (const auto &[name, entry] : entries)
    if (!entry.bytes.empty())
      ranges.push_back({entry.bytes, name});
  llvm::sort(ranges, [](const auto &a, const auto &b) { return a.first.begin() < b.first.begin(); });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first.begin() < ranges[i - 1].first.end())
      return absl::InvalidArgumentError(
          absl::StrCat("tensors '", ranges[i - 1].second.str(), "' and '", ranges[i].second.str(), "' overlap"));
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::parse(llvm::StringRef bytes, llvm::StringRef path) {
  auto wrong = [&](auto... what) { return absl::InvalidArgumentError(absl::StrCat(path.str(), ": ", what...)); };
  if (bytes.size() < 8)
    return wrong("has ", bytes.size(), " bytes; expected a .safetensors file, which begins with the length of its header");
  uint64_t length = llvm::support::endian::read64le(bytes.data());
  if (length > bytes.size() - 8)
    return wrong("the header claims ", length, " bytes, the file has ", bytes.size() - 8, " more; it is cut off or no .safetensors file");
  absl::StatusOr<json::Value> header = parseJson(bytes.substr(8, length));
  if (!header.ok())
    return wrong("the header is not JSON; expected a .safetensors file");
  const json::Object *descriptions = header->getAsObject();
  if (!descriptions)
    return wrong("the header is not a JSON object; expected a .safetensors file");

  SafetensorsFile file;
  for (const auto &[key, value] : *descriptions) {
    std::string name = key.str();
    if (name == "__metadata__") {
      if (const json::Object *facts = value.getAsObject())
        for (const auto &[fact, text] : *facts)
          if (auto string = text.getAsString())
            file.facts[fact.str()] = string->str();
      continue;
    }
    auto entry = readEntry(name, value.getAsObject(), bytes.drop_front(8 + length));
    if (!entry.ok())
      return wrong(entry.status().message());
    file.tensors[name] = std::move(*entry);
  }
  if (absl::Status status = checkOverlap(file.tensors); !status.ok())
    return wrong(status.message());
  file.header = bytes.substr(8, length);
  file.data = bytes.drop_front(8 + length);
  return file;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::open(llvm::StringRef path) {
  if (llvm::sys::fs::is_directory(path))
    return absl::InvalidArgumentError(absl::StrCat(path.str(), ": is a directory; expected a .safetensors file"));
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return absl::NotFoundError(absl::StrCat(path.str(), ": can't be read (", buffer.getError().message(), ")"));
  auto file = parse((*buffer)->getBuffer(), path);
  if (file.ok())
    file->buffer = std::move(*buffer);
  return file;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

void SafetensorsFile::readElements(const Entry &entry, int64_t first, int64_t count, double *to) {
  const ElementStorage *storage = findStorage(entry.type);
  storage->load(entry.bytes.data() + first * static_cast<int64_t>(storage->width), 1, to, count);
}

StoredTensor SafetensorsFile::read(const Entry &entry) {
  StoredTensor stored{entry.type, Tensor(entry.shape)};
  readElements(entry, 0, stored.tensor.size(), stored.tensor.values.data());
  return stored;
}

Tensor SafetensorsFile::readRows(const Entry &entry, int64_t first, int64_t count) {
  llvm::SmallVector<int64_t, 4> shape = entry.shape;
  shape.front() = count;
  Tensor rows{llvm::ArrayRef<int64_t>(shape)};
  readElements(entry, first * Tensor::countElements(llvm::ArrayRef(shape).drop_front()), rows.size(), rows.values.data());
  return rows;
}

StoredTensors SafetensorsFile::readAll() const {
  StoredTensors all;
  for (const auto &[name, entry] : tensors)
    all[name] = read(entry);
  return all;
}

absl::StatusOr<StoredTensors> moai::parseSafetensors(llvm::StringRef bytes, llvm::StringRef path) {
  auto file = SafetensorsFile::parse(bytes, path);
  if (!file.ok())
    return file.status();
  return file->readAll();
}

absl::StatusOr<StoredTensors> moai::readSafetensors(llvm::StringRef path) {
  auto file = SafetensorsFile::open(path);
  if (!file.ok())
    return file.status();
  return file->readAll();
}

absl::StatusOr<StoredTensor> moai::decodeTensor(llvm::StringRef name, llvm::StringRef type, llvm::ArrayRef<int64_t> shape,
                                                llvm::ArrayRef<int64_t> strides, int64_t offset, llvm::StringRef bytes) {
  const ElementStorage *storage = findStorage(type);
  auto wrong = [&](const char *what) { return absl::InvalidArgumentError(absl::StrCat("tensor '", name.str(), "' ", what)); };
  if (!storage)
    return wrong("is of a type that moai doesn't read");
  // The last element tells whether all are there.
  int64_t last = offset, available = static_cast<int64_t>(bytes.size() / storage->width), count = 1;
  for (auto [size, stride] : llvm::zip(shape, strides)) {
    int64_t reach;
    if (size < 0 || stride < 0)
      return wrong("has a negative size or stride");
    if (__builtin_mul_overflow(count, size, &count) || __builtin_mul_overflow(std::max<int64_t>(0, size - 1), stride, &reach) ||
        __builtin_add_overflow(last, reach, &last))
      return wrong("has more elements than can be counted");
  }
  if (count > 0 && (offset < 0 || last >= available || count > available))
    return wrong("reaches beyond its data");
  StoredTensor stored{type.str(), Tensor(shape)};
  if (count == 0)
    return stored;
  auto load = [&](int64_t from, int64_t stride, size_t to, size_t many) {
    storage->load(bytes.data() + (offset + from) * static_cast<int64_t>(storage->width), stride, &stored.tensor.values[to], many);
  };
  if (shape.empty()) {
    load(0, 1, 0, 1);
    return stored;
  }
  size_t next = 0, row = shape.back();
  walk<1>(shape.drop_back(), {Offsets(strides.drop_back())}, [&](auto at) {
    load(at[0], strides.back(), next, row);
    next += row;
  });
  return stored;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

TensorViews moai::viewsOf(const StoredTensors &tensors) {
  TensorViews views;
  for (const auto &[name, stored] : tensors)
    // Not owned.
    views[name] = {stored.type,
                   stored.tensor.shape,
                   {{std::shared_ptr<const Tensor>(std::shared_ptr<void>(), &stored.tensor), 0, stored.tensor.size()}}};
  return views;
}

StoredTensor TensorView::read() const {
  StoredTensor stored{type, Tensor(shape)};
  const ElementStorage *storage = findStorage(type);
  std::vector<char> bytes;
  double *to = stored.tensor.values.data();
  for (const Piece &piece : pieces) {
    bytes.resize(piece.count * storage->width);
    storage->store(piece.tensor->values.data() + piece.begin, bytes.data(), piece.count);
    storage->load(bytes.data(), 1, to, piece.count);
    to += piece.count;
  }
  return stored;
}

// Sorts behind every name there is.
static constexpr const char *kChecksumName = "~checksum";

namespace {
/// Over the header and the data, block by block.
class Checksum {
public:
  explicit Checksum(llvm::StringRef header) { add(header); }
  void add(llvm::StringRef block) {
    char hash[8];
    llvm::support::endian::write64le(hash, llvm::xxh3_64bits(block));
    hashes.append(hash, sizeof hash);
  }
  std::string get() const {
    std::string sum(8, '\0');
    llvm::support::endian::write64le(sum.data(), llvm::xxh3_64bits(hashes));
    return sum;
  }
  static constexpr size_t kBlock = 1 << 18;

private:
  std::string hashes;
};

/// Bytes that are written, and summed up, in blocks.
class BlockWriter {
public:
  BlockWriter(llvm::raw_ostream &os, Checksum &checksum) : os(os), checksum(checksum) { block.reserve(Checksum::kBlock + sizeof(double)); }

  void write(const TensorView &tensor) {
    const ElementStorage *storage = findStorage(tensor.type);
    for (const TensorView::Piece &piece : tensor.pieces) {
      llvm::ArrayRef<double> rest = llvm::ArrayRef(piece.tensor->values).slice(piece.begin, piece.count);
      while (!rest.empty()) {
        // Up to the block's end, or into the last element that lies across it.
        size_t at = block.size(), count = std::min(rest.size(), (Checksum::kBlock - at + storage->width - 1) / storage->width);
        block.resize(at + count * storage->width);
        storage->store(rest.data(), block.data() + at, count);
        rest = rest.drop_front(count);
        if (block.size() >= Checksum::kBlock)
          put(Checksum::kBlock);
      }
    }
  }
  void flush() {
    if (!block.empty())
      put(block.size());
  }

private:
  void put(size_t size) {
    checksum.add(llvm::StringRef(block).take_front(size));
    os.write(block.data(), size);
    block.erase(0, size);
  }

  llvm::raw_ostream &os;
  Checksum &checksum;
  std::string block;
};
} // namespace

static std::string describeTensors(const TensorViews &tensors, const std::map<std::string, std::string> &metadata, bool withChecksum) {
  json::Object header;
  if (!metadata.empty()) {
    json::Object facts;
    for (const auto &[key, value] : metadata)
      facts[key] = value;
    header["__metadata__"] = std::move(facts);
  }
  int64_t begin = 0;
  for (const auto &[name, tensor] : tensors) {
    int64_t end = begin + Tensor::countElements(tensor.shape) * static_cast<int64_t>(findStorage(tensor.type)->width);
    header[name] = json::Object{{"dtype", tensor.type}, {"shape", json::Array(tensor.shape)}, {"data_offsets", json::Array{begin, end}}};
    begin = end;
  }
  if (withChecksum)
    header[kChecksumName] = json::Object{{"dtype", "U8"}, {"shape", json::Array{8}}, {"data_offsets", json::Array{begin, begin + 8}}};
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(header));
  // The data begins at a multiple of eight.
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

absl::Status moai::writeTensorViews(llvm::StringRef path, const TensorViews &tensors, const std::map<std::string, std::string> &metadata,
                                    bool withChecksum) {
  return writeFile(path, [&](llvm::raw_ostream &os) {
    std::string header = describeTensors(tensors, metadata, withChecksum);
    char length[8];
    llvm::support::endian::write64le(length, header.size());
    os.write(length, sizeof length) << header;
    Checksum checksum(header);
    BlockWriter writer(os, checksum);
    for (const auto &[name, tensor] : tensors)
      writer.write(tensor);
    writer.flush();
    if (withChecksum)
      os << checksum.get();
  });
}

absl::Status moai::writeSafetensors(llvm::StringRef path, const StoredTensors &tensors,
                                    const std::map<std::string, std::string> &metadata) {
  return writeTensorViews(path, viewsOf(tensors), metadata);
}

bool SafetensorsFile::hasGoodChecksum() const {
  auto stored = tensors.find(kChecksumName);
  if (stored == tensors.end() || stored->second.bytes.end() != data.end() || stored->second.bytes.size() != 8)
    return false;
  Checksum checksum(header);
  for (llvm::StringRef rest = data.drop_back(8); !rest.empty(); rest = rest.drop_front(std::min(rest.size(), Checksum::kBlock)))
    checksum.add(rest.take_front(Checksum::kBlock));
  return checksum.get() == stored->second.bytes;
}
