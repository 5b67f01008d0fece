//===- Archive.h - The .pt2 container --------------------------------------===//
#ifndef MOAI_LIB_IMPORT_ARCHIVE_H
#define MOAI_LIB_IMPORT_ARCHIVE_H

#include "absl/status/statusor.h"
#include "simdjson.h"
#include "llvm/ADT/StringRef.h"

namespace moai {

/// Reads models/model.json out of a .pt2 archive; weights are never touched. Fails with one sentence that says what is
/// wrong with the file.
absl::StatusOr<simdjson::padded_string> readModelJson(llvm::StringRef path);

} // namespace moai

#endif // MOAI_LIB_IMPORT_ARCHIVE_H
