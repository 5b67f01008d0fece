// Training steps against PyTorch's own: tests/Inputs/steps holds what it computed for graphs of tests/Inputs/graphs.
#include "moai/Execute/TrainingRun.h"
#include "TestModel.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cmath>

using namespace moai;
using ::testing::HasSubstr;
using ::testing::Values;

namespace {

std::string stepFile(llvm::StringRef name) { return (MOAI_TEST_INPUTS "/steps/" + name).str(); }

StoredTensors tensorsOf(llvm::StringRef name) {
  auto tensors = readSafetensors(stepFile((name + ".safetensors").str()));
  if (!tensors.ok()) {
    ADD_FAILURE() << tensors.status();
    abort();
  }
  return std::move(*tensors);
}

double norm(const Tensor &tensor) {
  double squares = 0;
  for (double value : tensor.values)
    squares += value * value;
  return std::sqrt(squares);
}

double distance(const Tensor &found, const Tensor &expected) {
  Tensor difference = expected;
  for (size_t i = 0; i < difference.values.size(); ++i)
    difference.values[i] -= found.values[i];
  return norm(difference);
}

class SmallModel : public ::testing::TestWithParam<const char *> {
protected:
  SmallModel() : model(importTrainingGraph(GetParam(), context, withBufferUpdates())), expected(tensorsOf(GetParam())) {}

  static ImportOptions withBufferUpdates() {
    ImportOptions options;
    options.bufferUpdates = true;
    return options;
  }

  TrainingRun start(bool float64) {
    ExecuteOptions options;
    options.float64 = float64;
    TrainingRun run(*model.module, model.tiedParameters, options);
    EXPECT_EQ(run.takeWeights(expected, "w"), absl::OkStatus());
    EXPECT_EQ(run.takeInputs(expected, "i"), absl::OkStatus());
    return run;
  }

  TestContext context;
  ImportedModel model;
  StoredTensors expected;
};

TEST_P(SmallModel, HasPyTorchsGradients) {
  for (bool float64 : {false, true}) {
    TrainingRun run = start(float64);
    auto step = run.run(AdamW(), /*keepGradients=*/true);
    ASSERT_TRUE(step.ok()) << step.status();
    double tolerance = float64 ? 5e-6 : 2e-5, loss = expected.at("loss").tensor.values[0];
    EXPECT_NEAR(step->loss, loss, tolerance * loss);
    double largest = 0;
    for (const auto &[name, stored] : expected)
      if (llvm::StringRef(name).starts_with("grad."))
        largest = std::max(largest, norm(stored.tensor));
    // Gradients that cancel, as of a bias ahead of a norm, are PyTorch's rounding noise: a unit in the last place of the largest.
    double noise = 0x1p-23 * largest;
    size_t compared = 0;
    for (const auto &[name, stored] : expected)
      if (llvm::StringRef(name).starts_with("grad.")) {
        ASSERT_TRUE(step->gradients.count(name)) << name;
        EXPECT_LT(distance(step->gradients.at(name).tensor, stored.tensor), std::max(tolerance * norm(stored.tensor), noise)) << name;
        compared += norm(stored.tensor) > 100 * noise;
      }
    EXPECT_GE(compared, 8u);
    StoredTensors state = run.state();
    for (const auto &[name, stored] : expected)
      if (llvm::StringRef(name).starts_with("updated_buffer.")) {
        ASSERT_TRUE(state.count(name)) << name;
        EXPECT_LT(distance(state.at(name).tensor, stored.tensor), 1e-6 * norm(stored.tensor)) << name;
      }
  }
}

TEST_P(SmallModel, TrainsLikePyTorch) {
  auto buffer = llvm::MemoryBuffer::getFile(stepFile(std::string(GetParam()) + "-steps.json"));
  ASSERT_TRUE(buffer) << buffer.getError().message();
  auto json = llvm::json::parse((*buffer)->getBuffer());
  ASSERT_TRUE(static_cast<bool>(json));
  const llvm::json::Array &losses = *json->getAsObject()->getArray("losses");
  ASSERT_EQ(losses.size(), 20u);
  TrainingRun run = start(/*float64=*/false);
  for (const llvm::json::Value &loss : losses) {
    auto step = run.run(AdamW(), /*keepGradients=*/false);
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_NEAR(step->loss, *loss.getAsNumber(), 1e-4 * *loss.getAsNumber());
  }
}

INSTANTIATE_TEST_SUITE_P(Training, SmallModel,
                         Values("tiny-bert", "tiny-gpt2", "tiny-llama", "tiny-mixtral", "tiny-qwen2", "tiny-vit", "family-bloom",
                                "family-cnn", "family-deepseek-v2", "family-falcon", "family-gemma2", "family-gpt-oss", "family-modernbert",
                                "family-swin", "family-t5"),
                         [](const ::testing::TestParamInfo<const char *> &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// torch.optim.AdamW by hand: p = 1, g = 0.5 then -1; lr 0.1, weight decay 0.1.
TEST(AdamW, FollowsTheFormula) {
  AdamW optimizer;
  optimizer.learningRate = optimizer.weightDecay = 0.1;
  Tensor p(std::vector<int64_t>{1}), m = p, v = p, g = p;
  p.values = {1};
  g.values = {0.5};
  optimizer.update(p, m, v, g, 1);
  // m / (1 - 0.9) = 0.5 and v / (1 - 0.999) = 0.25: the first step is the sign of the gradient.
  EXPECT_NEAR(p.values[0], 0.99 - 0.1, 1e-8);
  g.values = {-1};
  optimizer.update(p, m, v, g, 2);
  double m2 = (0.9 * 0.05 - 0.1) / (1 - 0.81), v2 = (0.999 * 0.00025 + 0.001) / (1 - 0.998001);
  EXPECT_NEAR(p.values[0], 0.89 * 0.99 - 0.1 * m2 / (std::sqrt(v2) + 1e-8), 1e-7);
}

class BadTensors : public ::testing::Test {
protected:
  BadTensors() : model(importTrainingGraph("tiny-gpt2", context)), tensors(tensorsOf("tiny-gpt2")) {}
  std::string weights() { return std::string(TrainingRun(*model.module, model.tiedParameters, {}).takeWeights(tensors, "w").message()); }
  std::string inputs() { return std::string(TrainingRun(*model.module, model.tiedParameters, {}).takeInputs(tensors, "i").message()); }
  TestContext context;
  ImportedModel model;
  StoredTensors tensors;
};

TEST_F(BadTensors, AreNamed) {
  std::string name = "param.model.transformer.ln_f.weight";
  ASSERT_TRUE(tensors.count(name));
  StoredTensor good = tensors[name];
  tensors.erase(name);
  EXPECT_EQ(weights(), "w: has no tensor '" + name + "', which the graph needs");
  tensors[name] = {"F32", Tensor({3, 2})};
  EXPECT_EQ(weights(), "w: tensor '" + name + "' has the shape [3, 2], the graph takes [64]");
  tensors[name] = {"BF16", good.tensor};
  EXPECT_EQ(weights(), "w: tensor '" + name + "' is of type BF16, the graph takes F32");
  tensors[name] = good;
  tensors["param.more"] = good;
  EXPECT_EQ(weights(), "w: the graph has no parameter for tensor 'param.more'");
  tensors["input.more"] = good;
  EXPECT_EQ(inputs(), "i: the graph has no input for tensor 'input.more'");
  tensors.erase("input.labels");
  EXPECT_EQ(inputs(), "i: has no tensor 'input.labels', which the graph needs");
}

TEST_F(BadTensors, IndicesBeyondTheTableAreRefused) {
  tensors["input.input_ids"].tensor.values[3] = 999;
  TrainingRun run(*model.module, model.tiedParameters, {});
  ASSERT_TRUE(run.takeWeights(tensors, "w").ok());
  ASSERT_TRUE(run.takeInputs(tensors, "i").ok());
  EXPECT_EQ(run.run(AdamW(), false).status().message(), "moai.embedding has the index 999, expected less than 256");
}

TEST_F(BadTensors, TheFirstNanIsFound) {
  tensors["param.model.transformer.h.2.mlp.c_fc.bias"].tensor.values[0] = NAN;
  TrainingRun run(*model.module, model.tiedParameters, {});
  ASSERT_TRUE(run.takeWeights(tensors, "w").ok());
  ASSERT_TRUE(run.takeInputs(tensors, "i").ok());
  EXPECT_THAT(std::string(run.run(AdamW(), false).status().message()),
              HasSubstr("in model.transformer.h.2: moai.contract is the first op with a NaN in its result"));
}

TEST(TrainingRun, RandomNumbersDoWhereNoneAreGiven) {
  TestContext context;
  ImportedModel model = importTrainingGraph("tiny-mixtral", context);
  double losses[3];
  for (int i = 0; i < 3; ++i) {
    TrainingRun run(*model.module, model.tiedParameters, {});
    run.fillTheRest(i == 2 ? 5 : 4);
    auto step = run.run(AdamW(), false);
    ASSERT_TRUE(step.ok()) << step.status();
    losses[i] = step->loss;
  }
  EXPECT_NEAR(losses[0], std::log(256.0), 0.5); // nothing learned yet: 256 words are equally likely
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_NE(losses[0], losses[2]);
}

} // namespace
