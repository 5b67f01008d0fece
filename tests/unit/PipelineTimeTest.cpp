//===- PipelineTimeTest.cpp - Seconds of a pipeline schedule ----------------===//
#include "moai/CostModel/PipelineTime.h"
#include "moai/Schedule/PipelineSchedule.h"
#include "gtest/gtest.h"
#include <algorithm>
#include <cmath>

using namespace moai;

namespace {
using Seconds = std::vector<double>;

// With equal stages both schedules take m (F+B) + (p-1)(F+B): GPipe (Huang et al. 2019), 1F1B (Narayanan et al. 2021).
TEST(PipelineTime, EqualStagesGiveTheClosedForm) {
  const double F = 2, B = 5;
  for (ScheduleKind kind : {ScheduleKind::GPipe, ScheduleKind::OneFOneB})
    for (int64_t p = 1; p <= 8; ++p)
      for (int64_t m = 1; m <= 12; ++m) {
        PipelineTime time = simulatePipeline(*buildSchedule(kind, p, m), Seconds(p, F), Seconds(p, B), Seconds(p - 1, 0));
        EXPECT_DOUBLE_EQ(time.seconds, (m + p - 1) * (F + B)) << p << " stages, " << m << " micro-batches";
        EXPECT_EQ(time.transferSeconds, 0);
        EXPECT_EQ(time.criticalStage, 0);
        for (int64_t stage = 0; stage < p; ++stage) {
          EXPECT_DOUBLE_EQ(time.busySeconds[stage], m * (F + B));
          EXPECT_DOUBLE_EQ(time.bubbleSeconds[stage], (p - 1) * (F + B));
        }
      }
}

// One micro-batch runs through everything in turn.
TEST(PipelineTime, OneMicroBatchIsASum) {
  PipelineTime time = simulatePipeline(*buildSchedule(ScheduleKind::OneFOneB, 3, 1), {1, 2, 4}, {8, 16, 32}, {64, 128});
  EXPECT_DOUBLE_EQ(time.seconds, 63 + 2 * 192);
  EXPECT_DOUBLE_EQ(time.transferSeconds, 2 * 192);
  EXPECT_EQ(time.criticalStage, 2);
  EXPECT_DOUBLE_EQ(time.busySeconds[1], 18);
  EXPECT_DOUBLE_EQ(time.bubbleSeconds[1], 63 - 18);
}

// GPipe's forwards are a flow shop whose stages keep the order: the longest path over p x m has a textbook recurrence.
TEST(PipelineTime, UnevenStagesAgreeWithLongestPaths) {
  const Seconds F = {3, 1, 4, 1.5}, B = {5, 9, 2, 6}, T = {0.5, 0.25, 2};
  const int p = 4, m = 7;
  double forward[p][m], backward[p][m];
  for (int i = 0; i < m; ++i)
    for (int s = 0; s < p; ++s)
      forward[s][i] = F[s] + std::max(s ? forward[s - 1][i] + T[s - 1] : 0., i ? forward[s][i - 1] : 0.);
  for (int i = m - 1; i >= 0; --i)
    for (int s = p - 1; s >= 0; --s)
      backward[s][i] = B[s] + std::max(s + 1 < p ? backward[s + 1][i] + T[s] : 0., i + 1 < m ? backward[s][i + 1] : forward[s][m - 1]);
  PipelineTime time = simulatePipeline(*buildSchedule(ScheduleKind::GPipe, p, m), F, B, T);
  EXPECT_DOUBLE_EQ(time.seconds, backward[0][0]);
}

// What every schedule must obey: no stage beats its own work plus the way there and back.
TEST(PipelineTime, BoundsHold) {
  const Seconds F = {3, 1, 4, 1.5}, B = {5, 9, 2, 6}, T = {0.5, 0.25, 2};
  for (int64_t m : {1, 3, 8, 64}) {
    PipelineTime time = simulatePipeline(*buildSchedule(ScheduleKind::OneFOneB, 4, m), F, B, T);
    for (int stage = 0; stage < 4; ++stage) {
      double before = 0;
      for (int i = 0; i < stage; ++i)
        before += F[i] + B[i] + 2 * T[i];
      EXPECT_GE(time.seconds, before + m * (F[stage] + B[stage]) - 1e-9);
      EXPECT_NEAR(time.busySeconds[stage] + time.bubbleSeconds[stage] + time.transferSeconds, time.seconds, 1e-9);
    }
    EXPECT_EQ(time.criticalStage, 1);
  }
}

TEST(PipelineTime, EmptyPipelineTakesNoTime) { EXPECT_EQ(simulatePipeline({}, {}, {}, {}).seconds, 0); }
} // namespace
