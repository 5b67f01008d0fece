//===- DataSourceTest.cpp - Samples to train on ----------------------------===//
#include "moai/Execute/DataSource.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moai;

namespace {

ModelInput ids(const char *name, InputUse use, int64_t length, int64_t numIds = 256) {
  ModelInput input;
  input.name = name;
  input.type = "I64";
  input.shape = {2, length};
  input.perSample = {1, 0};
  input.use = use;
  input.numIds = numIds;
  input.ignoredId = -100;
  return input;
}

TEST(DataSource, CutsText) {
  std::vector<ModelInput> inputs = {ids("ids", InputUse::Tokens, 4), ids("labels", InputUse::Targets, 4)};
  auto source = DataSource::parse("abcdefghij", "a.txt", std::nullopt, inputs);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->describe(), "a.txt: 2 samples of 4 tokens (text, a byte a token)");
  Batch batch = (*source)->read({1, 0});
  EXPECT_THAT(batch.at("ids")->values, testing::ElementsAre('e', 'f', 'g', 'h', 'a', 'b', 'c', 'd'));
}

} // namespace
