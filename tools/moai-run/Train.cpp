//===- Train.cpp - A training on the devices of an accelerator -------------===//
#include "JobMonitor.h"
#include "LossPlot.h"
#include "Model.h"
#include "Platform.h"
#include "StepLog.h"
#include "StopSignal.h"
#include "absl/strings/str_cat.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Execute/TrainingLoop.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Passes/SplitLoss.h"
#include "moai/Planner/WhatFits.h"
#include "moai/Support/CommandLine.h"
#include "moai/Support/File.h"
#include "moai/Support/Log.h"
#include "llvm/Support/Path.h"

using namespace moai;

namespace {
/// One training, in the order in which it goes.
class Training {
public:
  explicit Training(const RunRequest &given) : request(given) {}

  /// What can be wrong before the accelerator is taken.
  absl::Status prepare();
  absl::Status plan();
  absl::Status run();
  bool wasStopped() const { return outcome.wasStopped; }

private:
  absl::Status openData();
  void setSteps();
  absl::Status checkMemory(const Candidate &candidate) const;
  absl::Status place();
  TrainingOptions options() const;
  TrainingCallbacks callbacks(StepLog &log);
  absl::Status explain(const absl::Status &status) const;

  RunRequest request;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  std::optional<ImportedModel> model;
  std::vector<ModelInput> inputs;
  std::unique_ptr<DataSource> data, evaluationData;
  std::optional<Checkpoint> checkpoint;
  int64_t numSteps = 0;
  Accelerator accelerator;
  PlanRequest planRequest;
  std::string inexactSplit; ///< why a split step would be another one
  mlir::OwningOpRef<mlir::ModuleOp> program;
  std::optional<ModelTensors> tensors;
  std::optional<TrainingRun> training;
  TrainingOutcome outcome;
  std::optional<JobMonitor> monitor; ///< goes first: it looks at what is above
};
} // namespace

absl::Status Training::openData() {
  inputs = describeInputs(*model->module);
  for (auto [path, source] : {std::pair(&request.data, &data), {&request.evaluationData, &evaluationData}}) {
    if (path->empty())
      continue;
    auto opened = DataSource::open(*path, request.format, inputs);
    if (!opened.ok())
      return opened.status();
    *source = std::move(*opened);
    logInfo((*source)->describe());
  }
  return absl::OkStatus();
}

void Training::setSteps() {
  int64_t batch = model->summary.binding.values[kBatchSymbol], samples = data->numSamples();
  int64_t epochs = request.epochs.value_or(1);
  numSteps = request.steps.value_or((saturatingMultiply(epochs, samples) - 1) / batch + 1);
  if (!request.evaluateEvery)
    request.evaluateEvery = std::max<int64_t>(1, numSteps / 10);
}

absl::Status Training::prepare() {
  if (!request.plot.empty())
    if (absl::Status status = checkPlotter(); !status.ok())
      return status;
  // Those of files, so that no training is lost to a misspelt name.
  for (const std::string &file : {request.metrics, request.plot})
    if (llvm::StringRef folder = llvm::sys::path::parent_path(file); !file.empty())
      if (absl::Status status = checkWritableFolder(folder.empty() ? "." : folder); !status.ok())
        return status;
  if (!request.save.empty())
    if (absl::Status status = checkWritableFolder(request.save); !status.ok())
      return status;
  if (!request.load.empty()) {
    auto read = readCheckpoint(request.load);
    if (!read.ok())
      return read.status();
    checkpoint = std::move(*read);
    if (!request.seed)
      request.execute.seed = checkpoint->progress.seed;
    auto precision = parsePrecision(checkpoint->progress.precision);
    if (!precision.ok())
      return absl::InvalidArgumentError(absl::StrCat(request.load, ": its precision ", precision.status().message()));
    if (!request.precision)
      request.precision = *precision;
  }
  auto chosen = chooseAccelerator(request);
  if (!chosen.ok())
    return chosen.status();
  accelerator = *chosen;
  auto loaded = loadModel(request, context);
  if (!loaded.ok())
    return loaded.status();
  model = std::move(*loaded);
  if (absl::Status status = openData(); !status.ok())
    return status;
  setSteps();
  auto planned = planRequestFor(request, accelerator, model->summary.binding);
  if (!planned.ok())
    return planned.status();
  planRequest = *planned;
  if (checkpoint)
    if (absl::Status status = checkResumable(checkpoint->progress, *data, options()); !status.ok())
      return absl::Status(status.code(), absl::StrCat(request.load, ": ", status.message()));
  // A virtual device holds what the program asks for and nothing else.
  planRequest.allocationGranularity = 1;
  planRequest.kernelWorkspaceBytes = 0;
  inexactSplit = describeInexactSplit(*model->module);
  return absl::OkStatus();
}

// Every number is held as a double, whatever its type.
absl::Status Training::checkMemory(const Candidate &candidate) const {
  const ModelSummary &summary = model->summary;
  double width = static_cast<double>(summary.parameterBytes) / static_cast<double>(std::max<int64_t>(1, summary.parameters));
  double bytes = 0, devicesPerStage = static_cast<double>(DeviceMesh(candidate.config).devicesPerStage());
  for (const StageProgram &stage : candidate.stages)
    bytes += static_cast<double>(stage.memory.total()) * devicesPerStage;
  return checkMainMemory(request.model, bytes * sizeof(double) / std::max(1.0, width),
                         "take a smaller model or --global-batch, or rehearse the training with --dry-run, which needs no memory for it");
}

absl::Status Training::plan() {
  logConnection(accelerator);
  monitor.emplace(request.command, accelerator, /*isSimulated=*/false);
  auto made = planRun(request, planRequest, *model);
  if (!made.ok())
    return made.status();
  const Candidate &selected = made->candidates[*made->selected];
  if (absl::Status status = checkMemory(selected); !status.ok())
    return status;
  if (!inexactSplit.empty() && selected.config.numMicroBatches * selected.config.dataParallel > 1)
    logWarning(absl::StrCat(inexactSplit, ", so this split step is not exactly the step of the whole batch"));
  std::string reason;
  program = compileCandidate(*model->module, selected.config, planRequest, reason);
  if (!program)
    return absl::InternalError(absl::StrCat(request.model, ": the chosen candidate doesn't compile again: ", reason));
  unrollBlocks(*program);
  logInfo("train: true");
  return absl::OkStatus();
}

absl::Status Training::place() {
  tensors.emplace(*model->module, model->tiedParameters);
  auto ofCheckpoint = [&](const absl::Status &status) {
    return absl::Status(status.code(), absl::StrCat(request.load, ": ", status.message()));
  };
  if (checkpoint)
    if (absl::Status status = tensors->takeFixed(checkpoint->state); !status.ok())
      return ofCheckpoint(status);
  if (absl::Status status = fillTensors(*tensors, request, /*withInputs=*/false); !status.ok())
    return status;
  ExecuteOptions execute = request.execute;
  execute.deviceMemoryBytes = accelerator.device.memoryBytes;
  auto created = TrainingRun::create(*tensors, *program, execute);
  if (!created.ok())
    return explain(created.status());
  training.emplace(std::move(*created));
  monitor->watch(training->devices());
  if (!checkpoint)
    return absl::OkStatus();
  if (absl::Status status = training->restore(checkpoint->state, checkpoint->progress.step); !status.ok())
    return ofCheckpoint(status);
  checkpoint->state.clear();
  return absl::OkStatus();
}

absl::Status Training::explain(const absl::Status &status) const {
  // Of a file, which the sentence names.
  if (absl::IsPermissionDenied(status))
    return status;
  if (!absl::IsResourceExhausted(status))
    return absl::Status(status.code(), absl::StrCat(request.model, ": ", status.message()));
  return absl::ResourceExhaustedError(
      absl::StrCat(request.model, ": ", status.message(), "; ", describeWhatFits(*model->module, planRequest)));
}

TrainingOptions Training::options() const {
  TrainingOptions options;
  options.numSteps = numSteps;
  options.learningRate = request.schedule;
  options.seed = request.execute.seed;
  options.shuffle = request.shuffle;
  options.optimizer = toString(request.optimizer.kind).str() + (request.optimizer.momentum > 0 ? " with momentum" : "");
  options.precision = toString(planRequest.policy().precision);
  options.saveFolder = request.save;
  options.checkpointEvery = request.checkpointEvery;
  options.evaluationData = evaluationData.get();
  options.evaluateEvery = request.evaluateEvery;
  return options;
}

TrainingCallbacks Training::callbacks(StepLog &log) {
  TrainingCallbacks callbacks;
  callbacks.onStep = [&](const StepReport &report) {
    monitor->finishStep(report.step, report.loss, report.seconds);
    log.step(report);
  };
  callbacks.onEvaluation = [&](int64_t step, double loss) { log.evaluation(step, loss); };
  callbacks.onPhase = [&, this](TrainingCallbacks::Phase phase) {
    // A checkpoint has the metrics of its steps beside it, whenever the process is killed.
    if (phase == TrainingCallbacks::Phase::Saving)
      log.flush();
    monitor->setPhase(phase == TrainingCallbacks::Phase::Training     ? JobPhase::Training
                      : phase == TrainingCallbacks::Phase::Evaluating ? JobPhase::Evaluating
                                                                      : JobPhase::Saving);
  };
  callbacks.onWarning = [&](const std::string &sentence) { log.warning(sentence); };
  callbacks.shouldStop = [] { return receivedStopSignal() != 0; };
  return callbacks;
}

absl::Status Training::run() {
  if (absl::Status status = place(); !status.ok())
    return status;
  const DimBinding &binding = model->summary.binding;
  double samples = static_cast<double>(binding.values[kBatchSymbol]);
  bool hasTokens = model->summary.hasSequence;
  int64_t first = training->steps();
  StepLog log(request, numSteps, first, samples * (hasTokens ? static_cast<double>(binding.values[kSequenceSymbol]) : 1), hasTokens);
  if (absl::Status status = log.open(); !status.ok())
    return status;
  monitor->setSteps(first, numSteps);
  std::optional<TrainingProgress> resumed;
  if (checkpoint)
    resumed = checkpoint->progress;
  auto done = trainModel(*training, *data, inputs, options(), resumed, callbacks(log));
  absl::Status finished = log.finish();
  if (!done.ok())
    return explain(done.status());
  outcome = *done;
  if (!finished.ok())
    return finished;
  printLine(outcome.wasStopped ? absl::StrCat("Training stopped after step ", outcome.step) : "Training Done");
  if (!request.save.empty())
    printLine(absl::StrCat("Model saved in ", request.save));
  return absl::OkStatus();
}

int moai::trainOnAccelerator(const RunRequest &request) {
  catchStopSignals();
  Training training(request);
  absl::Status status = training.prepare();
  if (status.ok())
    status = training.plan();
  if (status.ok())
    status = training.run();
  if (!status.ok())
    return failInput(status);
  return training.wasStopped() ? 128 + receivedStopSignal() : 0;
}
