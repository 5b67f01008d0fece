//===- Rehearse.cpp - A training in simulated time -------------------------===//
#include "JobMonitor.h"
#include "Model.h"
#include "Platform.h"
#include "StepLog.h"
#include "StopSignal.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/CostModel/StepPlayback.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/MemoryTrace.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Support/Bytes.h"
#include "moai/Support/CommandLine.h"
#include "moai/Support/Log.h"
#include <chrono>
#include <cmath>
#include <thread>

using namespace moai;
using std::chrono::steady_clock;

namespace {
/// The selected plan, played step by step.
class Rehearsal {
public:
  explicit Rehearsal(const RunRequest &request) : request(request) {}
  absl::Status prepare();
  void run();

private:
  absl::Status makePlayback(const Candidate &selected, const PlanRequest &plan);
  void show(double time);
  bool waitUntil(double time);

  const RunRequest &request;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  std::optional<ImportedModel> model;
  Accelerator accelerator;
  ParallelConfig config;
  DeviceMesh mesh; ///< of the configuration
  std::optional<StepPlayback> playback;
  std::vector<int64_t> peaks; ///< so far, by stage
  steady_clock::time_point start;
  std::optional<JobMonitor> monitor;
};
} // namespace

absl::Status Rehearsal::prepare() {
  auto chosen = chooseAccelerator(request);
  if (!chosen.ok())
    return chosen.status();
  accelerator = *chosen;
  auto loaded = loadModel(request, context);
  if (!loaded.ok())
    return loaded.status();
  model = std::move(*loaded);
  auto plan = planRequestFor(request, accelerator, model->summary.binding);
  if (!plan.ok())
    return plan.status();
  logConnection(accelerator);
  logInfo("This is a rehearsal: nothing is trained, and times and memory are the plan's, played in simulated time.");
  monitor.emplace(request.command, accelerator, /*isSimulated=*/true);
  auto made = planRun(request, *plan, *model);
  if (!made.ok())
    return made.status();
  const Candidate &selected = made->candidates[*made->selected];
  // A configuration of the user's own is planned also where it doesn't fit.
  if (selected.rejected)
    logWarning(absl::StrCat("the configuration doesn't fit: ", selected.rejected->reason));
  return makePlayback(selected, *plan);
}

absl::Status Rehearsal::makePlayback(const Candidate &selected, const PlanRequest &plan) {
  config = selected.config;
  mesh = DeviceMesh(config);
  std::string reason;
  auto program = compileCandidate(*model->module, config, plan, reason);
  if (!program)
    return absl::InternalError(absl::StrCat(request.model, ": the chosen candidate doesn't compile again: ", reason));
  unrollBlocks(*program);
  std::vector<MemoryTimeline> timelines;
  for (int64_t stage = 0; stage < config.numStages; ++stage)
    timelines.push_back(traceMemory(program->lookupSymbol<mlir::func::FuncOp>(absl::StrCat("stage", stage)), plan.memoryModel()));
  playback.emplace(selected.stages, config, accelerator, std::move(timelines));
  peaks.assign(config.numStages, 0);
  return absl::OkStatus();
}

void Rehearsal::show(double time) {
  double busiest = 0;
  std::vector<int64_t> bytesInUse;
  for (int64_t stage = 0; stage < config.numStages; ++stage) {
    bytesInUse.push_back(playback->at(stage, time).bytesInUse);
    peaks[stage] = std::max(peaks[stage], bytesInUse[stage]);
    busiest = std::max(busiest, playback->busyShare(stage));
  }
  for (int64_t device = 0; device < mesh.numDevices(); ++device) {
    int64_t stage = mesh.stageOf(device);
    monitor->setDevice(
        device, {accelerator.nodeOf(device), stage, mesh.replicaOf(device), bytesInUse[stage], peaks[stage], playback->busyShare(stage)});
  }
  monitor->setUtilization(busiest);
}

// Until a simulated time has come, with what the devices hold meanwhile shown; false if the user stops the rehearsal.
bool Rehearsal::waitUntil(double time) {
  constexpr auto kFrame = std::chrono::milliseconds(20);
  while (!receivedStopSignal()) {
    double now = std::chrono::duration<double>(steady_clock::now() - start).count() * request.speed;
    show(std::fmod(std::min(now, time), playback->seconds()));
    if (now >= time)
      return true;
    double left = (time - now) / request.speed;
    std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(kFrame, std::chrono::duration<double>(left)));
  }
  return false;
}

void Rehearsal::run() {
  int64_t steps = request.steps.value_or(1), done = 0;
  const DimBinding &binding = model->summary.binding;
  bool hasTokens = model->summary.hasSequence;
  double perStep =
      static_cast<double>(binding.values[kBatchSymbol]) * (hasTokens ? static_cast<double>(binding.values[kSequenceSymbol]) : 1);
  logInfo("train: true");
  monitor->setPhase(JobPhase::Training);
  monitor->setSteps(0, steps);
  ProgressBar bar(steps);
  start = steady_clock::now();
  for (int64_t step = 1; step <= steps; ++step) {
    bar.draw(step - 1);
    if (!waitUntil(static_cast<double>(step) * playback->seconds()))
      break;
    done = step;
    monitor->setSteps(step, steps);
    // What frames have missed.
    for (int64_t stage = 0; stage < config.numStages; ++stage)
      peaks[stage] = playback->peakBytes(stage);
    bar.clear();
    if (step % request.logEvery == 0 || step == steps)
      printLine(absl::StrFormat("[Step %d/%d] (simulated) | Duration: %.2f | Throughput: %.2f %s", step, steps, playback->seconds(),
                                perStep / playback->seconds(), hasTokens ? "tokens/sec" : "samples/sec"));
  }
  bar.clear();
  int64_t total = 0, largest = 0;
  for (int64_t stage = 0; stage < config.numStages; ++stage) {
    total += playback->peakBytes(stage) * mesh.devicesPerStage();
    largest = std::max(largest, playback->peakBytes(stage));
  }
  std::string outcome = done < steps ? absl::StrCat("stopped after step ", done) : "done";
  printLine(absl::StrFormat("Rehearsal %s (simulated): a step of %.2f s, at its peak %d MiB on all devices, %d MiB on the fullest", outcome,
                            playback->seconds(), total >> 20, largest >> 20));
}

int moai::rehearse(const RunRequest &request) {
  catchStopSignals();
  Rehearsal rehearsal(request);
  if (absl::Status status = rehearsal.prepare(); !status.ok())
    return failInput(status);
  rehearsal.run();
  return receivedStopSignal() ? 128 + receivedStopSignal() : 0;
}
