//===- Log.h - Time-stamped lines on standard error ------------------------===//
#ifndef MOAI_SUPPORT_LOG_H
#define MOAI_SUPPORT_LOG_H

#include "llvm/ADT/StringRef.h"
#include <string>

namespace moai {

/// Now, in local time: `2024-04-19 01:42:48.097`.
std::string timeStamp();

/// Writes `[2024-04-19 01:42:48.097] [info] message` to standard error, in local time. A line is written at once, so lines of
/// several threads don't mix.
void logInfo(llvm::StringRef message);
void logWarning(llvm::StringRef message);

} // namespace moai

#endif // MOAI_SUPPORT_LOG_H
