// Which losses make a step that may be split.
#include "moai/Passes/SplitLoss.h"
#include "TestModel.h"
#include "mlir/Parser/Parser.h"

using namespace moai;
using ::testing::HasSubstr;

namespace {

std::string why(const char *graph) {
  TestContext context;
  return describeInexactSplit(*importTestGraph(graph, context).module);
}

TEST(SplitLoss, PlainMeansAreExact) {
  for (const char *graph : {"tiny-gpt2", "tiny-bert", "tiny-vit", "tiny-llama", "family-t5"})
    EXPECT_EQ(why(graph), "") << graph;
}

TEST(SplitLoss, NamesWhereSamplesMeet) {
  EXPECT_THAT(why("family-cnn"), HasSubstr("samples see each other in moai."));
  EXPECT_EQ(why("small-losses"), "the loss is not a plain mean over samples");
}

// A step of one input with the given body.
std::string whyOf(const std::string &body) {
  TestContext context;
  auto module = mlir::parseSourceString<mlir::ModuleOp>("func.func @step(%x: !moai.tensor<[b, 4], f32>) -> !moai.tensor<[], f32> {\n" +
                                                            body + "return %loss : !moai.tensor<[], f32>\n}\n",
                                                        &context);
  EXPECT_TRUE(module);
  return describeInexactSplit(*module);
}

const std::string kReduce = "{dims = array<i64: 0, 1>, keep_dims = false, kind = \"";

TEST(SplitLoss, LooksAtTheReduction) {
  auto reduce = [](const std::string &kind) {
    return "%loss = moai.reduce %x " + kReduce + kind + "\"} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[], f32>\n";
  };
  EXPECT_EQ(whyOf(reduce("mean")), "");
  EXPECT_EQ(whyOf(reduce("sum")), "the loss is a sum over samples, not a plain mean");
  EXPECT_EQ(whyOf(reduce("amax")), "the loss is a amax over samples, not a plain mean");
}

TEST(SplitLoss, PairsOfSamplesMeet) {
  EXPECT_THAT(whyOf("%p = moai.contract %x, %x {equation = \"ik,jk->ij\"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b, 4], f32>) -> "
                    "!moai.tensor<[b, b], f32>\n%loss = moai.reduce %p " +
                    kReduce + "mean\"} : (!moai.tensor<[b, b], f32>) -> !moai.tensor<[], f32>\n"),
              HasSubstr("samples see each other in moai.contract"));
}

// A square of a mean isn't the mean of squares.
TEST(SplitLoss, FunctionsOfTheMeanAreNone) {
  EXPECT_EQ(whyOf("%m = moai.reduce %x " + kReduce +
                  "mean\"} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[], f32>\n%loss = moai.elementwise %m {kind = \"exp\"} : "
                  "(!moai.tensor<[], f32>) -> !moai.tensor<[], f32>\n"),
            "the loss is not a plain mean over samples");
}

} // namespace
