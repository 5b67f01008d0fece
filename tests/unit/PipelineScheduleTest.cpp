//===- PipelineScheduleTest.cpp - Orders of micro-batches on stages ---------===//
#include "moai/Schedule/PipelineSchedule.h"
#include "gtest/gtest.h"
#include <algorithm>

using namespace moai;

namespace {
std::string print(const StageOrder &order) {
  std::string text;
  for (const PipelineTask &task : order)
    text += (task.kind == PipelineTask::Forward ? "F" : "B") + std::to_string(task.microBatch);
  return text;
}

TEST(PipelineSchedule, OneFOneBIsThePublishedOrder) {
  // Narayanan et al. 2021 (Megatron-LM), figure 4, with four stages; here four micro-batches.
  absl::StatusOr<PipelineOrder> order = buildSchedule(ScheduleKind::OneFOneB, 4, 4);
  ASSERT_TRUE(order.ok()) << order.status();
  EXPECT_EQ(print((*order)[0]), "F0F1F2F3B0B1B2B3");
  EXPECT_EQ(print((*order)[1]), "F0F1F2B0F3B1B2B3");
  EXPECT_EQ(print((*order)[2]), "F0F1B0F2B1F3B2B3");
  EXPECT_EQ(print((*order)[3]), "F0B0F1B1F2B2F3B3");
}

TEST(PipelineSchedule, InFlightAndValidityOverAGrid) {
  for (int64_t stages = 1; stages <= 9; ++stages)
    for (int64_t microBatches = 1; microBatches <= 12; ++microBatches) {
      absl::StatusOr<PipelineOrder> gpipe = buildSchedule(ScheduleKind::GPipe, stages, microBatches);
      absl::StatusOr<PipelineOrder> oneFOneB = buildSchedule(ScheduleKind::OneFOneB, stages, microBatches);
      ASSERT_TRUE(gpipe.ok() && oneFOneB.ok());
      EXPECT_TRUE(verifySchedule(*gpipe, microBatches).ok());
      EXPECT_TRUE(verifySchedule(*oneFOneB, microBatches).ok());
      for (int64_t stage = 0; stage < stages; ++stage) {
        EXPECT_EQ(maxInFlight((*gpipe)[stage]), microBatches);
        EXPECT_EQ(maxInFlight((*oneFOneB)[stage]), std::min(microBatches, stages - stage));
      }
    }
}

TEST(PipelineSchedule, RefusesWhatItCannotBuild) {
  EXPECT_EQ(buildSchedule(ScheduleKind::ZbH1, 2, 2).status().message(), "schedule zb-h1 cannot be built yet, use gpipe or 1f1b");
  EXPECT_EQ(buildSchedule(ScheduleKind::ZbH1, 2, 2).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(buildSchedule(ScheduleKind::GPipe, 2, 0).status().message(),
            "a pipeline of 2 stages and 0 micro-batches cannot be scheduled, expected at least 1 of each");
}

TEST(PipelineSchedule, VerifierNamesTheFault) {
  auto message = [](const PipelineOrder &order, int64_t microBatches) {
    return std::string(verifySchedule(order, microBatches).message());
  };
  constexpr auto F = PipelineTask::Forward, B = PipelineTask::Backward;
  EXPECT_EQ(message({{{F, 0}, {B, 0}, {F, 1}}}, 2), "the schedule never runs the backward of micro-batch 1 on stage 0");
  EXPECT_EQ(message({{{F, 0}, {B, 0}, {F, 0}}}, 1), "the schedule runs the forward of micro-batch 0 on stage 0 twice");
  EXPECT_EQ(message({{{B, 0}, {F, 0}}}, 1), "the schedule runs the backward of micro-batch 0 on stage 0 before its forward");
  EXPECT_EQ(message({{{F, 3}, {B, 3}}}, 1), "the schedule has the forward of micro-batch 3 on stage 0, expected micro-batches 0 to 0");
  EXPECT_EQ(message({}, 1), "the schedule has 0 stages and 1 micro-batches, expected at least 1 of each");
  // Stage 0 wants micro-batch 0 back before it sends 1; stage 1 wants 1 before it returns 0.
  EXPECT_EQ(message({{{F, 0}, {B, 0}, {F, 1}, {B, 1}}, {{F, 0}, {F, 1}, {B, 0}, {B, 1}}}, 2),
            "the schedule deadlocks: the backward of micro-batch 0 on stage 0 waits for stage 1, which waits in turn");
}
} // namespace
