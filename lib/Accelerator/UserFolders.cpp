//===- UserFolders.cpp - Where a user's files are kept ---------------------===//
#include "moai/Accelerator/UserFolders.h"
#include "absl/strings/str_cat.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Path.h"
#include <cstdlib>
#include <pwd.h>
#include <unistd.h>
#include <vector>

using namespace moai;

// The path in a variable; empty if there is none or it is relative.
static std::string absolutePath(const char *variable) {
  const char *value = std::getenv(variable);
  return value && llvm::sys::path::is_absolute(value) ? value : "";
}

static std::string homeFolder() {
  if (std::string home = absolutePath("HOME"); !home.empty())
    return home;
  passwd entry{}, *found = nullptr;
  std::vector<char> text(16384);
  if (getpwuid_r(getuid(), &entry, text.data(), text.size(), &found) == 0 && found && llvm::sys::path::is_absolute(found->pw_dir))
    return found->pw_dir;
  return "";
}

static absl::StatusOr<std::string> userFolder(const char *variable, const char *inHome, const char *what) {
  if (std::string folder = absolutePath(variable); !folder.empty())
    return folder + "/moai";
  if (std::string home = homeFolder(); !home.empty())
    return absl::StrCat(home, "/", inHome, "/moai");
  return absl::FailedPreconditionError(
      absl::StrCat("there is no home folder for ", what, "; set HOME or ", variable, " to the absolute path of one"));
}

absl::StatusOr<std::string> moai::userConfigFolder() { return userFolder("XDG_CONFIG_HOME", ".config", "the chosen accelerator"); }
absl::StatusOr<std::string> moai::userStateFolder() { return userFolder("XDG_STATE_HOME", ".local/state", "the states of jobs"); }
