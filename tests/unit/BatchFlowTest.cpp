// What a loss is to parts of the batch.
#include "moai/IR/BatchFlow.h"
#include "TestModel.h"
#include "absl/strings/str_join.h"
#include "mlir/Parser/Parser.h"

using namespace moai;
using ::testing::HasSubstr;

namespace {

/// A module with the flow of its @step.
struct Flow {
  explicit Flow(mlir::OwningOpRef<mlir::ModuleOp> parsed)
      : module(std::move(parsed)), step(module->lookupSymbol<mlir::func::FuncOp>("step")), states(step) {}
  mlir::Value loss() { return step.getBody().front().getTerminator()->getOperand(0); }
  const BatchState &lossState() { return states.of(loss()); }
  std::string mixer() { return lossState().mixer ? describeOp(*lossState().mixer) : ""; }

  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::func::FuncOp step;
  BatchFlow states;
};

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

// Labels may be ignored, so each part divides by the number of all that aren't.
TEST(BatchFlow, LanguageModelsSumLossesOfLabelsThatCount) {
  for (const char *graph : {"tiny-gpt2", "tiny-bert", "tiny-llama", "tiny-qwen2", "family-t5"}) {
    TestContext context;
    Flow flow(std::move(importTestGraph(graph, context).module));
    EXPECT_TRUE(flow.lossState().isSum()) << graph << " mixes samples in " << flow.mixer();
    ASSERT_EQ(flow.lossState().wholeBatch.size(), 1u) << graph;
    mlir::Value counted = flow.lossState().wholeBatch[0];
    EXPECT_TRUE(llvm::isa<CrossEntropyOp>(counted.getDefiningOp())) << graph;
    EXPECT_TRUE(flow.states.of(counted).isSum() && flow.states.of(counted).isInputOnly) << graph;
  }
}

TEST(BatchFlow, VisionTransformersKeepSamplesApart) {
  TestContext context;
  Flow flow(std::move(importTestGraph("tiny-vit", context).module));
  EXPECT_TRUE(flow.lossState().isSum()) << flow.mixer();
}

// A part of the samples would count its own from zero, which only some uses forgive.
TEST(BatchFlow, NumbersOfSamplesAreNotFollowed) {
  TestContext context;
  Flow flow(std::move(importTestGraph("family-gemma2", context).module));
  EXPECT_EQ(flow.lossState().kind, BatchKind::Mixed);
  EXPECT_THAT(flow.mixer(), HasSubstr("moai.generate 'arange'"));
}

TEST(BatchFlow, BatchNormMixesSamples) {
  TestContext context;
  Flow flow(std::move(importTestGraph("family-cnn", context).module));
  EXPECT_EQ(flow.lossState().kind, BatchKind::Mixed);
  EXPECT_THAT(flow.mixer(), HasSubstr("moai.normalize 'batch_norm'"));
}

//===----------------------------------------------------------------------===//
// Losses
//===----------------------------------------------------------------------===//

const std::string kRows = "!moai.tensor<[b, 4], f32>", kScalar = "!moai.tensor<[], f32>", kMatrix = "!moai.tensor<[4, 4], f32>";

// `%name = moai.op operands : types`.
std::string line(const std::string &name, const std::string &op, const std::string &types) {
  return "%" + name + " = moai." + op + " : " + types + "\n";
}

std::string reduce(const std::string &name, const std::string &of, const std::string &kind, const std::string &type = kRows) {
  return line(name, "reduce %" + of + " {dims = array<i64: 0, 1>, keep_dims = false, kind = \"" + kind + "\"}",
              "(" + type + ") -> " + kScalar);
}

std::string apply(const std::string &name, const std::string &kind, const std::vector<std::string> &operands, const std::string &type) {
  std::string types = operands.size() == 2 ? type + ", " + type : type;
  return line(name, "elementwise %" + absl::StrJoin(operands, ", %") + " {kind = \"" + kind + "\"}", "(" + types + ") -> " + type);
}

// Of inputs %x and %mask and a parameter %w, of which there is %p = x w for each sample.
Flow flowOf(const std::string &body, TestContext &context) {
  auto argument = [](const std::string &name, const std::string &type, const std::string &role) {
    return "%" + name + ": " + type + " {moai.name = \"" + name + "\", moai.role = \"" + role + "\"}";
  };
  std::string product = line("p", "contract %x, %w {equation = \"bk,kn->bn\"}", "(" + kRows + ", " + kMatrix + ") -> " + kRows);
  std::string text = "func.func @step(" + argument("x", kRows, "input") + ", " + argument("mask", kRows, "input") + ", " +
                     argument("w", kMatrix, "parameter") + ", " + argument("count", kScalar, "input") + ") -> " + kScalar + " {\n" +
                     product + body + "return %loss : " + kScalar + "\n}\n";
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  EXPECT_TRUE(module) << text;
  return Flow(std::move(module));
}

TEST(BatchFlow, SumsAreSums) {
  TestContext context;
  Flow flow = flowOf(reduce("loss", "p", "sum"), context);
  EXPECT_TRUE(flow.lossState().isSum() && flow.lossState().wholeBatch.empty() && !flow.lossState().isInputOnly);
}

TEST(BatchFlow, MeansAreMeans) {
  TestContext context;
  Flow flow = flowOf(reduce("loss", "p", "mean"), context);
  EXPECT_TRUE(flow.lossState().isMean() && flow.lossState().wholeBatch.empty());
}

TEST(BatchFlow, SumsOverAGivenCountAreSums) {
  TestContext context;
  Flow flow = flowOf(reduce("s", "p", "sum") + apply("loss", "div", {"s", "count"}, kScalar), context);
  EXPECT_TRUE(flow.lossState().isSum() && flow.lossState().wholeBatch.empty());
}

// Also where the count is kept from being zero.
TEST(BatchFlow, MaskedMeansAreSumsOverACountOfInputs) {
  TestContext context;
  std::string sums = apply("kept", "mul", {"p", "mask"}, kRows) + reduce("s", "kept", "sum") + reduce("n", "mask", "sum");
  Flow plain = flowOf(sums + apply("loss", "div", {"s", "n"}, kScalar), context);
  std::string clamped = line("m", "elementwise %n {kind = \"clamp_min\", scalars = array<f64: 1.0>}", "(" + kScalar + ") -> " + kScalar);
  Flow safe = flowOf(sums + clamped + apply("loss", "div", {"s", "m"}, kScalar), context);
  for (Flow *flow : {&plain, &safe}) {
    EXPECT_TRUE(flow->lossState().isSum()) << flow->mixer();
    ASSERT_EQ(flow->lossState().wholeBatch.size(), 1u);
    EXPECT_TRUE(llvm::isa<ReduceOp>(flow->lossState().wholeBatch[0].getDefiningOp()));
  }
}

// A count that depends on parameters is not known before the parts have run.
TEST(BatchFlow, SumsOverASumOfProductsMix) {
  TestContext context;
  Flow flow = flowOf(
      reduce("s", "p", "sum") + reduce("n", "mask", "sum") + reduce("q", "p", "sum") + apply("loss", "div", {"n", "q"}, kScalar), context);
  EXPECT_EQ(flow.mixer(), "moai.elementwise 'div'");
}

TEST(BatchFlow, PenaltiesAreTermsOfTheirOwn) {
  TestContext context;
  std::string penalty = apply("squares", "square", {"w"}, kMatrix) + reduce("penalty", "squares", "sum", kMatrix);
  Flow mean = flowOf(reduce("m", "p", "mean") + penalty + apply("loss", "add", {"m", "penalty"}, kScalar), context);
  EXPECT_TRUE(mean.lossState().isMean() && mean.lossState().invariants);
  Flow sum = flowOf(reduce("s", "p", "sum") + penalty + apply("loss", "add", {"s", "penalty"}, kScalar), context);
  EXPECT_TRUE(!sum.lossState().isSum() && sum.lossState().sums && sum.lossState().invariants && !sum.lossState().means);
}

TEST(BatchFlow, FunctionsOfMeansMix) {
  TestContext context;
  Flow square = flowOf(reduce("m", "p", "mean") + apply("loss", "square", {"m"}, kScalar), context);
  EXPECT_EQ(square.mixer(), "moai.elementwise 'square'");
  Flow product = flowOf(reduce("m", "p", "mean") + apply("loss", "mul", {"m", "m"}, kScalar), context);
  EXPECT_EQ(product.mixer(), "moai.elementwise 'mul'");
  Flow largest = flowOf(reduce("loss", "p", "amax"), context);
  EXPECT_EQ(largest.mixer(), "moai.reduce 'amax'");
}

// Every sample against every other one.
TEST(BatchFlow, ContrastiveLossesMix) {
  TestContext context;
  std::string pairs = "!moai.tensor<[b, b], f32>";
  Flow flow = flowOf(line("pairs", "contract %p, %x {equation = \"ik,jk->ij\"}", "(" + kRows + ", " + kRows + ") -> " + pairs) +
                         reduce("loss", "pairs", "mean", pairs),
                     context);
  EXPECT_EQ(flow.mixer(), "moai.contract");
}

// A softmax over samples.
TEST(BatchFlow, WholeFactorsMix) {
  TestContext context;
  Flow flow =
      flowOf(line("q", "softmax %p {dim = 0 : i64, log = false}", "(" + kRows + ") -> " + kRows) + reduce("loss", "q", "sum"), context);
  EXPECT_EQ(flow.mixer(), "moai.softmax");
}

// Samples stay outermost through (b s) and back; beside each other they don't.
TEST(BatchFlow, FollowsSamplesThroughReshapes) {
  TestContext context;
  std::string flat = "!moai.tensor<[4 * b], f32>", pairs = "!moai.tensor<[2 * b, 2], f32>";
  Flow flow = flowOf(line("f", "reshape %p", "(" + kRows + ") -> " + flat) + line("g", "reshape %f", "(" + flat + ") -> " + pairs) +
                         line("h", "reshape %g", "(" + pairs + ") -> " + kRows) + reduce("loss", "h", "mean"),
                     context);
  EXPECT_TRUE(flow.lossState().isMean()) << flow.mixer();
  std::string turned = "!moai.tensor<[4, b], f32>";
  Flow mixed = flowOf(line("f", "reshape %p", "(" + kRows + ") -> " + turned) + reduce("loss", "f", "mean", turned), context);
  EXPECT_EQ(mixed.lossState().kind, BatchKind::Mixed);
}

} // namespace
