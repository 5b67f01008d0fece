//===- Archive.cpp - The .pt2 container ------------------------------------===//
#include "Archive.h"
#include "absl/strings/str_cat.h"
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

absl::StatusOr<simdjson::padded_string> moai::readModelJson(llvm::StringRef path) {
  llvm::sys::fs::file_status status;
  if (llvm::sys::fs::status(path, status) || status.type() == llvm::sys::fs::file_type::file_not_found)
    return absl::NotFoundError(absl::StrCat(path.str(), ": no such file; expected a model exported by torch.export.save"));
  if (status.type() == llvm::sys::fs::file_type::directory_file)
    return invalid(path, "is a directory; expected a .pt2 file written by torch.export.save");

  int error = 0;
  std::unique_ptr<zip_t, decltype(&zip_discard)> archive(zip_open(path.str().c_str(), ZIP_RDONLY, &error), &zip_discard);
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

  zip_stat_t info;
  if (zip_stat_index(archive.get(), found, 0, &info) || !(info.valid & ZIP_STAT_SIZE))
    return invalid(path, "the size of models/model.json can't be read; the archive is damaged");
  bool bomb = (info.valid & ZIP_STAT_COMP_SIZE) && info.size > (64u << 20) && info.size / kMaxCompression > info.comp_size;
  if (info.size > kMaxModelBytes || bomb)
    return invalid(path, absl::StrCat("models/model.json claims ", info.size, " bytes", bomb ? " out of a tiny entry" : "",
                                      "; refused, at most ", kMaxModelBytes, " are expected"));

  std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(zip_fopen_index(archive.get(), found, 0), &zip_fclose);
  if (!file)
    return invalid(path, absl::StrCat("models/model.json can't be opened (", zip_strerror(archive.get()), "); the archive is damaged"));
  simdjson::padded_string text(info.size);
  zip_uint64_t filled = 0;
  while (filled < info.size) {
    zip_int64_t got = zip_fread(file.get(), text.data() + filled, info.size - filled);
    if (got <= 0)
      return invalid(path, absl::StrCat("models/model.json ends after ", filled, " of ", info.size, " bytes (",
                                        zip_file_strerror(file.get()), "); the archive is truncated or damaged"));
    filled += got;
  }
  return text;
}
