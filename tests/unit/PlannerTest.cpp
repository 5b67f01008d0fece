//===- PlannerTest.cpp - Plans of real graphs ------------------------------===//
#include "moai/Planner/Planner.h"
#include "TestModel.h"
#include "mlir/IR/Verifier.h"
#include "moai/IR/Flops.h"

using namespace moai;

namespace {

PlanRequest requestFor(llvm::StringRef accelerator, int64_t batch, MoaiGeneration generation = MoaiGeneration::V24_2) {
  PlanRequest request;
  auto resolved = resolveAccelerator(accelerator);
  EXPECT_TRUE(resolved.ok()) << resolved.status();
  request.accelerator = *resolved;
  request.globalBatches = {batch};
  request.generation = generation;
  request.log = false;
  return request;
}

absl::StatusOr<Plan> plan(llvm::StringRef graph, const PlanRequest &request) {
  TestContext context;
  ImportOptions options;
  options.batch = request.globalBatches.front();
  ImportedModel model = importTestGraph(graph, context, options);
  return planModel(*model.module, model.summary, request);
}

// MoAI's log of 2024-04-19: 16 candidates, and this line.
TEST(Planner, ReproducesThePublishedChoice) {
  auto result = plan("qwen1.5-7b", requestFor("4xLarge.2048GB", 256));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->candidates.size(), 16u);
  EXPECT_EQ(result->selectedLine,
            "num_stages : 2, num_micro_batches : 16, batch_per_device : 1, No TP, recomputation : false, distribute_param : true");
}

// The other published Qwen run, on twice the devices.
TEST(Planner, ReproducesThePublishedChoiceOn64Devices) {
  auto result = plan("qwen1.5-7b", requestFor("8xLarge.4096GB", 256));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->candidates.size(), 22u);
  EXPECT_EQ(result->selectedLine,
            "num_stages : 2, num_micro_batches : 8, batch_per_device : 1, No TP, recomputation : false, distribute_param : true");
}

TEST(Planner, IsTheSameOnAnyNumberOfThreads) {
  std::string one;
  for (int threads : {1, 2, 7, 16}) {
    PlanRequest request = requestFor("2xLarge.1024GB", 64, MoaiGeneration::V24_5);
    request.threads = threads;
    auto result = plan("tiny-mixtral", request);
    ASSERT_TRUE(result.ok()) << result.status();
    std::string json;
    llvm::raw_string_ostream(json) << llvm::json::Value(toJSON(*result, /*withTimes=*/false));
    if (threads == 1)
      one = json;
    EXPECT_EQ(json, one) << threads << " threads";
  }
}

TEST(Planner, AStaticAndADynamicExportHaveOnePlan) {
  auto fixed = plan("qwen1.5-7b", requestFor("4xLarge.2048GB", 256)),
       dynamic = plan("qwen1.5-7b-dynamic", requestFor("4xLarge.2048GB", 256));
  ASSERT_TRUE(fixed.ok() && dynamic.ok());
  EXPECT_EQ(fixed->selected, dynamic->selected);
  for (auto [a, b] : llvm::zip(fixed->candidates, dynamic->candidates)) {
    EXPECT_EQ(a.stepSeconds, b.stepSeconds);
    EXPECT_EQ(a.rejected.has_value(), b.rejected.has_value());
  }
}

// Stages cut by time alone would not fit: the first and last hold a vocabulary of 128,256 besides their ten layers.
TEST(Planner, CutsStagesSoThatTheyFit) {
  auto result = plan("llama-3-70b", requestFor("8xLarge.4096GB", 512));
  ASSERT_TRUE(result.ok()) << result.status();
  const Candidate &best = result->candidates[*result->selected];
  EXPECT_EQ(best.config.numStages, 8);
  EXPECT_EQ(best.config.recomputation, Recomputation::Full);
  for (const StageProgram &stage : best.stages)
    EXPECT_LE(stage.memory.total(), result->memoryLimit());
}

TEST(Planner, SaysByHowMuchNothingFits) {
  auto result = plan("llama-3-70b", requestFor("4xLarge.2048GB", 256));
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(
      std::string(result.status().message()),
      testing::ContainsRegex(
          "none of the 16 candidates fits: the nearest \\(num_stages 4, .* is [0-9.]+ GiB over: device [0-9]+, of stage [0-9], needs "
          "[0-9.]+ GiB at .*moai\\..*, 51.2 GiB of each device may be used; [0-9]+xLarge.[0-9]+GB would hold it"));
}

TEST(Planner, TiesGoToTheFirst) {
  std::vector<Candidate> candidates(4);
  candidates[0].stepSeconds = 1;
  candidates[0].rejected = Rejection{"memory", "", 0, 1};
  candidates[1].stepSeconds = 3;
  candidates[2].stepSeconds = 2;
  candidates[3].stepSeconds = 2;
  EXPECT_EQ(SelectBestGraphFromCandidates(candidates), 2u);
  EXPECT_EQ(SelectBestGraphFromCandidates(llvm::ArrayRef(candidates).take_front()), std::nullopt);
}

TEST(Planner, RejectsByTheWorstStageAndNamesItsFirstRank) {
  std::vector<Candidate> candidates(2);
  candidates[0].config.numStages = 2;
  candidates[0].config.dataParallel = 8;
  candidates[0].stages.resize(2);
  candidates[0].stages[0].memory.activations = 101;
  candidates[0].stages[1].memory.activations = 150;
  candidates[1].stages.resize(1);
  candidates[1].stages[0].memory.activations = 100;
  rejectWhatDoesNotFit(candidates, 100);
  ASSERT_TRUE(candidates[0].rejected);
  EXPECT_EQ(candidates[0].rejected->bytesOver, 50);
  EXPECT_EQ(candidates[0].rejected->rank, 8);
  EXPECT_FALSE(candidates[1].rejected);
}

// Every candidate is IR that verifies, and its stages together multiply exactly as much as the whole graph does.
TEST(Planner, CandidatesLoseNoWork) {
  for (const char *graph :
       {"tiny-llama", "tiny-gpt2", "tiny-bert", "tiny-qwen2", "tiny-vit", "tiny-mixtral", "gpt2-dropout-autocast", "family-t5",
        "family-bloom", "family-cnn", "family-deepseek-v2", "family-falcon", "family-gpt-oss", "family-modernbert", "family-swin"}) {
    TestContext context;
    ImportedModel model = importTrainingGraph(graph, context);
    PlanRequest request = requestFor("8xLarge.4096GB", 256, MoaiGeneration::V24_5);
    auto configs = enumerateMoaiSpace({64, 8, {256}, MoaiGeneration::V24_5});
    ASSERT_TRUE(configs.ok());
    for (const ParallelConfig &config : *configs) {
      std::string reason;
      auto candidate = compileCandidate(*model.module, config, request, reason);
      ASSERT_TRUE(candidate) << graph << " " << toString(config) << ": " << reason;
      ASSERT_TRUE(mlir::succeeded(mlir::verify(*candidate))) << graph << " " << toString(config);
      DimBinding binding = getBinding(*candidate);
      EXPECT_EQ(binding.values[kBatchSymbol], config.batchPerDevice);
      double stages = 0;
      int64_t count = 0;
      for (auto function : candidate->getOps<mlir::func::FuncOp>())
        if (function->hasAttr(attrs::kSchedule)) {
          stages += countFlops(function, binding);
          ++count;
        }
      EXPECT_EQ(count, config.numStages);
      EXPECT_EQ(stages, countFlops(model.module->lookupSymbol<mlir::func::FuncOp>("step"), binding)) << graph << " " << toString(config);
    }
  }
}

/// Memory of the candidate's first stage.
StageMemory firstStage(const Plan &plan, Recomputation recomputation, bool lowPrecision) {
  for (const Candidate &candidate : plan.candidates)
    if (candidate.config.numStages == 2 && candidate.config.batchPerDevice == 1 && candidate.config.recomputation == recomputation &&
        candidate.config.lowPrecisionParams == lowPrecision)
      return candidate.stages.front().memory;
  ADD_FAILURE();
  return {};
}

// Counts per stage go all the way: the candidate verifies, and repeats no more and no less than it should.
TEST(Planner, CompilesCountsPerStage) {
  PlanRequest request = requestFor("4xLarge.2048GB", 256);
  request.config = *parseConfig("num_stages=2,num_micro_batches=16,data_parallel=16,zero=1,recomputation=8:4");
  auto counted = plan("qwen1.5-7b", request);
  ASSERT_TRUE(counted.ok()) << counted.status();
  request.config->recomputation = Recomputation::None;
  auto none = plan("qwen1.5-7b", request);
  ASSERT_TRUE(none.ok()) << none.status();
  // Per token, PyTorch saves of a block (hidden size h = 4096, 32 heads, ffn f = 11008, bf16): 8h for each of two RMSNorms in fp32, 6h
  // for query, key and value, 2h of attention and 4 per head, and 8f. Recomputed, it saves its input of 2h. Two micro-batches are
  // in flight on stage 0 and one on stage 1.
  double perBlock = 2048.0 * ((16 + 6 + 2 - 2) * 4096 + 8 * 11008 + 4 * 32);
  auto freed = [&](size_t stage) {
    return static_cast<double>(none->candidates[0].stages[stage].memory.activations -
                               counted->candidates[0].stages[stage].memory.activations);
  };
  EXPECT_NEAR(freed(0), 2 * 8 * perBlock, 0.01 * freed(0));
  EXPECT_NEAR(freed(1), 4 * perBlock, 0.01 * freed(1));
  EXPECT_GT(counted->candidates[0].stages[0].recomputeSeconds, 1.9 * counted->candidates[0].stages[1].recomputeSeconds);
  EXPECT_LT(counted->candidates[0].stages[0].recomputeSeconds, 2.1 * counted->candidates[0].stages[1].recomputeSeconds);

  request.config->recomputation = *parseRecomputation("40:1");
  EXPECT_THAT(std::string(plan("qwen1.5-7b", request).status().message()),
              testing::HasSubstr("recomputation is to repeat 40 blocks of stage 0, which has 31 of the model's 32; give at most as many"));
}

// What recomputation and precision are for: less saved, and a copy half as large.
TEST(Planner, RecomputationAndPrecisionTradeMemoryAsTheyShould) {
  PlanRequest request = requestFor("4xLarge.2048GB", 256, MoaiGeneration::V24_5);
  auto result = plan("qwen1.5-7b", request);
  ASSERT_TRUE(result.ok()) << result.status();
  StageMemory none = firstStage(*result, Recomputation::None, true), selective = firstStage(*result, Recomputation::Selective, true),
              full = firstStage(*result, Recomputation::Full, true), wide = firstStage(*result, Recomputation::None, false);
  EXPECT_LT(selective.activations, none.activations);
  EXPECT_LT(full.activations, selective.activations / 4);
  // Two micro-batches in flight save the inputs of at most 32 layers, and the first what isn't in a layer.
  EXPECT_LT(full.activations, int64_t(2) * 33 * 2048 * 4096 * 2 * 2);
  // fp32 instead of bf16 adds as many bytes as the bf16 gradients have.
  EXPECT_EQ(wide.parameters - none.parameters, none.gradients);
}

} // namespace
