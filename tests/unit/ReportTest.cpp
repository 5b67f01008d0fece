//===- ReportTest.cpp - A plan for people ----------------------------------===//
#include "moai/Export/Report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moai;

namespace {

TEST(Report, GroupsDigits) {
  EXPECT_EQ(groupDigits(0), "0");
  EXPECT_EQ(groupDigits(999), "999");
  EXPECT_EQ(groupDigits(1000), "1,000");
  EXPECT_EQ(groupDigits(-1000), "-1,000");
  EXPECT_EQ(groupDigits(-100), "-100");
  EXPECT_EQ(groupDigits(7721324544), "7,721,324,544");
}

Plan planOfTwo() {
  Plan plan;
  plan.model.parameters = 1234567;
  plan.deviceMemoryBytes = int64_t(10) << 30;
  plan.memoryRatio = 0.5;
  plan.globalBatches = {64};
  plan.candidates.resize(2);
  plan.candidates[0].config.numStages = 2;
  plan.candidates[0].config.dataParallel = 4;
  plan.candidates[0].stages.resize(2);
  plan.candidates[0].stages[1].memory.parameters = int64_t(6) << 30;
  plan.candidates[0].rejected = Rejection{"memory", "stage 1 is too large", 4, int64_t(1) << 30};
  plan.candidates[1].stages.resize(1);
  plan.candidates[1].stages[0].memory.gradients = int64_t(3) << 30;
  plan.candidates[1].cost.forward = 1.5;
  plan.candidates[1].cost.bubble = 0.5;
  plan.candidates[1].stepSeconds = 2;
  plan.selected = 1;
  return plan;
}

TEST(Report, ShowsTheBestFirstAndWhyTheRestIsOut) {
  std::string text;
  llvm::raw_string_ostream os(text);
  printReport(planOfTwo(), os);
  os.flush();
  EXPECT_THAT(text, testing::HasSubstr("1,234,567 parameters, global batch 64; 5.0 GiB of each device may be used (50 %)"));
  EXPECT_THAT(text, testing::HasSubstr("does not fit: 1.0 GiB over"));
  EXPECT_LT(text.find(" > "), text.find("does not fit"));
  EXPECT_THAT(text, testing::HasSubstr("Step 2.000 s, 32.0 samples/s, of which  forward 75.0 %  bubble 25.0 %"));
}

TEST(Report, JSONHoldsEveryCandidateWithItsCostOrReason) {
  llvm::json::Object json = toJSON(planOfTwo(), /*withTimes=*/false);
  EXPECT_EQ(json.getInteger("number_of_candidates"), 2);
  EXPECT_EQ(json.getInteger("number_of_possible_candidates"), 1);
  EXPECT_FALSE(json.get("elapsed"));
  const llvm::json::Object *first = json.getArray("candidates")->front().getAsObject();
  const llvm::json::Object *rejected = first->getObject("rejected");
  ASSERT_TRUE(rejected);
  EXPECT_EQ(rejected->getString("phase"), "memory");
  EXPECT_EQ(rejected->getInteger("rank"), 4);
  EXPECT_EQ(rejected->getInteger("bytes_over"), int64_t(1) << 30);
  EXPECT_FALSE(first->get("cost"));
  const llvm::json::Object *second = json.getArray("candidates")->back().getAsObject();
  EXPECT_EQ(second->getObject("cost")->getNumber("step_seconds"), 2.0);
  EXPECT_EQ(json.getObject("predicted")->getNumber("samples_per_second"), 32.0);
}

} // namespace
