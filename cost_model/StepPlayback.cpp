//===- StepPlayback.cpp - A step as it would be seen while it runs ---------===//
#include "moai/CostModel/StepPlayback.h"
#include "moai/CostModel/StepTime.h"
#include <algorithm>
#include <cassert>

using namespace moai;

StepPlayback::StepPlayback(llvm::ArrayRef<StageProgram> stages, const ParallelConfig &config, const Accelerator &accelerator,
                           std::vector<MemoryTimeline> given)
    : timelines(std::move(given)) {
  assert(timelines.size() == stages.size() && "a timeline per stage");
  CostBreakdown cost = stepCost(stages, config, accelerator);
  duration = cost.total();
  std::vector<std::vector<TaskTime>> times = timeStepTasks(stages, config, accelerator);
  for (auto [stage, timeline] : llvm::enumerate(timelines)) {
    std::vector<Span> &own = spans.emplace_back();
    size_t next = 0; // of the pipeline's tasks
    for (size_t i = 0; i < timeline.tasks.size(); ++i) {
      const TimelineTask &task = timeline.tasks[i];
      TaskTime time;
      if (task.phase == "load")
        time = {0, cost.parameterGather};
      else if (task.phase == "optimizer")
        time = {duration - cost.optimizer - cost.gradientReduce, duration};
      else
        time = {times[stage][next].begin + cost.parameterGather, times[stage][next].end + cost.parameterGather}, ++next;
      own.push_back(
          {time.begin, time.end, task.firstOp, i + 1 < timeline.tasks.size() ? timeline.tasks[i + 1].firstOp : timeline.use.size()});
    }
  }
}

StepPlayback::Moment StepPlayback::at(int64_t stage, double time) const {
  const MemoryTimeline &timeline = timelines[stage];
  const Span *span = nullptr;
  for (const Span &candidate : spans[stage])
    if (candidate.begin <= time && candidate.firstOp < candidate.lastOp)
      span = &candidate;
  Moment moment;
  moment.bytesInUse = timeline.workspaceBytes;
  if (!span)
    return moment;
  moment.isBusy = time < span->end;
  double part = span->end > span->begin ? std::min(1.0, (time - span->begin) / (span->end - span->begin)) : 1;
  size_t ops = span->lastOp - span->firstOp;
  moment.bytesInUse += timeline.use[span->firstOp + std::min(ops - 1, static_cast<size_t>(part * static_cast<double>(ops)))];
  return moment;
}

double StepPlayback::busyShare(int64_t stage) const {
  double busy = 0;
  for (const Span &span : spans[stage])
    busy += span.end - span.begin;
  return duration > 0 ? std::min(1.0, busy / duration) : 0;
}
