//===- Safetensors.cpp - Named tensors in a file ---------------------------===//
#include "moai/Execute/Safetensors.h"
#include "Eigen/Core"
#include "Kernels/Kernels.h"
#include "absl/strings/str_cat.h"
#include "moai/Support/File.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace moai;
namespace json = llvm::json;

//===----------------------------------------------------------------------===//
// Element types
//===----------------------------------------------------------------------===//

namespace {
/// How an element type lies in memory.
struct Storage {
  size_t width;
  double (*load)(const char *);
  void (*store)(double, char *);
};
} // namespace

template <typename T> static Storage plain() {
  return {sizeof(T),
          [](const char *bytes) {
            T value;
            std::memcpy(&value, bytes, sizeof(T));
            return static_cast<double>(value);
          },
          [](double value, char *bytes) {
            T narrow = static_cast<T>(value);
            std::memcpy(bytes, &narrow, sizeof(T));
          }};
}

// Half types convert by way of float.
template <typename T> static Storage half() {
  return {sizeof(T),
          [](const char *bytes) {
            T value;
            std::memcpy(&value, bytes, sizeof(T));
            return static_cast<double>(static_cast<float>(value));
          },
          [](double value, char *bytes) {
            T narrow(static_cast<float>(value));
            std::memcpy(bytes, &narrow, sizeof(T));
          }};
}

static const Storage *storageOf(llvm::StringRef type) {
  static const llvm::StringMap<Storage> known = {{"F64", plain<double>()},          {"F32", plain<float>()},   {"F16", half<Eigen::half>()},
                                                 {"BF16", half<Eigen::bfloat16>()}, {"I64", plain<int64_t>()}, {"I32", plain<int32_t>()},
                                                 {"I16", plain<int16_t>()},         {"I8", plain<int8_t>()},   {"U8", plain<uint8_t>()},
                                                 {"BOOL", plain<uint8_t>()}};
  auto it = known.find(type);
  return it == known.end() ? nullptr : &it->second;
}

//===----------------------------------------------------------------------===//
// Reading
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

absl::StatusOr<StoredTensors> moai::parseSafetensors(llvm::StringRef bytes, llvm::StringRef path) {
  auto wrong = [&](auto... what) { return absl::InvalidArgumentError(absl::StrCat(path.str(), ": ", what...)); };
  if (bytes.size() < 8)
    return wrong("has ", bytes.size(), " bytes; expected a .safetensors file, which begins with the length of its header");
  uint64_t length = llvm::support::endian::read64le(bytes.data());
  if (length > bytes.size() - 8)
    return wrong("the header claims ", length, " bytes, the file has ", bytes.size() - 8, " more; it is cut off or no .safetensors file");
  auto header = json::parse(bytes.substr(8, length));
  if (!header) {
    llvm::consumeError(header.takeError());
    return wrong("the header is not JSON; expected a .safetensors file");
  }
  const json::Object *entries = header->getAsObject();
  if (!entries)
    return wrong("the header is not a JSON object; expected a .safetensors file");
  llvm::StringRef data = bytes.drop_front(8 + length);

  StoredTensors tensors;
  std::vector<std::tuple<int64_t, int64_t, std::string>> ranges;
  for (const auto &entry : *entries) {
    if (entry.first == "__metadata__")
      continue;
    std::string name = entry.first.str();
    const json::Object *description = entry.second.getAsObject();
    auto type = description ? description->getString("dtype") : std::nullopt;
    const Storage *storage = type ? storageOf(*type) : nullptr;
    if (!storage)
      return wrong("tensor '", name, "' has the type '", type ? type->str() : "", "', which moai doesn't read");
    auto shape = readSizes(description->getArray("shape")), range = readSizes(description->getArray("data_offsets"));
    if (!shape || !range || range->size() != 2)
      return wrong("tensor '", name, "' needs a shape and two data_offsets of whole numbers");
    int64_t begin = (*range)[0], end = (*range)[1], count = 1;
    for (int64_t size : *shape)
      if (__builtin_mul_overflow(count, size, &count))
        return wrong("tensor '", name, "' has more elements than can be counted");
    if (begin > end || static_cast<uint64_t>(end) > data.size())
      return wrong("tensor '", name, "' lies at ", begin, " to ", end, ", the data has ", data.size(),
                   " bytes; the file is cut off or damaged");
    if (count > (end - begin) / static_cast<int64_t>(storage->width) || count * static_cast<int64_t>(storage->width) != end - begin)
      return wrong("tensor '", name, "' has ", count, " elements of ", storage->width, " bytes in ", end - begin, " bytes");
    if (begin < end)
      ranges.push_back({begin, end, name});
    StoredTensor &stored = tensors[name];
    stored.type = type->str();
    stored.tensor = Tensor(*shape);
    for (int64_t i = 0; i < count; ++i)
      stored.tensor.values[i] = storage->load(data.data() + begin + i * storage->width);
  }
  llvm::sort(ranges);
  for (size_t i = 1; i < ranges.size(); ++i)
    if (std::get<0>(ranges[i]) < std::get<1>(ranges[i - 1]))
      return wrong("tensors '", std::get<2>(ranges[i - 1]), "' and '", std::get<2>(ranges[i]), "' overlap");
  return tensors;
}

absl::StatusOr<StoredTensors> moai::readSafetensors(llvm::StringRef path) {
  if (llvm::sys::fs::is_directory(path))
    return absl::InvalidArgumentError(absl::StrCat(path.str(), ": is a directory; expected a .safetensors file"));
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return absl::NotFoundError(absl::StrCat(path.str(), ": can't be read (", buffer.getError().message(), ")"));
  return parseSafetensors((*buffer)->getBuffer(), path);
}

absl::StatusOr<StoredTensor> moai::decodeTensor(llvm::StringRef name, llvm::StringRef type, llvm::ArrayRef<int64_t> shape,
                                                llvm::ArrayRef<int64_t> strides, int64_t offset, llvm::StringRef bytes) {
  const Storage *storage = storageOf(type);
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
  size_t next = 0;
  walk<1>(shape, {Offsets(strides)},
          [&](auto at) { stored.tensor.values[next++] = storage->load(bytes.data() + (offset + at[0]) * storage->width); });
  return stored;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

absl::Status moai::writeSafetensors(llvm::StringRef path, const StoredTensors &tensors) {
  json::Object header;
  std::string data;
  for (const auto &[name, stored] : tensors) {
    const Storage *storage = storageOf(stored.type);
    size_t begin = data.size();
    data.resize(begin + stored.tensor.values.size() * storage->width);
    for (size_t i = 0; i < stored.tensor.values.size(); ++i)
      storage->store(stored.tensor.values[i], &data[begin + i * storage->width]);
    header[name] = json::Object{{"dtype", stored.type},
                                {"shape", json::Array(stored.tensor.shape)},
                                {"data_offsets", json::Array{static_cast<int64_t>(begin), static_cast<int64_t>(data.size())}}};
  }
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(header));
  // The data begins at a multiple of eight.
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string file(8, '\0');
  llvm::support::endian::write64le(file.data(), text.size());
  return writeFile(path, file + text + data);
}
