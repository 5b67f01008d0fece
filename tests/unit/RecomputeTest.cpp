// A step with recomputation, executed: it must compute what the step without computes, also where random numbers are drawn.
#include "TestModel.h"
#include "moai/Execute/TrainingRun.h"

using namespace moai;
using ::testing::Combine;
using ::testing::Values;

namespace {

mlir::LogicalResult insertRecompute(mlir::ModuleOp module, llvm::StringRef recomputation) {
  module->setAttr(attrs::kConfig, ConfigAttr::get(module.getContext(), ("recomputation=" + recomputation).str()));
  mlir::PassManager manager(module.getContext(), mlir::ModuleOp::getOperationName());
  manager.addPass(createInsertRecompute());
  return manager.run(module);
}

/// Loss and gradients of steps in double from random weights, under a configuration.
std::vector<TrainingRun::Step> train(const ImportedModel &model, mlir::ModuleOp program, int numSteps, uint64_t seed = 3) {
  ModelTensors tensors(*model.module, model.tiedParameters);
  tensors.fillTheRest(7);
  ExecuteOptions options;
  options.float64 = true;
  options.seed = seed;
  std::vector<TrainingRun::Step> steps;
  auto run = TrainingRun::create(tensors, program, options);
  EXPECT_TRUE(run.ok()) << run.status();
  for (int i = 0; run.ok() && i < numSteps; ++i) {
    auto step = run->run(/*keepGradients=*/true);
    EXPECT_TRUE(step.ok()) << step.status();
    if (step.ok())
      steps.push_back(std::move(*step));
  }
  return steps;
}

void expectSameBits(llvm::ArrayRef<TrainingRun::Step> found, llvm::ArrayRef<TrainingRun::Step> expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (auto [a, b] : llvm::zip(found, expected)) {
    EXPECT_EQ(a.loss, b.loss);
    ASSERT_EQ(a.gradients.size(), b.gradients.size());
    for (const auto &[name, stored] : b.gradients)
      EXPECT_EQ(a.gradients.at(name).tensor.values, stored.tensor.values) << name;
  }
}

size_t countRepeated(mlir::ModuleOp program) {
  size_t repeated = 0;
  program->walk([&](mlir::Operation *op) { repeated += op->hasAttr(attrs::kRecompute); });
  return repeated;
}

class Recompute : public ::testing::TestWithParam<std::tuple<const char *, const char *>> {};

TEST_P(Recompute, LeavesLossAndGradientsAsTheyAre) {
  auto [graph, recomputation] = GetParam();
  TestContext context;
  ImportedModel model = importTrainingGraph(graph, context);
  auto without = compileForTest(*model.module, ""), with = compileForTest(*model.module, std::string("recomputation=") + recomputation);
  EXPECT_EQ(countRepeated(*without), 0u);
  EXPECT_GT(countRepeated(*with), 0u);
  expectSameBits(train(model, *with, 2), train(model, *without, 2));
}

INSTANTIATE_TEST_SUITE_P(Step, Recompute,
                         Combine(Values("tiny-llama", "tiny-gpt2", "tiny-gpt2-dropout", "tiny-mixtral", "tiny-vit", "family-t5"),
                                 Values("selective", "full", "2")),
                         [](const auto &info) {
                           std::string name = std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Recompute, RepeatsTheFirstBlocks) {
  TestContext context;
  ImportedModel model = importTrainingGraph("tiny-llama", context);
  ASSERT_TRUE(mlir::succeeded(insertRecompute(*model.module, "3")));
  unrollBlocks(*model.module);
  std::vector<std::string> names;
  for (auto call : model.module->lookupSymbol<mlir::func::FuncOp>("step").getOps<mlir::func::CallOp>())
    if (call->hasAttr(attrs::kRecompute))
      names.push_back(call->getAttrOfType<mlir::StringAttr>(attrs::kBlock).str());
  EXPECT_THAT(names, testing::ElementsAre("model.model.layers.2", "model.model.layers.1", "model.model.layers.0"));
}

// The first block of one stage and the first two of the other, on micro-batches.
TEST(Recompute, CountsOfSeveralStagesLeaveLossAndGradientsAsTheyAre) {
  for (const char *graph : {"tiny-llama", "tiny-gpt2-dropout"}) {
    SCOPED_TRACE(graph);
    TestContext context;
    ImportedModel model = importTrainingGraph(graph, context);
    auto without = compileForTest(*model.module, "num_stages=2,num_micro_batches=2"),
         with = compileForTest(*model.module, "num_stages=2,num_micro_batches=2,recomputation=1:2");
    EXPECT_EQ(countRepeated(*with), 3u);
    std::vector<TrainingRun::Step> found = train(model, *with, 2), expected = train(model, *without, 2);
    ASSERT_EQ(found.size(), expected.size());
    // Stages may be cut elsewhere, which moves no sum.
    expectSameBits(found, expected);
  }
}

TEST(Recompute, DropoutTrains) {
  TestContext context;
  ImportedModel model = importTrainingGraph("tiny-gpt2-dropout", context);
  auto program = compileForTest(*model.module, "");
  auto losses = [&](uint64_t seed) {
    std::vector<double> losses;
    for (const TrainingRun::Step &step : train(model, *program, 20, seed))
      losses.push_back(step.loss);
    return losses;
  };
  std::vector<double> first = losses(0), again = losses(0), other = losses(1);
  ASSERT_EQ(first.size(), 20u);
  EXPECT_LT(first.back(), first.front() - 0.5);
  EXPECT_EQ(first, again);
  EXPECT_NE(first.front(), other.front());
}

} // namespace
