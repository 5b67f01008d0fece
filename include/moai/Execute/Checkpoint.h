//===- Checkpoint.h - A training on disk -----------------------------------===//
#ifndef MOAI_EXECUTE_CHECKPOINT_H
#define MOAI_EXECUTE_CHECKPOINT_H

#include "moai/Execute/TrainingRun.h"

namespace moai {

/// Where a training stands, besides its tensors.
struct TrainingProgress {
  int64_t step = 0;             ///< steps done
  int64_t samples = 0;          ///< places of the SampleOrder that they have taken
  uint64_t seed = 0;            ///< of the random numbers and of the order of samples
  bool isShuffled = true;       ///< the order of samples
  uint64_t dataFingerprint = 0; ///< DataSource::fingerprint
  std::string optimizer;        ///< its name and what its states depend on
  std::string precision;        ///< types of parameters and states, as parsePrecision reads them
};

struct Checkpoint {
  TrainingProgress progress;
  StoredTensors state; ///< TrainingRun::trainingState
};

/// Writes two files into a folder, which is created: `model.safetensors`, TrainingRun::weights for others to read, and
/// `training.safetensors`, all that resuming needs, with a checksum over all of it. Each is written to a temporary file and renamed, and
/// the second is complete in itself, so whenever the process is killed the folder holds a whole checkpoint: this one or the one before. The
/// same training gives the same bytes.
absl::Status writeCheckpoint(llvm::StringRef folder, const TrainingRun &run, const TrainingProgress &progress);

/// Reads `training.safetensors`. One sentence that names the file: NotFound if there is none; InvalidArgument if it is cut off, damaged in
/// any byte, of a newer version, or no checkpoint of a training.
absl::StatusOr<Checkpoint> readCheckpoint(llvm::StringRef folder);

} // namespace moai

#endif // MOAI_EXECUTE_CHECKPOINT_H
