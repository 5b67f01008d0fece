//===- CurrentAccelerator.cpp - The accelerator that a user has chosen -----===//
#include "moai/Accelerator/CurrentAccelerator.h"
#include "absl/strings/str_cat.h"
#include "moai/Accelerator/Job.h"
#include "moai/Accelerator/UserFolders.h"
#include "moai/Support/File.h"
#include "moai/Support/Json.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <cstdlib>

using namespace moai;

static constexpr int64_t kVersion = 1;

// Found by the spec that is given back from any folder.
static absl::StatusOr<CurrentAccelerator> resolve(llvm::StringRef spec) {
  llvm::SmallString<256> path(spec.trim());
  bool isFile = path.str().ends_with_insensitive(".json");
  if (isFile) {
    if (std::error_code error = llvm::sys::fs::make_absolute(path))
      return absl::NotFoundError(absl::StrCat("accelerator file '", spec.str(), "' cannot be found: ", error.message()));
    llvm::sys::path::remove_dots(path);
  }
  auto accelerator = resolveAccelerator(path);
  if (!accelerator.ok())
    return accelerator.status();
  return CurrentAccelerator{*accelerator, isFile ? path.str().str() : accelerator->name, /*isFromEnvironment=*/false};
}

static absl::StatusOr<std::string> choiceFile() {
  auto folder = userConfigFolder();
  if (!folder.ok())
    return folder.status();
  return *folder + "/accelerator.json";
}

// What a choice's file names; a status that says what is wrong with the file.
static absl::StatusOr<std::string> parseChoice(llvm::StringRef text, const std::string &path) {
  auto damaged = [&](const std::string &how) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is no choice of an accelerator (", how, "); choose one again with moai-switch-model NAME"));
  };
  absl::StatusOr<llvm::json::Value> value = parseJson(text);
  if (!value.ok())
    return damaged(std::string(value.status().message()));
  const llvm::json::Object *object = value->getAsObject();
  std::optional<int64_t> version = object ? object->getInteger("version") : std::nullopt;
  if (!version || *version < 1)
    return damaged("it names no version");
  if (*version > kVersion)
    return absl::InvalidArgumentError(absl::StrCat(path, ": is of version ", *version, ", and this moai reads version ", kVersion,
                                                   "; use the moai that wrote it, or choose again with moai-switch-model NAME"));
  std::optional<llvm::StringRef> spec = object->getString("accelerator");
  if (!spec)
    return damaged("it names no accelerator");
  return spec->str();
}

absl::StatusOr<CurrentAccelerator> moai::chosenAccelerator() {
  auto path = choiceFile();
  if (!path.ok())
    return resolve(kDefaultAccelerator);
  auto text = llvm::MemoryBuffer::getFile(*path, /*IsText=*/true);
  // Without a home folder, as with HOME=/dev/null, there is no choice either.
  if (text.getError() == std::errc::no_such_file_or_directory || text.getError() == std::errc::not_a_directory)
    return resolve(kDefaultAccelerator);
  if (!text)
    return absl::InvalidArgumentError(
        absl::StrCat(*path, ": can't be read (", text.getError().message(), "); make it readable, or remove it"));
  auto spec = parseChoice((*text)->getBuffer(), *path);
  if (!spec.ok())
    return spec.status();
  auto chosen = resolve(*spec);
  if (!chosen.ok())
    return absl::InvalidArgumentError(
        absl::StrCat(*path, ": ", chosen.status().message(), "; choose one again with moai-switch-model NAME"));
  return chosen;
}

absl::StatusOr<CurrentAccelerator> moai::currentAccelerator() {
  const char *variable = std::getenv("MOAI_ACCELERATOR");
  if (!variable || !*variable)
    return chosenAccelerator();
  auto current = resolve(variable);
  if (!current.ok())
    return absl::InvalidArgumentError(absl::StrCat("MOAI_ACCELERATOR: ", current.status().message(), "; or unset the variable"));
  current->isFromEnvironment = true;
  return current;
}

absl::StatusOr<CurrentAccelerator> moai::switchAccelerator(llvm::StringRef spec) {
  std::vector<std::string> flavors = listFlavors();
  std::string wanted = spec.trim().str();
  if (int64_t number; !llvm::StringRef(wanted).getAsInteger(10, number)) {
    if (number < 1 || number > static_cast<int64_t>(flavors.size()))
      return absl::InvalidArgumentError(absl::StrCat("there is no flavor ", number, "; expected a number from 1 to ", flavors.size()));
    wanted = flavors[number - 1];
  }
  auto chosen = resolve(wanted);
  if (!chosen.ok())
    return chosen.status();
  auto jobs = runningJobs();
  if (!jobs.ok())
    return jobs.status();
  if (!jobs->empty()) {
    const JobState &job = jobs->front();
    return absl::FailedPreconditionError(absl::StrCat("job ", job.id, " (", job.command, ") is running on ", job.accelerator,
                                                      ", so the accelerator can't be switched; wait for it, or stop it with moai-smi -r"));
  }
  auto path = choiceFile();
  if (!path.ok())
    return path.status();
  if (absl::Status status = createFolder(*userConfigFolder()); !status.ok())
    return absl::PermissionDeniedError(absl::StrCat("the choice can't be kept: ", status.message(), " by setting XDG_CONFIG_HOME or HOME"));
  llvm::json::Value choice = llvm::json::Object{{"version", kVersion}, {"accelerator", chosen->spec}};
  if (absl::Status status = writeFile(*path, llvm::formatv("{0}\n", choice).str()); !status.ok())
    return absl::PermissionDeniedError(
        absl::StrCat("the choice can't be kept: ", status.message(), "; set XDG_CONFIG_HOME to a folder that can be written"));
  return chosen;
}
