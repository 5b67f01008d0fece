//===- Bytes.h - Amounts of memory as people write them --------------------===//
#ifndef MOAI_SUPPORT_BYTES_H
#define MOAI_SUPPORT_BYTES_H

#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <optional>
#include <string>

namespace moai {

/// `64MiB`, `1.5 GiB`, `64GB`, `1000000`: a number of at least one byte and perhaps a unit, binary or decimal, in any case. Nothing for
/// anything else, or beyond 2^60.
std::optional<int64_t> parseBytes(llvm::StringRef text);

/// In the largest binary unit in which it is at least 1: `824 bytes`, `1.50 MiB`, `64.0 GiB`.
std::string formatBytes(int64_t bytes);

} // namespace moai

#endif // MOAI_SUPPORT_BYTES_H
