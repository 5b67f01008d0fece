// Training steps against PyTorch's own: tests/Inputs/steps holds what it computed for graphs of tests/Inputs/graphs.
#include "moai/Execute/TrainingRun.h"
#include "TestModel.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"
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

// A graph that carries its backward is the same step as the forward alone.
std::string stepOf(std::string graph) {
  bool hasOwn = llvm::sys::fs::exists(stepFile(graph + ".safetensors"));
  return hasOwn ? graph : graph.substr(0, graph.find("-joint"));
}

/// A model with the tensors of a file, compiled for a configuration and run.
class CompiledModel {
public:
  explicit CompiledModel(const char *name)
      : model(importTrainingGraph(name, context, withBufferUpdates())), expected(tensorsOf(stepOf(name))) {}

  TrainingRun start(const std::string &configuration, const ExecuteOptions &options, const std::string &optimizer = "adamw") {
    tensors.emplace(*model.module, model.tiedParameters);
    EXPECT_EQ(tensors->takeWeights(expected, "w"), absl::OkStatus());
    EXPECT_EQ(tensors->takeInputs(expected, "i"), absl::OkStatus());
    program = compileForTest(*model.module, configuration, optimizer);
    auto run = TrainingRun::create(*tensors, *program, options);
    if (!run.ok()) {
      ADD_FAILURE() << run.status();
      abort();
    }
    return std::move(*run);
  }

  TestContext context;
  ImportedModel model;
  StoredTensors expected;
  std::optional<ModelTensors> tensors;
  mlir::OwningOpRef<mlir::ModuleOp> program;

private:
  static ImportOptions withBufferUpdates() {
    ImportOptions options;
    options.bufferUpdates = true;
    return options;
  }
};

ExecuteOptions inDouble(bool float64 = true) {
  ExecuteOptions options;
  options.float64 = float64;
  return options;
}

class SmallModel : public ::testing::TestWithParam<const char *>, public CompiledModel {
protected:
  SmallModel() : CompiledModel(GetParam()) {}
};

TEST_P(SmallModel, HasPyTorchsGradients) {
  for (bool float64 : {false, true}) {
    TrainingRun run = start("", inDouble(float64));
    auto step = run.run(/*keepGradients=*/true);
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
  auto buffer = llvm::MemoryBuffer::getFile(stepFile(stepOf(GetParam()) + "-steps.json"));
  ASSERT_TRUE(buffer) << buffer.getError().message();
  auto json = llvm::json::parse((*buffer)->getBuffer());
  ASSERT_TRUE(static_cast<bool>(json));
  const llvm::json::Array &losses = *json->getAsObject()->getArray("losses");
  ASSERT_EQ(losses.size(), 20u);
  TrainingRun run = start("", {});
  for (const llvm::json::Value &loss : losses) {
    auto step = run.run(/*keepGradients=*/false);
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_NEAR(step->loss, *loss.getAsNumber(), 1e-4 * *loss.getAsNumber());
  }
}

INSTANTIATE_TEST_SUITE_P(Training, SmallModel,
                         Values("tiny-bert", "tiny-gpt2", "tiny-llama", "tiny-mixtral", "tiny-qwen2", "tiny-vit", "family-bloom",
                                "family-cnn", "family-deepseek-v2", "family-falcon", "family-gemma2", "family-gpt-oss", "family-modernbert",
                                "family-swin", "family-t5", "tiny-llama-joint", "tiny-vit-joint", "small-cnn-joint", "small-frozen",
                                "small-mqa", "small-nograd", "small-resize", "small-losses", "small-regression", "small-rearranged",
                                "small-reductions", "small-experts", "small-experts-batch6"),
                         [](const ::testing::TestParamInfo<const char *> &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class BadTensors : public ::testing::Test {
protected:
  BadTensors() : model(importTrainingGraph("tiny-gpt2", context)), tensors(tensorsOf("tiny-gpt2")) {}
  std::string weights() { return std::string(ModelTensors(*model.module, model.tiedParameters).takeWeights(tensors, "w").message()); }
  std::string inputs() { return std::string(ModelTensors(*model.module, model.tiedParameters).takeInputs(tensors, "i").message()); }
  std::string firstError() {
    ModelTensors filled(*model.module, model.tiedParameters);
    EXPECT_TRUE(filled.takeWeights(tensors, "w").ok());
    EXPECT_TRUE(filled.takeInputs(tensors, "i").ok());
    auto program = compileForTest(*model.module, "");
    auto run = TrainingRun::create(filled, *program, {});
    EXPECT_TRUE(run.ok()) << run.status();
    return std::string(run->run(false).status().message());
  }
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
  tensors[name] = {"F64", good.tensor};
  EXPECT_EQ(weights(), "w: tensor '" + name + "' is of type F64, the graph takes F32");
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
  EXPECT_EQ(firstError(), "moai.embedding of model.transformer.wte has the index 999, expected less than 256");
}

TEST_F(BadTensors, TheFirstNanIsFound) {
  tensors["param.model.transformer.h.2.mlp.c_fc.bias"].tensor.values[0] = NAN;
  EXPECT_THAT(firstError(), HasSubstr("in model.transformer.h.2: moai.contract of mlp.c_fc is the first op with a NaN in its result"));
}

// The loss |a| is 0 at a = 0, its gradient as sqrt(a * a) is infinity times 0.
TEST(TrainingRun, FindsTheFirstNanOfTheBackward) {
  TestContext context;
  auto module = mlir::parseSourceString<mlir::ModuleOp>(R"(
func.func @step(%a: !moai.tensor<[], f32> {moai.name = "a", moai.role = "parameter"}) -> !moai.tensor<[], f32> {
  %square = moai.elementwise %a, %a {kind = "mul"} : (!moai.tensor<[], f32>, !moai.tensor<[], f32>) -> !moai.tensor<[], f32>
  %root = moai.elementwise %square {kind = "sqrt"} : (!moai.tensor<[], f32>) -> !moai.tensor<[], f32>
  return %root : !moai.tensor<[], f32>
})",
                                                        &context);
  ASSERT_TRUE(module);
  ASSERT_TRUE(buildTrainingGraph(*module).ok());
  ModelTensors tensors(*module, {});
  StoredTensors zero;
  zero["param.a"] = {"F32", Tensor(llvm::ArrayRef<int64_t>())};
  ASSERT_TRUE(tensors.takeWeights(zero, "w").ok());
  auto program = compileForTest(*module, "");
  auto run = TrainingRun::create(tensors, *program, {});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->run(false).status().message(), "moai.elementwise 'mul' is the first op with a NaN in its result");
}

TEST(TrainingRun, RandomNumbersDoWhereNoneAreGiven) {
  TestContext context;
  ImportedModel model = importTrainingGraph("tiny-mixtral", context);
  auto program = compileForTest(*model.module, "");
  double losses[3];
  for (int i = 0; i < 3; ++i) {
    ModelTensors tensors(*model.module, model.tiedParameters);
    tensors.fillTheRest(i == 2 ? 5 : 4);
    auto run = TrainingRun::create(tensors, *program, {});
    ASSERT_TRUE(run.ok()) << run.status();
    auto step = run->run(false);
    ASSERT_TRUE(step.ok()) << step.status();
    losses[i] = step->loss;
  }
  EXPECT_NEAR(losses[0], std::log(256.0), 0.5); // nothing learned yet: 256 words are equally likely
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_NE(losses[0], losses[2]);
}

} // namespace
