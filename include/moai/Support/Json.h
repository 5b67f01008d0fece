//===- Json.h - JSON that anybody may have written -------------------------===//
#ifndef MOAI_SUPPORT_JSON_H
#define MOAI_SUPPORT_JSON_H

#include "absl/status/statusor.h"
#include "llvm/Support/JSON.h"

namespace moai {

/// Parses a text. InvalidArgument, with the reason alone, if it is no JSON or nests deeper than any file that is meant to be read: the
/// parser would go as deep as the text does.
absl::StatusOr<llvm::json::Value> parseJson(llvm::StringRef text);

} // namespace moai

#endif // MOAI_SUPPORT_JSON_H
