//===- PipelineSchedule.cpp - Orders of micro-batches on pipeline stages ----===//
#include "moai/Schedule/PipelineSchedule.h"
#include "absl/strings/str_cat.h"
#include <algorithm>

using namespace moai;

static StageOrder gpipe(int64_t microBatches) {
  StageOrder order;
  order.reserve(2 * microBatches);
  for (int64_t i = 0; i < microBatches; ++i)
    order.push_back({PipelineTask::Forward, i});
  for (int64_t i = microBatches; i-- > 0;)
    order.push_back({PipelineTask::Backward, i});
  return order;
}

static StageOrder oneFOneB(int64_t stages, int64_t stage, int64_t microBatches) {
  StageOrder order;
  order.reserve(2 * microBatches);
  int64_t warmup = std::min(microBatches, stages - 1 - stage);
  for (int64_t i = 0; i < microBatches + warmup; ++i) {
    if (i < microBatches)
      order.push_back({PipelineTask::Forward, i});
    if (i >= warmup)
      order.push_back({PipelineTask::Backward, i - warmup});
  }
  return order;
}

absl::StatusOr<PipelineOrder> moai::buildSchedule(ScheduleKind kind, int64_t stages, int64_t microBatches) {
  if (stages < 1 || microBatches < 1)
    return absl::InvalidArgumentError(absl::StrCat("a pipeline of ", stages, " stages and ", microBatches,
                                                   " micro-batches cannot be scheduled, expected at least 1 of each"));
  if (kind != ScheduleKind::GPipe && kind != ScheduleKind::OneFOneB)
    return absl::UnimplementedError(absl::StrCat("schedule ", toString(kind).str(), " cannot be built yet, use gpipe or 1f1b"));
  PipelineOrder order;
  order.reserve(stages);
  for (int64_t stage = 0; stage < stages; ++stage)
    order.push_back(kind == ScheduleKind::GPipe ? gpipe(microBatches) : oneFOneB(stages, stage, microBatches));
  return order;
}

static std::string describe(const PipelineTask &task, int64_t stage) {
  return absl::StrCat(task.kind == PipelineTask::Forward ? "forward" : "backward", " of micro-batch ", task.microBatch, " on stage ",
                      stage);
}

static absl::Status verifyStage(const StageOrder &tasks, int64_t stage, int64_t microBatches) {
  std::vector<char> done[2];
  done[0].resize(microBatches);
  done[1].resize(microBatches);
  for (const PipelineTask &task : tasks) {
    if (task.microBatch < 0 || task.microBatch >= microBatches)
      return absl::InvalidArgumentError(
          absl::StrCat("the schedule has the ", describe(task, stage), ", expected micro-batches 0 to ", microBatches - 1));
    if (done[task.kind][task.microBatch])
      return absl::InvalidArgumentError(absl::StrCat("the schedule runs the ", describe(task, stage), " twice"));
    if (task.kind == PipelineTask::Backward && !done[PipelineTask::Forward][task.microBatch])
      return absl::InvalidArgumentError(absl::StrCat("the schedule runs the ", describe(task, stage), " before its forward"));
    done[task.kind][task.microBatch] = true;
  }
  for (int64_t i = 0; i < microBatches; ++i)
    for (PipelineTask::Kind kind : {PipelineTask::Forward, PipelineTask::Backward})
      if (!done[kind][i])
        return absl::InvalidArgumentError(absl::StrCat("the schedule never runs the ", describe({kind, i}, stage)));
  return absl::OkStatus();
}

absl::Status moai::verifySchedule(const PipelineOrder &order, int64_t microBatches) {
  if (order.empty() || microBatches < 1)
    return absl::InvalidArgumentError(
        absl::StrCat("the schedule has ", order.size(), " stages and ", microBatches, " micro-batches, expected at least 1 of each"));
  int64_t stages = order.size();
  for (int64_t stage = 0; stage < stages; ++stage)
    if (absl::Status status = verifyStage(order[stage], stage, microBatches); !status.ok())
      return status;

  // Run what can run. A stage that gets ahead wakes its neighbours, so every task is looked at a bounded number of times.
  std::vector<std::vector<char>> done[2];
  done[0].assign(stages, std::vector<char>(microBatches));
  done[1] = done[0];
  std::vector<size_t> next(stages);
  std::vector<int64_t> ready;
  for (int64_t stage = stages; stage-- > 0;)
    ready.push_back(stage);
  while (!ready.empty()) {
    int64_t stage = ready.back();
    ready.pop_back();
    bool advanced = false;
    while (next[stage] < order[stage].size()) {
      const PipelineTask &task = order[stage][next[stage]];
      int64_t from = task.kind == PipelineTask::Forward ? stage - 1 : stage + 1;
      if (from >= 0 && from < stages && !done[task.kind][from][task.microBatch])
        break;
      done[task.kind][stage][task.microBatch] = true;
      ++next[stage];
      advanced = true;
    }
    for (int64_t neighbour : {stage - 1, stage + 1})
      if (advanced && neighbour >= 0 && neighbour < stages)
        ready.push_back(neighbour);
  }
  for (int64_t stage = 0; stage < stages; ++stage)
    if (next[stage] < order[stage].size()) {
      const PipelineTask &task = order[stage][next[stage]];
      int64_t from = task.kind == PipelineTask::Forward ? stage - 1 : stage + 1;
      return absl::InvalidArgumentError(
          absl::StrCat("the schedule deadlocks: the ", describe(task, stage), " waits for stage ", from, ", which waits in turn"));
    }
  return absl::OkStatus();
}

int64_t moai::maxInFlight(const StageOrder &order) {
  int64_t inFlight = 0, most = 0;
  for (const PipelineTask &task : order) {
    inFlight += task.kind == PipelineTask::Forward ? 1 : -1;
    most = std::max(most, inFlight);
  }
  return most;
}
