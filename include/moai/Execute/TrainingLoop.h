//===- TrainingLoop.h - Steps, one after the other -------------------------===//
#ifndef MOAI_EXECUTE_TRAININGLOOP_H
#define MOAI_EXECUTE_TRAININGLOOP_H

#include "moai/Execute/Checkpoint.h"
#include "moai/Plan/LearningRate.h"
#include <functional>
#include <optional>

namespace moai {

struct TrainingOptions {
  /// Steps of the whole training, those before a checkpoint that it resumes from included.
  int64_t numSteps = 1;
  LearningRateSchedule learningRate;
  uint64_t seed = 0; ///< of the order of samples; that of the run's ExecuteOptions, so that a checkpoint has one
  bool shuffle = true;
  std::string optimizer, precision; ///< kept with checkpoints and compared when resuming

  std::string saveFolder;      ///< for checkpoints; empty: none
  int64_t checkpointEvery = 0; ///< steps; 0: at the end alone

  const DataSource *evaluationData = nullptr;
  int64_t evaluateEvery = 0; ///< steps; 0: at the end alone
};

/// A step that has been made.
struct StepReport {
  int64_t step = 0, numSteps = 0; ///< from 1
  double loss = 0;
  double seconds = 0;            ///< reading the batch included
  double learningRateFactor = 1; ///< of the schedule
};

/// What goes on; each may be left out. All are called on the thread that trains.
struct TrainingCallbacks {
  std::function<void(const StepReport &)> onStep;
  std::function<void(int64_t step, double loss)> onEvaluation;
  enum class Phase { Training, Evaluating, Saving };
  std::function<void(Phase)> onPhase;
  std::function<void(const std::string &)> onWarning; ///< a sentence
  /// Asked before every step; true ends the training as its last step would.
  std::function<bool()> shouldStop;
};

struct TrainingOutcome {
  int64_t step = 0; ///< steps done
  bool wasStopped = false;
};

/// Replicas and micro-batches each take the mean over what counts of theirs; that is the whole batch's mean where all have as much. A
/// sentence where they don't, as some labels are ignored; empty otherwise, also of one part.
std::string describeUnequalParts(llvm::ArrayRef<ModelInput> inputs, const Batch &batch, int64_t parts);

/// FailedPrecondition, in one sentence, if a training can't go on from a checkpoint: that is of other data, another optimizer, seed or
/// order, or already has more steps.
absl::Status checkResumable(const TrainingProgress &from, const DataSource &data, const TrainingOptions &options);

/// Trains from where the run stands, each step on the next batch of the order of samples, and saves at the end if there is a folder. A
/// batch that reaches beyond an epoch goes on with the next one, so that each sample is seen once in each. `resumed` is the progress of the
/// checkpoint that the run was restored from. `inputs` describes what the program takes. The errors of checkResumable, of
/// TrainingRun, with the step, and of writing.
absl::StatusOr<TrainingOutcome> trainModel(TrainingRun &run, const DataSource &data, llvm::ArrayRef<ModelInput> inputs,
                                           const TrainingOptions &options, const std::optional<TrainingProgress> &resumed,
                                           const TrainingCallbacks &callbacks);

} // namespace moai

#endif // MOAI_EXECUTE_TRAININGLOOP_H
