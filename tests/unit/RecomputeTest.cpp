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

/// Loss and gradients of two steps in double, of one block of random weights.
std::vector<TrainingRun::Step> train(const ImportedModel &model, uint64_t seed = 3) {
  ExecuteOptions options;
  options.float64 = true;
  options.seed = seed;
  TrainingRun run(*model.module, model.tiedParameters, options);
  run.fillTheRest(7);
  std::vector<TrainingRun::Step> steps;
  for (int i = 0; i < 2; ++i) {
    auto step = run.run(AdamW(), /*keepGradients=*/true);
    if (step.ok())
      steps.push_back(std::move(*step));
    else
      ADD_FAILURE() << step.status();
  }
  return steps;
}

class Recompute : public ::testing::TestWithParam<std::tuple<const char *, const char *>> {};

TEST_P(Recompute, LeavesLossAndGradientsAsTheyAre) {
  auto [graph, recomputation] = GetParam();
  TestContext context;
  ImportedModel model = importTrainingGraph(graph, context);
  std::vector<TrainingRun::Step> expected = train(model);
  ASSERT_TRUE(mlir::succeeded(insertRecompute(*model.module, recomputation)));
  ASSERT_TRUE(mlir::succeeded(mlir::verify(*model.module)));
  size_t repeated = 0;
  model.module->walk([&](mlir::Operation *op) { repeated += op->hasAttr(attrs::kRecompute); });
  EXPECT_GT(repeated, 0u);
  std::vector<TrainingRun::Step> found = train(model);
  ASSERT_EQ(found.size(), expected.size());
  for (auto [a, b] : llvm::zip(found, expected)) {
    EXPECT_EQ(a.loss, b.loss);
    ASSERT_EQ(a.gradients.size(), b.gradients.size());
    for (const auto &[name, stored] : b.gradients)
      EXPECT_EQ(a.gradients.at(name).tensor.values, stored.tensor.values) << name;
  }
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
  std::vector<std::string> names;
  for (auto call : model.module->lookupSymbol<mlir::func::FuncOp>("step").getOps<mlir::func::CallOp>())
    if (call->hasAttr(attrs::kRecompute))
      names.push_back(call->getAttrOfType<mlir::StringAttr>(attrs::kBlock).str());
  EXPECT_THAT(names, testing::ElementsAre("model.model.layers.2", "model.model.layers.1", "model.model.layers.0"));
}

TEST(Recompute, DropoutTrains) {
  TestContext context;
  ImportedModel model = importTrainingGraph("tiny-gpt2-dropout", context);
  auto losses = [&](uint64_t seed) {
    ExecuteOptions options;
    options.seed = seed;
    TrainingRun run(*model.module, model.tiedParameters, options);
    run.fillTheRest(7);
    std::vector<double> losses;
    for (int i = 0; i < 20; ++i) {
      auto step = run.run(AdamW(), /*keepGradients=*/false);
      EXPECT_TRUE(step.ok()) << step.status();
      losses.push_back(step.ok() ? step->loss : 0);
    }
    return losses;
  };
  std::vector<double> first = losses(0), again = losses(0), other = losses(1);
  EXPECT_LT(first.back(), first.front() - 0.5);
  EXPECT_EQ(first, again);
  EXPECT_NE(first.front(), other.front());
}

} // namespace
