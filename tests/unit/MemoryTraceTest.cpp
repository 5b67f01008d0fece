// The plan of a device's memory three ways: PlanMemory's peak, the trace of every op, and what a virtual device really used.
#include "moai/Passes/MemoryTrace.h"
#include "TestModel.h"
#include "moai/CostModel/GraphCost.h"
#include "moai/Execute/TrainingRun.h"
#include <random>

using namespace moai;
using ::testing::HasSubstr;
using ::testing::Values;

namespace {

//===----------------------------------------------------------------------===//
// Offsets
//===----------------------------------------------------------------------===//

MemoryTimeline randomTimeline(unsigned seed, size_t count) {
  std::mt19937 random(seed);
  MemoryTimeline timeline;
  timeline.use.assign(60, 0);
  for (size_t i = 0; i < count; ++i) {
    StorageInterval storage;
    storage.name = std::to_string(i);
    storage.bytes = 1 + random() % 100;
    storage.begin = random() % 50;
    storage.end = storage.begin + 1 + random() % 10;
    for (size_t op = storage.begin; op < storage.end; ++op)
      timeline.use[op] += storage.bytes;
    timeline.storages.push_back(storage);
  }
  return timeline;
}

TEST(MemoryTimeline, OffsetsNeverOverlap) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    MemoryTimeline timeline = randomTimeline(seed, 1 + seed * 2);
    assignOffsets(timeline);
    EXPECT_EQ(verify(timeline), absl::OkStatus()) << "seed " << seed;
    EXPECT_GE(timeline.arenaBytes, timeline.peak()) << "seed " << seed;
    // All pairs, without the cleverness of verify.
    for (const StorageInterval &a : timeline.storages)
      for (const StorageInterval &b : timeline.storages)
        if (&a < &b && a.begin < b.end && b.begin < a.end) {
          EXPECT_TRUE(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset)
              << "seed " << seed << ": " << a.name << ", " << b.name;
        }
  }
}

// 10 and 20 side by side; what the first frees is taken by the next that fits, so three storages need no more than two.
TEST(MemoryTimeline, ReusesTheSmallestGapThatFits) {
  MemoryTimeline timeline;
  for (auto [bytes, begin, end] : {std::tuple(10, 0, 1), {20, 0, 3}, {8, 1, 3}, {2, 2, 3}})
    timeline.storages.push_back({"temporaries", "", bytes, static_cast<size_t>(begin), static_cast<size_t>(end), 0});
  timeline.use = {30, 28, 30};
  assignOffsets(timeline);
  std::vector<int64_t> offsets;
  for (const StorageInterval &storage : timeline.storages)
    offsets.push_back(storage.offset);
  EXPECT_EQ(offsets, (std::vector<int64_t>{0, 10, 0, 8}));
  EXPECT_EQ(timeline.arenaBytes, 30);
}

TEST(MemoryTimeline, VerifyFindsOverlaps) {
  MemoryTimeline timeline = randomTimeline(3, 40);
  assignOffsets(timeline);
  ASSERT_EQ(verify(timeline), absl::OkStatus());
  MemoryTimeline moved = timeline;
  for (StorageInterval &storage : moved.storages)
    storage.offset = 0;
  EXPECT_THAT(std::string(verify(moved).message()), HasSubstr("overlap while op"));
  timeline.arenaBytes -= 1;
  EXPECT_THAT(std::string(verify(timeline).message()), HasSubstr("lies outside of the arena"));
}

//===----------------------------------------------------------------------===//
// Planned, traced, used
//===----------------------------------------------------------------------===//

const char *const kConfigs[] = {"",
                                "num_micro_batches=4",
                                "recomputation=full",
                                "recomputation=selective,num_micro_batches=2",
                                "data_parallel=2,zero=1",
                                "data_parallel=2,zero=1,num_micro_batches=2",
                                "num_stages=2,num_micro_batches=4",
                                "num_stages=4,num_micro_batches=4,schedule=gpipe",
                                "num_stages=2,num_micro_batches=4,data_parallel=2,zero=1,recomputation=full"};

StageMemory plannedMemory(mlir::func::FuncOp stage, const Accelerator &accelerator) {
  return GraphCost(accelerator, getBinding(stage->getParentOp()), 1).measureStage(stage, DeviceMesh()).memory;
}

class Memory : public ::testing::TestWithParam<const char *> {};

// The executor frees storages when C++ does; the trace counts uses; the plan looks at each function once, and of a repeat at the
// iterations that differ. Byte for byte the same, at every op.
TEST_P(Memory, IsWhatTheDevicesUse) {
  TestContext context;
  ImportOptions importOptions;
  importOptions.bufferUpdates = true;
  importOptions.batch = 8;
  ImportedModel model = importTrainingGraph(GetParam(), context, importOptions);
  setBinding(*model.module, model.summary.binding);
  Accelerator accelerator = *resolveAccelerator("h100:8");
  for (const char *config : kConfigs)
    for (const char *optimizer : {"adamw", "sgd,momentum=0.9,master=f32,max_gradient_norm=1"}) {
      SCOPED_TRACE(testing::Message() << config << ", " << optimizer);
      ModelTensors tensors(*model.module, model.tiedParameters);
      tensors.fillTheRest(1);
      auto rolled = compileRolled(*model.module, config, optimizer), program = compileForTest(*model.module, config, optimizer);
      ExecuteOptions options;
      options.keepMemoryCurve = true;
      auto run = TrainingRun::create(tensors, *program, options);
      ASSERT_TRUE(run.ok()) << run.status();
      for (int i = 0; i < 2; ++i) // the second step starts from what the first one left
        ASSERT_TRUE(run->run(false).ok());
      const DeviceGrid &devices = run->devices();
      for (int64_t device = 0; device < devices.numDevices(); ++device) {
        std::string name = "stage" + std::to_string(devices.mesh().stageOf(device));
        auto stage = program->lookupSymbol<mlir::func::FuncOp>(name);
        MemoryTimeline traced = traceMemory(stage, {});
        EXPECT_EQ(verify(traced), absl::OkStatus());
        EXPECT_EQ(devices.memoryCurve(device), llvm::ArrayRef<int64_t>(traced.use)) << "device " << device;
        StageMemory planned = plannedMemory(rolled->lookupSymbol<mlir::func::FuncOp>(name), accelerator);
        EXPECT_EQ(planned.total(), traced.peak()) << "device " << device << ", " << planned.peakPhase << ", " << planned.peakOp;
        EXPECT_EQ(devices.peakBytes(device), traced.peak()) << "device " << device;
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Planned, Memory, Values("tiny-llama", "tiny-gpt2", "tiny-mixtral", "tiny-vit", "family-t5", "family-cnn"),
                         [](const ::testing::TestParamInfo<const char *> &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// At the peak of the trace each category holds what the plan says.
TEST(MemoryTrace, AgreesByCategory) {
  TestContext context;
  ImportedModel model = importTrainingGraph("gpt2", context);
  Accelerator accelerator = *resolveAccelerator("h100:8");
  for (const char *config : {"num_micro_batches=2", "num_stages=2,num_micro_batches=2", "num_micro_batches=2,recomputation=full"}) {
    auto program = compileForTest(*model.module, config);
    auto stage = program->lookupSymbol<mlir::func::FuncOp>("stage0");
    MemoryTimeline traced = traceMemory(stage, {});
    StageMemory planned = plannedMemory(stage, accelerator);
    ASSERT_EQ(planned.total(), traced.peak()) << config;
    size_t peak = std::max_element(traced.use.begin(), traced.use.end()) - traced.use.begin();
    std::map<std::string, int64_t> bytes;
    for (const StorageInterval &storage : traced.storages)
      if (storage.begin <= peak && peak < storage.end)
        bytes[storage.category] += storage.bytes;
    EXPECT_EQ(bytes["parameters"], planned.parameters) << config;
    EXPECT_EQ(bytes["optimizer_states"], planned.optimizerStates) << config;
    EXPECT_EQ(bytes["inputs"], planned.inputs) << config;
    EXPECT_EQ(bytes["buffers"], planned.buffers) << config;
    EXPECT_EQ(bytes["gradients"], planned.gradients) << config;
  }
}

// 512-byte blocks and a workspace add to what the program asks for: never less, and no more than a block per storage.
TEST(MemoryTrace, GranularityAndWorkspaceCount) {
  TestContext context;
  ImportedModel model = importTrainingGraph("tiny-llama", context);
  auto program = compileForTest(*model.module, "");
  auto stage = program->lookupSymbol<mlir::func::FuncOp>("stage0");
  MemoryTimeline exact = traceMemory(stage, {}), blocks = traceMemory(stage, {512, 1 << 20});
  ASSERT_EQ(exact.storages.size(), blocks.storages.size());
  for (auto [a, b] : llvm::zip(exact.storages, blocks.storages)) {
    EXPECT_EQ(b.bytes % 512, 0) << b.name;
    EXPECT_GE(b.bytes, a.bytes) << b.name;
    EXPECT_LT(b.bytes, a.bytes + 512) << b.name;
  }
  EXPECT_EQ(blocks.peak(), *std::max_element(blocks.use.begin(), blocks.use.end()) + (1 << 20));
}

} // namespace
