// Compiled candidates on virtual devices: the loss, the gradients and the updates of one device; and what goes wrong.
#include "moai/Execute/DeviceGrid.h"
#include "TestModel.h"
#include "mlir/Parser/Parser.h"
#include "moai/Execute/TrainingRun.h"
#include <cmath>

using namespace moai;
using ::testing::HasSubstr;
using ::testing::Values;

namespace {

struct Outcome {
  std::vector<double> losses;
  StoredTensors tensors; ///< gradients of the last step, and the state after it
};

Outcome runSteps(const char *graph, const std::string &config, const std::string &optimizer, int steps, int threads = 1) {
  TestContext context;
  ImportedModel model = importTrainingGraph(graph, context);
  ModelTensors tensors(*model.module, model.tiedParameters);
  tensors.fillTheRest(/*seed=*/3);
  auto program = compileForTest(*model.module, config, optimizer);
  ExecuteOptions options;
  options.float64 = true;
  options.threads = threads;
  Outcome outcome;
  auto run = TrainingRun::create(tensors, *program, options);
  EXPECT_TRUE(run.ok()) << config << ": " << run.status();
  for (int i = 1; run.ok() && i <= steps; ++i) {
    auto step = run->run(/*keepGradients=*/i == steps);
    if (!step.ok()) {
      ADD_FAILURE() << config << ": " << step.status();
      return outcome;
    }
    outcome.losses.push_back(step->loss);
    outcome.tensors.insert(step->gradients.begin(), step->gradients.end());
  }
  StoredTensors state = run->state();
  outcome.tensors.insert(state.begin(), state.end());
  return outcome;
}

// In double nothing but the order of sums differs.
void expectEqual(const Outcome &found, const Outcome &expected, const std::string &what) {
  ASSERT_EQ(found.losses.size(), expected.losses.size()) << what;
  for (size_t i = 0; i < found.losses.size(); ++i)
    EXPECT_NEAR(found.losses[i], expected.losses[i], 1e-9 * std::abs(expected.losses[i])) << what << ", step " << i + 1;
  ASSERT_EQ(found.tensors.size(), expected.tensors.size()) << what;
  for (const auto &[name, stored] : expected.tensors) {
    ASSERT_TRUE(found.tensors.count(name)) << what << ": " << name;
    double difference = 0, norm = 0;
    for (auto [a, b] : llvm::zip_equal(found.tensors.at(name).tensor.values, stored.tensor.values)) {
      difference += (a - b) * (a - b);
      norm += b * b;
    }
    EXPECT_LE(std::sqrt(difference), 1e-7 * std::sqrt(norm) + 1e-12) << what << ": " << name;
  }
}

class Split : public ::testing::TestWithParam<const char *> {};

// Micro-batches, replicas (which draw the numbers of their samples for dropout), sharded and whole states, stages (with parameters tied
// across them), both schedules, recomputation.
TEST_P(Split, TrainsLikeOneDevice) {
  Outcome expected = runSteps(GetParam(), "", "adamw", 3);
  for (const char *config :
       {"num_micro_batches=4", "data_parallel=4", "data_parallel=2,num_micro_batches=2,zero=1", "num_stages=2,num_micro_batches=4",
        "num_stages=2,num_micro_batches=4,schedule=gpipe", "num_stages=4,num_micro_batches=4,data_parallel=2,zero=1",
        "num_stages=3,num_micro_batches=2,data_parallel=2,recomputation=full",
        "num_stages=2,num_micro_batches=2,data_parallel=4,zero=1,recomputation=selective"})
    expectEqual(runSteps(GetParam(), config, "adamw", 3), expected, config);
}

INSTANTIATE_TEST_SUITE_P(DeviceGrid, Split, Values("tiny-llama", "tiny-gpt2", "tiny-gpt2-dropout", "tiny-mixtral", "tiny-bert", "tiny-vit"),
                         [](const ::testing::TestParamInfo<const char *> &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Who runs when differs from thread to thread; no number may.
TEST(DeviceGrid, ComputesTheSameOnAnyNumberOfThreads) {
  for (const char *config : {"data_parallel=8,zero=1", "num_stages=4,num_micro_batches=4,data_parallel=2,zero=1"}) {
    Outcome expected = runSteps("tiny-gpt2-dropout", config, "adamw,max_gradient_norm=0.01", 3);
    for (int threads : {2, 5, 16}) {
      Outcome found = runSteps("tiny-gpt2-dropout", config, "adamw,max_gradient_norm=0.01", 3, threads);
      EXPECT_EQ(found.losses, expected.losses) << config << " on " << threads;
      ASSERT_EQ(found.tensors.size(), expected.tensors.size());
      for (const auto &[name, stored] : expected.tensors)
        EXPECT_EQ(found.tensors.at(name).tensor.values, stored.tensor.values) << name << ", " << config << " on " << threads;
    }
  }
}

// Two tables that the first stage looks up and the last multiplies by, in another order: each must be summed with itself.
TEST(DeviceGrid, SumsTiedParametersInOneOrder) {
  Outcome expected = runSteps("small-tied-tables", "", "adamw", 3);
  for (const char *config : {"num_stages=2", "num_stages=2,num_micro_batches=2,data_parallel=2,zero=1", "num_stages=3,num_micro_batches=4"})
    expectEqual(runSteps("small-tied-tables", config, "adamw", 3), expected, config);
  const std::string clipped = "sgd,learning_rate=0.5,max_gradient_norm=0.01";
  expectEqual(runSteps("small-tied-tables", "num_stages=2", clipped, 2), runSteps("small-tied-tables", "", clipped, 2), clipped);
}

TEST(DeviceGrid, SaysWhoMeetsWithOtherTensors) {
  TestContext context;
  auto stage = [](int number, const char *size) {
    std::string type = std::string("!moai.tensor<[") + size + "], f32>", name = "@stage" + std::to_string(number);
    return "func.func private " + name + ".forward(%x: " + type + ") {\n%0 = moai.all_reduce %x {stages = array<i64: 0, 1>} : (" + type +
           ") -> " + type + "\nreturn\n}\nfunc.func " + name + "(%x: " + type +
           " {moai.role = \"buffer\"}) attributes {moai.schedule = array<i64: 1>} {\ncall " + name + ".forward(%x) : (" + type +
           ") -> ()\nreturn\n}\n";
  };
  auto module = mlir::parseSourceString<mlir::ModuleOp>(
      "module attributes {moai.config = #moai.config<\"num_stages=2,num_micro_batches=1\">} {\n" + stage(0, "2") + stage(1, "3") + "}",
      &context);
  ASSERT_TRUE(module);
  auto grid = DeviceGrid::create(*module, {});
  ASSERT_TRUE(grid.ok()) << grid.status();
  ASSERT_TRUE((*grid)->set(0, 0, std::make_shared<Tensor>(std::vector<int64_t>{2})).ok());
  ASSERT_TRUE((*grid)->set(1, 0, std::make_shared<Tensor>(std::vector<int64_t>{3})).ok());
  EXPECT_EQ((*grid)->runStep(1).status().message(), "device 0's moai.all_reduce meets device 1's moai.all_reduce, with other tensors");
}

// A norm that every gradient of tiny-gpt2 exceeds together: the factor needs all stages, shards and tied parameters, once each.
TEST(DeviceGrid, ClipsByTheNormOverAllDevices) {
  const std::string clipped = "sgd,learning_rate=0.5,momentum=0.9,max_gradient_norm=0.01";
  Outcome expected = runSteps("tiny-gpt2", "", clipped, 2);
  Outcome unclipped = runSteps("tiny-gpt2", "", "sgd,learning_rate=0.5,momentum=0.9", 2);
  EXPECT_GT(std::abs(expected.losses[1] - unclipped.losses[1]), 1e-3);
  for (const char *config :
       {"data_parallel=2,zero=1", "num_stages=2,num_micro_batches=2", "num_stages=4,num_micro_batches=2,data_parallel=2,zero=1"})
    expectEqual(runSteps("tiny-gpt2", config, clipped, 2), expected, config);
}

// With a float32 master the small updates of a bfloat16 parameter add up; without, they are rounded away.
TEST(DeviceGrid, MastersKeepWhatLowPrecisionLoses) {
  TestContext context;
  auto module = mlir::parseSourceString<mlir::ModuleOp>(R"(
    module attributes {moai.binding = array<i64: 1, 1, 1, 1>} {
      func.func @step(%x: !moai.tensor<[b, 2], bf16> {moai.name = "x", moai.role = "input"},
                      %w: !moai.tensor<[2], bf16> {moai.name = "w", moai.role = "parameter"}) -> !moai.tensor<[], bf16> {
        %0 = moai.elementwise %x, %w {kind = "mul"} : (!moai.tensor<[b, 2], bf16>, !moai.tensor<[2], bf16>) -> !moai.tensor<[b, 2], bf16>
        %1 = moai.reduce %0 {dims = array<i64: 0, 1>, keep_dims = false, kind = "sum"} : (!moai.tensor<[b, 2], bf16>) -> !moai.tensor<[], bf16>
        return %1 : !moai.tensor<[], bf16>
      }
    })",
                                                        &context);
  ASSERT_TRUE(module);
  ASSERT_EQ(buildTrainingGraph(*module), absl::OkStatus());
  auto weightAfter = [&](const char *policy) {
    ModelTensors tensors(*module, {});
    StoredTensors given;
    given["w"] = given["x"] = {"BF16", Tensor(std::vector<int64_t>{2})};
    given["w"].tensor.values = {1, 1};
    given["x"].tensor.shape = {1, 2};
    given["x"].tensor.values = {1, -1};
    EXPECT_TRUE(tensors.takeWeights(given, "w").ok());
    EXPECT_TRUE(tensors.takeInputs(given, "x").ok());
    auto program = compileForTest(*module, "", policy);
    auto run = TrainingRun::create(tensors, *program, {});
    for (int i = 0; i < 32; ++i)
      EXPECT_TRUE(run->run(false).ok());
    return run->state().at("updated.w").tensor.values;
  };
  // Steps of 2^-10: half of what separates numbers above 1, a quarter of it below, where they round to even.
  EXPECT_EQ(weightAfter("sgd,learning_rate=0.0009765625"), (std::vector<double>{1, 1}));
  EXPECT_EQ(weightAfter("sgd,learning_rate=0.0009765625,master=f32"), (std::vector<double>{1 - 0.03125, 1.03125}));
}

TEST(DeviceGrid, TakesCompiledCandidatesOnly) {
  TestContext context;
  ImportedModel model = importTrainingGraph("tiny-gpt2", context);
  EXPECT_EQ(DeviceGrid::create(*model.module, {}).status().message(), "the module has no moai.config, so it is no compiled candidate");
  (*model.module)->setAttr(attrs::kConfig, ConfigAttr::get(&context, "num_stages=1"));
  EXPECT_EQ(DeviceGrid::create(*model.module, {}).status().message(), "the module has no function @stage0 with a schedule");
  auto program = compileForTest(*model.module, "num_micro_batches=2");
  ModelTensors tensors(*model.module, model.tiedParameters);
  tensors.fillTheRest(0);
  (*program)->setAttr(attrs::kConfig, ConfigAttr::get(&context, "num_micro_batches=2,batch_per_device=3"));
  EXPECT_EQ(TrainingRun::create(tensors, *program, {}).status().message(),
            "the configuration is for a batch of 6, the inputs hold 8 samples");
}

// A stage that was told to receive first and to send afterwards, on both sides.
TEST(DeviceGrid, SaysWhoWaitsForWhom) {
  TestContext context;
  auto module = mlir::parseSourceString<mlir::ModuleOp>(R"(
    module attributes {moai.config = #moai.config<"num_stages=2,num_micro_batches=1">} {
      func.func private @stage0.forward(%x: !moai.tensor<[2], f32>) {
        %0 = moai.receive {peer = 1 : i64} : () -> !moai.tensor<[2], f32>
        moai.send %x {peer = 1 : i64} : (!moai.tensor<[2], f32>) -> ()
        return
      }
      func.func @stage0(%x: !moai.tensor<[2], f32> {moai.role = "buffer"}) attributes {moai.schedule = array<i64: 1>} {
        call @stage0.forward(%x) : (!moai.tensor<[2], f32>) -> ()
        return
      }
      func.func private @stage1.forward(%x: !moai.tensor<[2], f32>) {
        %0 = moai.receive {peer = 0 : i64} : () -> !moai.tensor<[2], f32>
        moai.send %x {peer = 0 : i64} : (!moai.tensor<[2], f32>) -> ()
        return
      }
      func.func @stage1(%x: !moai.tensor<[2], f32> {moai.role = "buffer"}) attributes {moai.schedule = array<i64: 1>} {
        call @stage1.forward(%x) : (!moai.tensor<[2], f32>) -> ()
        return
      }
    })",
                                                        &context);
  ASSERT_TRUE(module);
  auto grid = DeviceGrid::create(*module, {});
  ASSERT_TRUE(grid.ok()) << grid.status();
  for (int64_t device : {0, 1})
    ASSERT_EQ((*grid)->set(device, 0, std::make_shared<Tensor>(std::vector<int64_t>{2})), absl::OkStatus());
  EXPECT_EQ((*grid)->runStep(1).status().message(),
            "the devices wait for each other: device 0 waits at moai.receive, device 1 waits at moai.receive");
}

} // namespace
