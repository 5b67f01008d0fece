//===- TrainingLoop.cpp - Steps, one after the other -----------------------===//
#include "moai/Execute/TrainingLoop.h"
#include "absl/strings/str_cat.h"
#include "llvm/ADT/STLExtras.h"
#include <chrono>

using namespace moai;

namespace {
class Loop {
public:
  Loop(TrainingRun &run, const DataSource &data, llvm::ArrayRef<ModelInput> inputs, const TrainingOptions &options,
       const TrainingCallbacks &callbacks)
      : run(run), data(data), inputs(inputs), options(options), callbacks(callbacks),
        order(data.numSamples(), options.seed, options.shuffle) {
    progress = {run.steps(), 0, options.seed, options.shuffle, data.fingerprint(), options.optimizer, options.precision};
  }

  void resume(const TrainingProgress &from);
  absl::StatusOr<TrainingOutcome> train();

private:
  int64_t batchSize() const { return run.devices().config().globalBatch(); }
  absl::Status step();
  absl::Status evaluate();
  absl::Status save();
  void warnOfUnequalParts(const Batch &batch);
  void enter(TrainingCallbacks::Phase phase) {
    if (callbacks.onPhase)
      callbacks.onPhase(phase);
  }
  bool isDue(int64_t every) const { return every > 0 && progress.step % every == 0; }

  TrainingRun &run;
  const DataSource &data;
  llvm::ArrayRef<ModelInput> inputs;
  const TrainingOptions &options;
  const TrainingCallbacks &callbacks;
  SampleOrder order;
  TrainingProgress progress;
  int64_t savedStep = -1, evaluatedStep = -1;
  bool hasWarned = false;
};
} // namespace

void Loop::resume(const TrainingProgress &from) {
  progress.step = from.step;
  progress.samples = from.samples;
}

std::string moai::describeUnequalParts(llvm::ArrayRef<ModelInput> inputs, const Batch &batch, int64_t parts) {
  for (const ModelInput &input : inputs) {
    if (input.use != InputUse::Targets || !input.hasSamples() || input.perSample.front() == 0)
      continue;
    llvm::ArrayRef<double> values = batch.at(input.name)->values;
    size_t length = values.size() / parts;
    auto countIgnored = [&](int64_t part) {
      return llvm::count(values.slice(part * length, length), static_cast<double>(input.ignoredId));
    };
    for (int64_t part = 1; part < parts; ++part)
      if (countIgnored(part) != countIgnored(0))
        return absl::StrCat("parts of the batch have unequal numbers of labels that count in '", input.name,
                            "', and the step is the mean of the parts' means, which is not the mean of the whole batch");
  }
  return "";
}

void Loop::warnOfUnequalParts(const Batch &batch) {
  const ParallelConfig &config = run.devices().config();
  if (hasWarned || !callbacks.onWarning)
    return;
  std::string warning = describeUnequalParts(inputs, batch, config.numMicroBatches * config.dataParallel);
  hasWarned = !warning.empty();
  if (hasWarned)
    callbacks.onWarning(warning);
}

absl::Status Loop::step() {
  auto begin = std::chrono::steady_clock::now();
  Batch batch = data.read(order.at(progress.samples, batchSize()));
  warnOfUnequalParts(batch);
  if (absl::Status status = run.setBatch(batch); !status.ok())
    return status;
  double factor = options.learningRate.factor(progress.step + 1, options.numSteps);
  absl::StatusOr<TrainingRun::Step> done = run.run(/*keepGradients=*/false, factor);
  if (!done.ok())
    return absl::Status(done.status().code(), absl::StrCat("step ", progress.step + 1, ": ", done.status().message()));
  ++progress.step;
  progress.samples += batchSize();
  if (callbacks.onStep) {
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    callbacks.onStep({progress.step, options.numSteps, done->loss, seconds, factor});
  }
  return absl::OkStatus();
}

// Over all whole batches; samples that are left over don't make one.
absl::Status Loop::evaluate() {
  if (!options.evaluationData || evaluatedStep == progress.step)
    return absl::OkStatus();
  enter(TrainingCallbacks::Phase::Evaluating);
  evaluatedStep = progress.step;
  double sum = 0;
  int64_t batches = options.evaluationData->numSamples() / batchSize();
  for (int64_t i = 0; i < batches; ++i) {
    std::vector<int64_t> samples(batchSize());
    for (int64_t k = 0; k < batchSize(); ++k)
      samples[k] = i * batchSize() + k;
    if (absl::Status status = run.setBatch(options.evaluationData->read(samples)); !status.ok())
      return status;
    absl::StatusOr<double> loss = run.evaluate();
    if (!loss.ok())
      return loss.status();
    sum += *loss;
  }
  if (callbacks.onEvaluation)
    callbacks.onEvaluation(progress.step, sum / static_cast<double>(batches));
  enter(TrainingCallbacks::Phase::Training);
  return absl::OkStatus();
}

absl::Status Loop::save() {
  if (options.saveFolder.empty() || savedStep == progress.step)
    return absl::OkStatus();
  enter(TrainingCallbacks::Phase::Saving);
  savedStep = progress.step;
  absl::Status status = writeCheckpoint(options.saveFolder, run, progress);
  enter(TrainingCallbacks::Phase::Training);
  return status;
}

absl::StatusOr<TrainingOutcome> Loop::train() {
  if (options.evaluationData && options.evaluationData->numSamples() < batchSize())
    return absl::InvalidArgumentError(absl::StrCat("the evaluation data has ", options.evaluationData->numSamples(),
                                                   " samples, less than one batch of ", batchSize(),
                                                   "; give more, or a smaller --global-batch"));
  if (data.numSamples() < batchSize() && callbacks.onWarning)
    callbacks.onWarning(
        absl::StrCat("the data has ", data.numSamples(), " samples, so a batch of ", batchSize(), " holds some of them several times"));
  TrainingOutcome outcome;
  enter(TrainingCallbacks::Phase::Training);
  while (progress.step < options.numSteps) {
    outcome.wasStopped = callbacks.shouldStop && callbacks.shouldStop();
    if (outcome.wasStopped)
      break;
    absl::Status status = step();
    if (status.ok() && (isDue(options.evaluateEvery) || progress.step == options.numSteps))
      status = evaluate();
    if (status.ok() && isDue(options.checkpointEvery))
      status = save();
    if (!status.ok())
      return status;
  }
  absl::Status status = outcome.wasStopped ? absl::OkStatus() : evaluate();
  if (status.ok())
    status = save();
  if (!status.ok())
    return status;
  outcome.step = progress.step;
  return outcome;
}

absl::Status moai::checkResumable(const TrainingProgress &from, const DataSource &data, const TrainingOptions &options) {
  auto differs = [](auto... what) { return absl::FailedPreconditionError(absl::StrCat("the checkpoint ", what...)); };
  if (from.dataFingerprint != data.fingerprint())
    return differs("was trained on other data, so its place in it means nothing here; give the same --data, or begin a new training from "
                   "its weights with --weights");
  if (from.optimizer != options.optimizer)
    return differs("holds the states of ", from.optimizer, ", this training uses ", options.optimizer, "; give the same --optimizer");
  if (from.precision != options.precision)
    return differs("keeps parameters and states as ", from.precision, ", this training as ", options.precision,
                   "; give the same --precision, or leave it out");
  if (from.seed != options.seed)
    return differs("has the seed ", from.seed, ", this training ", options.seed, "; give the same --seed, or leave it out");
  if (from.isShuffled != options.shuffle)
    return differs(from.isShuffled ? "takes shuffled samples; leave --no-shuffle out" : "takes samples in their order; give --no-shuffle");
  if (from.step > options.numSteps)
    return differs("already has ", from.step, " steps, more than the ", options.numSteps, " of this training; give a larger --steps");
  return absl::OkStatus();
}

absl::StatusOr<TrainingOutcome> moai::trainModel(TrainingRun &run, const DataSource &data, llvm::ArrayRef<ModelInput> inputs,
                                                 const TrainingOptions &options, const std::optional<TrainingProgress> &resumed,
                                                 const TrainingCallbacks &callbacks) {
  Loop loop(run, data, inputs, options, callbacks);
  if (resumed) {
    if (absl::Status status = checkResumable(*resumed, data, options); !status.ok())
      return status;
    loop.resume(*resumed);
  }
  return loop.train();
}
