// Learning rates over a training, against the closed forms of Transformers' schedules.
#include "moai/Plan/LearningRate.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace moai;

namespace {

LearningRateSchedule schedule(LearningRateShape shape, int64_t warmup) { return {shape, warmup}; }

// The first step is number 0 of lr_lambda, so a warm-up begins with a rate of 0.
TEST(LearningRate, WarmsUp) {
  for (auto shape : {LearningRateShape::Constant, LearningRateShape::Linear, LearningRateShape::Cosine}) {
    EXPECT_EQ(schedule(shape, 4).factor(1, 12), 0);
    EXPECT_EQ(schedule(shape, 4).factor(2, 12), 0.25);
    EXPECT_EQ(schedule(shape, 4).factor(4, 12), 0.75);
    EXPECT_EQ(schedule(shape, 4).factor(5, 12), 1);
    EXPECT_EQ(schedule(shape, 0).factor(1, 12), 1);
  }
}

TEST(LearningRate, Decays) {
  EXPECT_EQ(schedule(LearningRateShape::Constant, 4).factor(12, 12), 1);
  EXPECT_EQ(schedule(LearningRateShape::Linear, 4).factor(7, 12), 0.75);
  EXPECT_EQ(schedule(LearningRateShape::Linear, 4).factor(12, 12), 0.125);
  EXPECT_DOUBLE_EQ(schedule(LearningRateShape::Cosine, 4).factor(7, 12), 0.5 * (1 + std::sqrt(0.5)));
  EXPECT_DOUBLE_EQ(schedule(LearningRateShape::Cosine, 4).factor(9, 12), 0.5);
  EXPECT_NEAR(schedule(LearningRateShape::Cosine, 4).factor(13, 12), 0, 1e-15);
}

TEST(LearningRate, StaysAboveZero) {
  for (auto shape : {LearningRateShape::Linear, LearningRateShape::Cosine})
    for (int64_t warmup : {0, 3, 20})
      for (int64_t step = 1; step <= 12; ++step) {
        double factor = schedule(shape, warmup).factor(step, 12);
        EXPECT_GE(factor, 0);
        EXPECT_LE(factor, 1);
      }
}

TEST(LearningRate, HasNames) {
  for (auto shape : {LearningRateShape::Constant, LearningRateShape::Linear, LearningRateShape::Cosine})
    EXPECT_EQ(*parseLearningRateShape(toString(shape)), shape);
  EXPECT_EQ(parseLearningRateShape("step").status().message(), "'step' is not known; expected constant, linear or cosine");
}

} // namespace
