//===- Checkpoint.cpp - A training on disk ---------------------------------===//
#include "moai/Execute/Checkpoint.h"
#include "absl/strings/str_cat.h"
#include "moai/Support/File.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"

using namespace moai;

using Metadata = std::map<std::string, std::string>;

static constexpr const char *kFormat = "moai-training";
static constexpr int64_t kVersion = 1;

static std::string trainingFile(llvm::StringRef folder) { return (folder + "/training.safetensors").str(); }

absl::Status moai::writeCheckpoint(llvm::StringRef folder, const TrainingRun &run, const TrainingProgress &progress) {
  if (absl::Status status = createFolder(folder); !status.ok())
    return status;
  Metadata metadata = {{"format", kFormat},
                       {"version", absl::StrCat(kVersion)},
                       {"step", absl::StrCat(progress.step)},
                       {"samples", absl::StrCat(progress.samples)},
                       {"seed", absl::StrCat(progress.seed)},
                       {"shuffled", absl::StrCat(progress.isShuffled)},
                       {"data", absl::StrCat(progress.dataFingerprint)},
                       {"optimizer", progress.optimizer},
                       {"precision", progress.precision}};
  if (absl::Status status = writeTensorViews(trainingFile(folder), run.trainingState(), metadata, /*withChecksum=*/true); !status.ok())
    return status;
  return writeTensorViews((folder + "/model.safetensors").str(), run.weights());
}

template <typename T> static bool readNumber(const Metadata &metadata, const char *key, T &value) {
  auto found = metadata.find(key);
  return found != metadata.end() && llvm::to_integer(found->second, value, 10);
}

absl::StatusOr<Checkpoint> moai::readCheckpoint(llvm::StringRef folder) {
  std::string path = trainingFile(folder);
  auto wrong = [&](auto... what) { return absl::InvalidArgumentError(absl::StrCat(path, ": ", what...)); };
  if (!llvm::sys::fs::exists(path))
    return absl::NotFoundError(absl::StrCat(path, ": there is none; expected a folder that moai-run --save wrote"));
  absl::StatusOr<SafetensorsFile> file = SafetensorsFile::open(path);
  if (!file.ok())
    return file.status();
  const Metadata &metadata = file->metadata();
  int64_t version = 0;
  if (auto format = metadata.find("format");
      format == metadata.end() || format->second != kFormat || !readNumber(metadata, "version", version) || version < 1)
    return wrong("is no checkpoint of a training; expected a folder that moai-run --save wrote");
  if (version > kVersion)
    return wrong("is of version ", version, ", this moai reads version ", kVersion, "; use the moai that wrote it, or a newer one");
  Checkpoint checkpoint;
  TrainingProgress &progress = checkpoint.progress;
  unsigned isShuffled = 0;
  bool isWhole = readNumber(metadata, "step", progress.step) && readNumber(metadata, "samples", progress.samples) &&
                 readNumber(metadata, "seed", progress.seed) && readNumber(metadata, "shuffled", isShuffled) &&
                 readNumber(metadata, "data", progress.dataFingerprint) && metadata.count("optimizer") && metadata.count("precision");
  if (!isWhole || !file->hasGoodChecksum())
    return wrong("is damaged: its checksum is another than that of its content; take another checkpoint");
  checkpoint.state = file->readAll();
  progress.isShuffled = isShuffled != 0;
  progress.optimizer = metadata.at("optimizer");
  progress.precision = metadata.at("precision");
  return checkpoint;
}
