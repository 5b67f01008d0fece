//===- PipelineTime.cpp - Seconds of a pipeline schedule --------------------===//
#include "moai/CostModel/PipelineTime.h"
#include <algorithm>
#include <cassert>

using namespace moai;

namespace {
struct Playback {
  double seconds = 0;
  std::vector<double> busy;
  std::vector<double> ends; ///< by kind, stage and micro-batch
};
} // namespace

static Playback play(const PipelineOrder &order, llvm::ArrayRef<double> forward, llvm::ArrayRef<double> backward,
                     llvm::ArrayRef<double> transfer) {
  const int64_t stages = order.size();
  Playback result;
  result.busy.assign(stages, 0);
  const size_t microBatches = stages ? order[0].size() / 2 : 0;
  // Negative means not yet run.
  result.ends.assign(2 * stages * microBatches, -1);
  auto end = [&](PipelineTask::Kind kind, int64_t stage, int64_t microBatch) -> double & {
    return result.ends[(kind * stages + stage) * microBatches + microBatch];
  };
  std::vector<size_t> next(stages);
  std::vector<double> clock(stages);
  std::vector<int64_t> ready;
  for (int64_t stage = stages; stage-- > 0;)
    ready.push_back(stage);
  while (!ready.empty()) {
    int64_t stage = ready.back();
    ready.pop_back();
    bool advanced = false;
    while (next[stage] < order[stage].size()) {
      const PipelineTask &task = order[stage][next[stage]];
      bool isForward = task.kind == PipelineTask::Forward;
      int64_t from = isForward ? stage - 1 : stage + 1;
      double arrival = 0;
      if (from >= 0 && from < stages) {
        double sent = end(task.kind, from, task.microBatch);
        if (sent < 0)
          break;
        arrival = sent + transfer[std::min(from, stage)];
      }
      double start = std::max(clock[stage], arrival);
      double duration = isForward ? forward[stage] : backward[stage];
      result.busy[stage] += duration;
      clock[stage] = end(task.kind, stage, task.microBatch) = start + duration;
      ++next[stage];
      advanced = true;
    }
    for (int64_t neighbour : {stage - 1, stage + 1})
      if (advanced && neighbour >= 0 && neighbour < stages)
        ready.push_back(neighbour);
  }
  for (int64_t stage = 0; stage < stages; ++stage) {
    assert(next[stage] == order[stage].size() && "the order deadlocks; run verifySchedule first");
    result.seconds = std::max(result.seconds, clock[stage]);
  }
  return result;
}

PipelineTime moai::simulatePipeline(const PipelineOrder &order, llvm::ArrayRef<double> forwardSeconds,
                                    llvm::ArrayRef<double> backwardSeconds, llvm::ArrayRef<double> transferSeconds) {
  assert(forwardSeconds.size() == order.size() && backwardSeconds.size() == order.size() && transferSeconds.size() + 1 >= order.size() &&
         "one duration per stage and one transfer per gap");
  const size_t stages = order.size();
  Playback real = play(order, forwardSeconds, backwardSeconds, transferSeconds);
  // A second run with free transfers tells their share from the bubble's.
  double freeSeconds = real.seconds;
  if (std::any_of(transferSeconds.begin(), transferSeconds.end(), [](double seconds) { return seconds > 0; }))
    freeSeconds = play(order, forwardSeconds, backwardSeconds, std::vector<double>(transferSeconds.size(), 0.0)).seconds;
  PipelineTime time;
  time.seconds = real.seconds;
  time.transferSeconds = real.seconds - freeSeconds;
  time.busySeconds = std::move(real.busy);
  for (size_t stage = 0; stage < stages; ++stage) {
    time.bubbleSeconds.push_back(freeSeconds - time.busySeconds[stage]);
    if (time.busySeconds[stage] > time.busySeconds[time.criticalStage])
      time.criticalStage = stage;
  }
  return time;
}

std::vector<std::vector<TaskTime>> moai::timeTasks(const PipelineOrder &order, llvm::ArrayRef<double> forwardSeconds,
                                                   llvm::ArrayRef<double> backwardSeconds, llvm::ArrayRef<double> transferSeconds) {
  Playback played = play(order, forwardSeconds, backwardSeconds, transferSeconds);
  std::vector<std::vector<TaskTime>> times;
  for (size_t stage = 0; stage < order.size(); ++stage) {
    times.emplace_back();
    size_t microBatches = order[stage].size() / 2;
    for (const PipelineTask &task : order[stage]) {
      double end = played.ends[(task.kind * order.size() + stage) * microBatches + task.microBatch];
      times.back().push_back({end - (task.kind == PipelineTask::Forward ? forwardSeconds : backwardSeconds)[stage], end});
    }
  }
  return times;
}
