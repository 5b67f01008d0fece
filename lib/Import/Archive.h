//===- Archive.h - The .pt2 container --------------------------------------===//
#ifndef MOAI_LIB_IMPORT_ARCHIVE_H
#define MOAI_LIB_IMPORT_ARCHIVE_H

#include "absl/status/statusor.h"
#include "simdjson.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"

namespace moai {

/// Reads models/model.json out of a .pt2 archive; weights are never touched. Fails with one sentence that says what is
/// wrong with the file.
absl::StatusOr<simdjson::padded_string> readModelJson(llvm::StringRef path);

/// Where the archive keeps each parameter's data, by name: tied parameters share a place. Empty where that tells nothing: in
/// archives without such a list, or without weights, whose entries all share one.
llvm::StringMap<std::string> readWeightPlaces(llvm::StringRef path);

} // namespace moai

#endif // MOAI_LIB_IMPORT_ARCHIVE_H
