//===- Json.cpp - JSON that anybody may have written -----------------------===//
#include "moai/Support/Json.h"
#include "absl/strings/str_cat.h"

using namespace moai;

static constexpr int kDeepest = 64;

// Brackets in texts don't count.
static bool isTooDeep(llvm::StringRef text) {
  int depth = 0;
  bool inText = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inText) {
      i += c == '\\';
      inText = c != '"';
    } else if (c == '"') {
      inText = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepest)
        return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

absl::StatusOr<llvm::json::Value> moai::parseJson(llvm::StringRef text) {
  if (isTooDeep(text))
    return absl::InvalidArgumentError(absl::StrCat("it nests deeper than ", kDeepest, " levels"));
  llvm::Expected<llvm::json::Value> value = llvm::json::parse(text);
  if (!value)
    return absl::InvalidArgumentError(llvm::toString(value.takeError()));
  return std::move(*value);
}
