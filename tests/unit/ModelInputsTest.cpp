//===- ModelInputsTest.cpp - What a step takes for each sample -------------===//
#include "moai/Execute/ModelInputs.h"
#include "TestModel.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mlir/Parser/Parser.h"

using namespace moai;
using ::testing::ElementsAre;

namespace {

const char *nameOf(InputUse use) {
  switch (use) {
  case InputUse::Tokens:
    return "tokens";
  case InputUse::Targets:
    return "targets";
  case InputUse::Mask:
    return "mask";
  case InputUse::Positions:
    return "positions";
  case InputUse::Segments:
    return "segments";
  case InputUse::Unused:
    return "unused";
  case InputUse::Other:
    return "other";
  }
  return "";
}

// `labels I64[4, 32] of [1, 0]: targets below 256, -100 ignored, of the next token`
std::string describe(const ModelInput &input) {
  std::string text = absl::StrCat(input.name, " ", input.type, "[", absl::StrJoin(input.shape, ", "), "] of [",
                                  absl::StrJoin(input.perSample, ", "), "]: ", nameOf(input.use));
  if (input.numIds)
    absl::StrAppend(&text, " below ", input.numIds);
  if (input.use == InputUse::Targets)
    absl::StrAppend(&text, ", ", input.ignoredId, " ignored", input.takesNextToken ? ", of the next token" : "");
  return text;
}

std::vector<std::string> describeAll(mlir::ModuleOp module) {
  std::vector<std::string> all;
  for (const ModelInput &input : describeInputs(module))
    all.push_back(describe(input));
  return all;
}

std::vector<std::string> inputsOf(const char *graph) {
  TestContext context;
  ImportedModel forward = importTestGraph(graph, context), training = importTrainingGraph(graph, context);
  std::vector<std::string> all = describeAll(*training.module);
  EXPECT_EQ(describeAll(*forward.module), all);
  return all;
}

TEST(ModelInputs, OfModelsThatShiftTheirLabels) {
  for (const char *graph : {"tiny-gpt2", "tiny-llama"})
    EXPECT_THAT(inputsOf(graph), ElementsAre("input_ids I64[8, 16] of [1, 0]: tokens below 256",
                                             "labels I64[8, 16] of [1, 0]: targets below 256, -100 ignored"));
}

TEST(ModelInputs, OfCausalModelsThatDoNot) {
  EXPECT_THAT(inputsOf("small-mqa"), ElementsAre("ids I64[6, 5] of [1, 0]: tokens below 8",
                                                 "y I64[6, 5] of [1, 0]: targets below 8, -100 ignored, of the next token"));
}

// The export gave the same tensor for both.
TEST(ModelInputs, OfWhichTheGraphLooksAtOne) {
  EXPECT_THAT(inputsOf("tiny-gpt2-dropout"),
              ElementsAre("input_ids I64[8, 16] of [1, 0]: unused", "labels I64[8, 16] of [1, 0]: targets below 256, -100 ignored"));
}

// The decoder of T5 is causal and gets its labels one further on.
TEST(ModelInputs, OfModelsThatSeeTheWholeText) {
  EXPECT_THAT(inputsOf("tiny-bert"), ElementsAre("input_ids I64[8, 16] of [1, 0]: tokens below 256",
                                                 "labels I64[8, 16] of [1, 0]: targets below 256, -100 ignored"));
  EXPECT_THAT(inputsOf("family-t5"), ElementsAre("input_ids I64[6, 16] of [1, 0]: tokens below 128",
                                                 "labels I64[6, 16] of [1, 0]: targets below 128, -100 ignored"));
  EXPECT_THAT(inputsOf("small-experts"),
              ElementsAre("x I64[4, 10] of [1, 0]: tokens below 20", "y I64[4, 10] of [1, 0]: targets below 3, -100 ignored"));
}

TEST(ModelInputs, OfModelsOfImages) {
  EXPECT_THAT(inputsOf("tiny-vit"),
              ElementsAre("pixel_values F32[8, 3, 32, 32] of [1, 0, 0, 0]: other", "labels I64[8] of [1]: targets below 10, -100 ignored"));
  EXPECT_THAT(inputsOf("small-losses"),
              ElementsAre("pixels F32[6, 3, 4, 5] of [1, 0, 0, 0]: other", "masks I64[6, 4, 5] of [1, 0, 0]: targets below 5, 255 ignored",
                          "labels I64[6] of [1]: targets below 7, -100 ignored", "shares F32[6, 7] of [1, 0]: other"));
}

// Embeddings of tokens by way of a block, of positions, of segments, and of `turns` out of a table that isn't trained; masks by name.
TEST(ModelInputs, AreToldByNamesAndThroughBlocks) {
  TestContext context;
  auto module = mlir::parseSourceString<mlir::ModuleOp>(R"(
module attributes {moai.binding = array<i64: 2, 5, 1, 1>} {
func.func private @block(%table: !moai.tensor<[9, 4], f32>, %ids: !moai.tensor<[b, s], i64>) -> !moai.tensor<[b, s, 4], f32> {
  %0 = moai.embedding %table, %ids {padding_index = -1 : i64} : (!moai.tensor<[9, 4], f32>, !moai.tensor<[b, s], i64>) -> !moai.tensor<[b, s, 4], f32>
  return %0 : !moai.tensor<[b, s, 4], f32>
}
func.func @step(%table: !moai.tensor<[9, 4], f32> {moai.name = "w", moai.role = "parameter"},
                %sines: !moai.tensor<[7, 4], f32> {moai.name = "sines", moai.role = "buffer"},
                %ids: !moai.tensor<[b, s], i64> {moai.name = "ids", moai.role = "input"},
                %mask: !moai.tensor<[b, s], f32> {moai.name = "attention_mask", moai.role = "input"},
                %wide: !moai.tensor<[b, s, s], f32> {moai.name = "decoder_attention_mask", moai.role = "input"},
                %places: !moai.tensor<[b, s], i64> {moai.name = "position_ids", moai.role = "input"},
                %kinds: !moai.tensor<[b, s], i64> {moai.name = "token_type_ids", moai.role = "input"},
                %turns: !moai.tensor<[b, s], i64> {moai.name = "turns", moai.role = "input"}) -> !moai.tensor<[b, s, 4], f32> {
  %0 = func.call @block(%table, %ids) : (!moai.tensor<[9, 4], f32>, !moai.tensor<[b, s], i64>) -> !moai.tensor<[b, s, 4], f32>
  %1 = moai.embedding %table, %places {padding_index = -1 : i64} : (!moai.tensor<[9, 4], f32>, !moai.tensor<[b, s], i64>) -> !moai.tensor<[b, s, 4], f32>
  %2 = moai.embedding %table, %kinds {padding_index = -1 : i64} : (!moai.tensor<[9, 4], f32>, !moai.tensor<[b, s], i64>) -> !moai.tensor<[b, s, 4], f32>
  %3 = moai.embedding %sines, %turns {padding_index = -1 : i64} : (!moai.tensor<[7, 4], f32>, !moai.tensor<[b, s], i64>) -> !moai.tensor<[b, s, 4], f32>
  return %0 : !moai.tensor<[b, s, 4], f32>
}
})",
                                                        &context);
  ASSERT_TRUE(module);
  EXPECT_THAT(describeAll(*module),
              ElementsAre("ids I64[2, 5] of [1, 0]: tokens below 9", "attention_mask F32[2, 5] of [1, 0]: mask",
                          "decoder_attention_mask F32[2, 5, 5] of [1, 0, 0]: unused", "position_ids I64[2, 5] of [1, 0]: positions",
                          "token_type_ids I64[2, 5] of [1, 0]: segments", "turns I64[2, 5] of [1, 0]: other"));
}

} // namespace
