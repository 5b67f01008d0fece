//===- CommandLine.h - What the tools do alike -----------------------------===//
#ifndef MOAI_SUPPORT_COMMANDLINE_H
#define MOAI_SUPPORT_COMMANDLINE_H

#include "absl/status/status.h"
#include "llvm/ADT/StringRef.h"
#include <string>

namespace moai {

/// Exit codes; 0 is success.
constexpr int kInputError = 1, kUsageError = 2;

/// Of moai, as in `0.1.0`.
const char *version();

/// Each prints `TOOL: error: SENTENCE` on standard error and returns the exit code.
int failInput(const std::string &sentence);
int failInput(const absl::Status &status);
int failUsage(const std::string &sentence);

/// Reads the options that are declared in the category; what is wrong with them is told in one sentence. Returns false then.
/// `tool` names the program in all messages.
bool parseCommandLine(int argc, char **argv, const char *tool, const char *overview);

/// Ends the process with all output written, or says that it can't be. Nothing is taken apart first, which would only cost
/// time.
[[noreturn]] void finish();

} // namespace moai

#endif // MOAI_SUPPORT_COMMANDLINE_H
