//===- CommandLine.cpp - What the tools do alike ---------------------------===//
#include "moai/Support/CommandLine.h"
#include "absl/strings/str_cat.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

using namespace moai;
namespace cl = llvm::cl;

static std::string toolName;

const char *moai::version() { return MOAI_VERSION; }

static int fail(int code, const std::string &sentence) {
  llvm::errs() << toolName << ": error: " << sentence << "\n";
  return code;
}

int moai::failInput(const std::string &sentence) { return fail(kInputError, sentence); }
int moai::failInput(const absl::Status &status) { return failInput(std::string(status.message())); }
int moai::failUsage(const std::string &sentence) { return fail(kUsageError, absl::StrCat(sentence, "; see ", toolName, " --help")); }

// `TOOL: Unknown command line argument '--frmat'.  Try: ...` and the line after it, which may suggest one, as one sentence.
static std::string summarizeUsageErrors(llvm::StringRef text, llvm::StringRef program) {
  std::string prefix = (program + ": ").str(), sentence;
  llvm::SmallVector<llvm::StringRef> lines;
  text.split(lines, '\n', 2, /*KeepEmpty=*/false);
  if (lines.size() > 2)
    lines.resize(2);
  for (llvm::StringRef line : lines) {
    line.consume_front(prefix);
    if (!sentence.empty() && !line.starts_with("Did you mean"))
      break;
    sentence += (sentence.empty() ? "" : "; ") + line.split("  Try:").first.rtrim(" .!").str();
  }
  return sentence;
}

bool moai::parseCommandLine(int argc, char **argv, const char *tool, const char *overview) {
  toolName = tool;
  cl::SetVersionPrinter([](llvm::raw_ostream &os) { os << toolName << " " << version() << "\n"; });
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (cl::ParseCommandLineOptions(argc, argv, overview, &stream))
    return true;
  // Wrong values of switches have been told by then, on standard error.
  if (!stream.str().empty())
    failUsage(summarizeUsageErrors(text, llvm::sys::path::filename(argv[0])));
  return false;
}

void moai::finish() {
  int code = 0;
  llvm::outs().flush();
  if (llvm::outs().has_error()) {
    code = failInput(absl::StrCat("standard output can't be written (", llvm::outs().error().message(), ")"));
    llvm::outs().clear_error();
  }
  llvm::sys::Process::Exit(code, /*NoCleanup=*/true);
}
