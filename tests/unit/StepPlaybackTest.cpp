// A step in simulated time: what its cost and its memory plan say of a moment.
#include "moai/CostModel/StepPlayback.h"
#include "moai/CostModel/StepTime.h"
#include "moai/Schedule/PipelineSchedule.h"
#include "gtest/gtest.h"

using namespace moai;

namespace {

/// Two stages, two micro-batches, forwards of 1 s and backwards of 2 s, nothing else takes time. Ops hold 10, 20, 30, ... bytes.
class Playback : public ::testing::Test {
protected:
  Playback() {
    config.numStages = config.numMicroBatches = 2;
    PipelineOrder order = *buildSchedule(ScheduleKind::GPipe, 2, 2);
    for (int64_t stage = 0; stage < 2; ++stage) {
      StageProgram program;
      program.forwardSeconds = 1;
      program.backwardSeconds = 2;
      program.order = order[stage];
      stages.push_back(program);
      MemoryTimeline timeline;
      timeline.workspaceBytes = 1000;
      for (const PipelineTask &task : order[stage]) {
        timeline.tasks.push_back({task.kind == PipelineTask::Forward ? "forward" : "backward", task.microBatch, timeline.use.size()});
        for (int i = 0; i < 2; ++i)
          timeline.use.push_back(static_cast<int64_t>(timeline.use.size() + 1) * 10);
      }
      timelines.push_back(timeline);
    }
    accelerator = *resolveAccelerator("h100:2");
    accelerator.intraNode.latencySeconds = 0;
  }
  ParallelConfig config;
  Accelerator accelerator;
  std::vector<StageProgram> stages;
  std::vector<MemoryTimeline> timelines;
};

// Stage 0: F0 at 0, F1 at 1, then it waits for stage 1 (F0 at 1, F1 at 2, B0 at 3, B1 at 5) to send gradients back at 5 and 7.
TEST_F(Playback, FollowsTheSchedule) {
  StepPlayback playback(stages, config, accelerator, timelines);
  ASSERT_NEAR(playback.seconds(), 9, 1e-3);
  auto expect = [&](int64_t stage, double time, int64_t bytes, bool isBusy) {
    StepPlayback::Moment moment = playback.at(stage, time);
    EXPECT_EQ(moment.bytesInUse, 1000 + bytes) << "stage " << stage << " at " << time;
    EXPECT_EQ(moment.isBusy, isBusy) << "stage " << stage << " at " << time;
  };
  expect(0, 0.2, 10, true);
  expect(0, 0.7, 20, true);
  expect(0, 1.7, 40, true);
  expect(0, 3.5, 40, false); // what the last op left, until gradients come
  expect(0, 5.5, 50, true);
  expect(0, 8.5, 80, true);
  expect(1, 0.5, 0, false);
  expect(1, 1.2, 10, true);
  expect(1, 4.5, 60, true);
  expect(1, 8.5, 80, false);
  EXPECT_NEAR(playback.busyShare(0), 6.0 / 9, 1e-3);
  EXPECT_EQ(playback.peakBytes(0), 1080);
}

TEST_F(Playback, TakesAsLongAsItsCost) {
  StepPlayback playback(stages, config, accelerator, timelines);
  EXPECT_DOUBLE_EQ(playback.seconds(), stepCost(stages, config, accelerator).total());
}

} // namespace
