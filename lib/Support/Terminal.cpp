//===- Terminal.cpp - Who reads the standard output ------------------------===//
#include "moai/Support/Terminal.h"
#include "llvm/ADT/StringRef.h"
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

bool moai::isTerminal() { return isatty(STDOUT_FILENO); }

bool moai::mayColor() {
  auto variable = [](const char *name) {
    const char *value = std::getenv(name);
    return llvm::StringRef(value ? value : "");
  };
  return isTerminal() && variable("NO_COLOR").empty() && variable("TERM") != "dumb";
}

unsigned moai::terminalWidth() {
  winsize size{};
  return isTerminal() && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
