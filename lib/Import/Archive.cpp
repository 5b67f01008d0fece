//===- Archive.cpp - The .pt2 container ------------------------------------===//
#include "Archive.h"
#include "absl/strings/str_cat.h"
#include "moai/Import/Weights.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include <memory>
#include <string>
#include <zip.h>

using namespace moai;

// Ten times the largest model.json we know of (a 70B joint graph with stack traces); more is a bomb or a mistake.
static constexpr uint64_t kMaxModelBytes = 1ull << 30;
// JSON compresses about 20 times; a bomb compresses about 1000 times.
static constexpr uint64_t kMaxCompression = 200;

static absl::Status invalid(llvm::StringRef path, const std::string &what) {
  return absl::InvalidArgumentError(absl::StrCat(path.str(), ": ", what));
}

using Archive = std::unique_ptr<zip_t, decltype(&zip_discard)>;

static absl::StatusOr<simdjson::padded_string> readEntry(zip_t *archive, zip_int64_t index, const char *what, llvm::StringRef path) {
  zip_stat_t info;
  if (zip_stat_index(archive, index, 0, &info) || !(info.valid & ZIP_STAT_SIZE))
    return invalid(path, absl::StrCat("the size of ", what, " can't be read; the archive is damaged"));
  bool bomb = (info.valid & ZIP_STAT_COMP_SIZE) && info.size > (64u << 20) && info.size / kMaxCompression > info.comp_size;
  if (info.size > kMaxModelBytes || bomb)
    return invalid(path, absl::StrCat(what, " claims ", info.size, " bytes", bomb ? " out of a tiny entry" : "", "; refused, at most ",
                                      kMaxModelBytes, " are expected"));

  std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(zip_fopen_index(archive, index, 0), &zip_fclose);
  if (!file)
    return invalid(path, absl::StrCat(what, " can't be opened (", zip_strerror(archive), "); the archive is damaged"));
  simdjson::padded_string text(info.size);
  zip_uint64_t filled = 0;
  while (filled < info.size) {
    zip_int64_t got = zip_fread(file.get(), text.data() + filled, info.size - filled);
    if (got <= 0)
      return invalid(path, absl::StrCat(what, " ends after ", filled, " of ", info.size, " bytes (", zip_file_strerror(file.get()),
                                        "); the archive is truncated or damaged"));
    filled += got;
  }
  return text;
}

absl::StatusOr<simdjson::padded_string> moai::readModelJson(llvm::StringRef path) {
  llvm::sys::fs::file_status status;
  if (llvm::sys::fs::status(path, status) || status.type() == llvm::sys::fs::file_type::file_not_found)
    return absl::NotFoundError(absl::StrCat(path.str(), ": no such file; expected a model exported by torch.export.save"));
  if (status.type() == llvm::sys::fs::file_type::directory_file)
    return invalid(path, "is a directory; expected a .pt2 file written by torch.export.save");

  int error = 0;
  Archive archive(zip_open(path.str().c_str(), ZIP_RDONLY, &error), &zip_discard);
  if (!archive) {
    zip_error_t details;
    zip_error_init_with_code(&details, error);
    std::string reason = zip_error_strerror(&details);
    zip_error_fini(&details);
    return invalid(path, absl::StrCat("not a readable zip archive (", reason, "); expected a .pt2 file written by torch.export.save"));
  }

  zip_int64_t found = -1;
  bool oldLayout = false;
  for (zip_int64_t i = 0, n = zip_get_num_entries(archive.get(), 0); i < n; ++i) {
    const char *name = zip_get_name(archive.get(), i, ZIP_FL_ENC_RAW);
    if (!name)
      continue;
    llvm::StringRef entry(name);
    if (entry == "models/model.json" || entry.ends_with("/models/model.json"))
      found = i;
    else if (found < 0 && entry.contains("models/") && entry.ends_with(".json"))
      found = i;
    oldLayout |= entry.ends_with("serialized_exported_program.json");
  }
  if (found < 0)
    return invalid(path, oldLayout ? "has the archive layout of PyTorch before 2.9; export it again with a newer PyTorch"
                                   : "the archive has no models/model.json; expected a .pt2 file written by torch.export.save");

  return readEntry(archive.get(), found, "models/model.json", path);
}

llvm::StringMap<std::string> moai::readWeightPlaces(llvm::StringRef path) {
  llvm::StringMap<std::string> places;
  Archive archive(zip_open(path.str().c_str(), ZIP_RDONLY, nullptr), &zip_discard);
  if (!archive)
    return places;
  for (zip_int64_t i = 0, n = zip_get_num_entries(archive.get(), 0); i < n; ++i) {
    const char *name = zip_get_name(archive.get(), i, ZIP_FL_ENC_RAW);
    llvm::StringRef entry = name ? name : "";
    if (!entry.ends_with("_weights_config.json") && !entry.ends_with("_model_param_config.json"))
      continue;
    auto text = readEntry(archive.get(), i, "the list of weights", path);
    simdjson::dom::parser parser;
    simdjson::dom::object list;
    if (!text.ok() || parser.parse(*text)["config"].get(list))
      return places;
    llvm::StringSet<> different;
    for (auto [key, value] : list)
      if (std::string_view place; !value["path_name"].get(place)) {
        places[llvm::StringRef(key)] = std::string(place);
        different.insert(llvm::StringRef(place));
      }
    if (different.size() < 2)
      places.clear();
    return places;
  }
  return places;
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

// PyTorch's numbers for element types.
static const char *storedType(int64_t code) {
  static const char *const names[] = {"", "U8", "I8", "I16", "I32", "I64", "F16", "F32", "F64", "", "", "", "BOOL", "BF16"};
  return code > 0 && code < static_cast<int64_t>(std::size(names)) && *names[code] ? names[code] : nullptr;
}

static bool readSizes(simdjson::simdjson_result<simdjson::dom::element> list, std::vector<int64_t> &sizes) {
  simdjson::dom::array array;
  if (list.get(array))
    return false;
  for (simdjson::dom::element item : array) {
    int64_t size;
    if (item["as_int"].get(size) || size < 0)
      return false;
    sizes.push_back(size);
  }
  return true;
}

absl::StatusOr<std::vector<ArchivedTensor>> moai::readPt2Tensors(llvm::StringRef path) {
  int error = 0;
  Archive archive(zip_open(path.str().c_str(), ZIP_RDONLY, &error), &zip_discard);
  if (!archive)
    return invalid(path, "not a readable zip archive");
  std::vector<ArchivedTensor> tensors;
  std::string missing;
  for (zip_int64_t i = 0, n = zip_get_num_entries(archive.get(), 0); i < n; ++i) {
    const char *name = zip_get_name(archive.get(), i, ZIP_FL_ENC_RAW);
    llvm::StringRef entry = name ? name : "";
    if (!entry.ends_with("_weights_config.json") && !entry.ends_with("_model_param_config.json") &&
        !entry.ends_with("_constants_config.json"))
      continue;
    auto text = readEntry(archive.get(), i, name, path);
    if (!text.ok())
      return text.status();
    simdjson::dom::parser parser;
    simdjson::dom::object list;
    if (parser.parse(*text)["config"].get(list))
      return invalid(path, absl::StrCat(name, ": expected an object 'config'"));
    llvm::StringRef folder = entry.take_front(entry.rfind('/') + 1);
    for (auto [key, value] : list) {
      ArchivedTensor tensor;
      tensor.name = std::string(key);
      std::string_view place;
      simdjson::dom::element meta;
      int64_t type;
      bool pickled = false;
      if (value["use_pickle"].get(pickled))
        pickled = false;
      if (pickled || value["tensor_meta"].get(meta) || meta.is_null())
        continue; // an object, not a tensor
      if (value["path_name"].get(place) || meta["dtype"].get(type) || !storedType(type) || !readSizes(meta["sizes"], tensor.shape) ||
          !readSizes(meta["strides"], tensor.strides) || tensor.shape.size() != tensor.strides.size() ||
          meta["storage_offset"]["as_int"].get(tensor.offset) || tensor.offset < 0)
        return invalid(path, absl::StrCat(name, ": the entry of '", tensor.name, "' can't be understood"));
      tensor.type = storedType(type);
      std::string where = (folder + llvm::StringRef(place)).str();
      zip_int64_t found = zip_name_locate(archive.get(), where.c_str(), 0);
      if (found < 0) {
        if (missing.empty())
          missing = absl::StrCat("has no entry ", where, ", where '", tensor.name, "' should be");
        continue;
      }
      zip_stat_t info;
      if (!zip_stat_index(archive.get(), found, 0, &info) && (info.valid & ZIP_STAT_SIZE) && info.size == 0)
        continue; // exported without data
      auto data = readEntry(archive.get(), found, where.c_str(), path);
      if (!data.ok())
        return data.status();
      tensor.bytes.assign(data->data(), data->size());
      tensors.push_back(std::move(tensor));
    }
  }
  // An archive without any data is a graph alone; one that lacks some is damaged.
  if (!missing.empty() && !tensors.empty())
    return invalid(path, missing);
  return tensors;
}
