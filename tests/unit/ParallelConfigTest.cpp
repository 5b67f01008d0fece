//===- ParallelConfigTest.cpp - One way of splitting a training step --------===//
#include "moai/Plan/ParallelConfig.h"
#include "moai/Plan/Cost.h"
#include "gtest/gtest.h"
#include <limits>

using namespace moai;

namespace {
TEST(ParallelConfig, ReadsMoaisQwenRun) {
  // Qwen1.5-7B on 4xLarge: num_stages 2, num_micro_batches 16, batch_per_device 1 at a global batch of 256 on 32 devices.
  absl::StatusOr<ParallelConfig> config = parseConfig(" num_stages=2, num_micro_batches = 16,batch_per_device=1,data_parallel=16,zero=1");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->globalBatch(), 256);
  EXPECT_EQ(config->numDevices(), 32);
  EXPECT_TRUE(config->lowPrecisionParams);
  EXPECT_EQ(config->recomputation, Recomputation::None);
  EXPECT_EQ(config->schedule, ScheduleKind::OneFOneB);
}

TEST(ParallelConfig, PrintsEveryField) {
  EXPECT_EQ(toString(ParallelConfig()),
            "num_stages=1,num_micro_batches=1,batch_per_device=1,data_parallel=1,tensor_parallel=1,context_parallel=1,"
            "expert_parallel=1,sequence_parallel=false,zero=0,low_precision_params=true,recomputation=none,schedule=1f1b,"
            "virtual_stages=1");
  EXPECT_EQ(*parseConfig(""), ParallelConfig());
}

TEST(ParallelConfig, RoundTripsEveryKey) {
  for (const char *text :
       {"num_stages=4", "num_micro_batches=7", "batch_per_device=3", "data_parallel=5", "tensor_parallel=2", "context_parallel=9",
        "data_parallel=4,expert_parallel=2", "tensor_parallel=2,sequence_parallel=true", "zero=3", "low_precision_params=false",
        "recomputation=selective", "recomputation=full", "recomputation=8", "num_stages=3,recomputation=8:0:4", "schedule=gpipe",
        "schedule=interleaved-1f1b,virtual_stages=3", "schedule=zb-h1", "schedule=zb-h2", "schedule=zb-v,virtual_stages=2"}) {
    absl::StatusOr<ParallelConfig> config = parseConfig(text);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_NE(*config, ParallelConfig()) << text;
    std::string printed = toString(*config);
    absl::StatusOr<ParallelConfig> again = parseConfig(printed);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, *config);
    llvm::StringRef last = llvm::StringRef(text).rsplit(',').second;
    EXPECT_NE(printed.find(last.empty() ? text : last.str()), std::string::npos) << printed;
  }
}

TEST(ParallelConfig, JsonHasTheSameNames) {
  ParallelConfig config;
  config.tensorParallel = 8;
  config.sequenceParallel = true;
  config.recomputation = Recomputation::Selective;
  llvm::json::Object json = toJSON(config);
  EXPECT_EQ(json.size(), 13u);
  EXPECT_EQ(json.getInteger("tensor_parallel"), 8);
  EXPECT_EQ(json.getBoolean("sequence_parallel"), true);
  EXPECT_EQ(json.getString("recomputation"), llvm::StringRef("selective"));
  EXPECT_EQ(json.getString("schedule"), llvm::StringRef("1f1b"));
  config.recomputation = *parseRecomputation("8:4");
  EXPECT_EQ(*toJSON(config).get("recomputation"), llvm::json::Value(llvm::json::Array{8, 4}));
}

TEST(ParallelConfig, RefusesWithOneSentence) {
  struct Case {
    const char *text, *message;
  } cases[] = {
      {"num_stage=2", "unknown configuration key 'num_stage', expected one of num_stages, num_micro_batches, batch_per_device, "
                      "data_parallel, tensor_parallel, context_parallel, expert_parallel, sequence_parallel, zero, "
                      "low_precision_params, recomputation, schedule, virtual_stages"},
      {"num_stages", "configuration item 'num_stages' has no '=', expected key=value,key=value"},
      {"zero=1,", "configuration item '' has no '=', expected key=value,key=value"},
      {"zero=1,zero=1", "configuration key 'zero' is given twice"},
      {"num_stages=two", "num_stages is 'two', expected a 64-bit integer"},
      {"num_stages=99999999999999999999", "num_stages is '99999999999999999999', expected a 64-bit integer"},
      {"num_stages=", "num_stages is '', expected a 64-bit integer"},
      {"num_stages=0", "num_stages is 0, expected at least 1"},
      {"batch_per_device=-4", "batch_per_device is -4, expected at least 1"},
      {"zero=4", "zero is 4, expected 0, 1, 2 or 3"},
      {"sequence_parallel=1", "sequence_parallel is '1', expected true or false"},
      {"sequence_parallel=true", "sequence_parallel is true, which needs a tensor_parallel of at least 2; found 1"},
      {"recomputation=half", "recomputation is 'half', expected one of none, selective, full, or how many blocks of each stage, as in 8:4"},
      {"num_stages=2,recomputation=8:-4",
       "recomputation is '8:-4', expected one of none, selective, full, or how many blocks of each stage, as in 8:4"},
      {"num_stages=2,recomputation=8:",
       "recomputation is '8:', expected one of none, selective, full, or how many blocks of each stage, as in 8:4"},
      {"num_stages=3,recomputation=8:4", "recomputation is 8:4, expected a count for each of the 3 stages"},
      {"schedule=zb-h1,recomputation=4", "recomputation is 4, but schedule zb-h1 needs none"},
      {"schedule=1F1B", "schedule is '1F1B', expected one of gpipe, 1f1b, interleaved-1f1b, zb-h1, zb-h2, zb-v"},
      {"data_parallel=4,context_parallel=2,expert_parallel=3",
       "expert_parallel is 3, expected a divisor of data_parallel x context_parallel = 8"},
      {"virtual_stages=2", "virtual_stages is 2, but schedule 1f1b has one; use interleaved-1f1b or leave virtual_stages at 1"},
      {"schedule=interleaved-1f1b", "virtual_stages is 1, but schedule interleaved-1f1b needs at least 2; use 1f1b"},
      {"schedule=interleaved-1f1b,virtual_stages=2,num_stages=4,num_micro_batches=6",
       "num_micro_batches is 6, but schedule interleaved-1f1b needs a multiple of num_stages = 4"},
      {"schedule=zb-v", "virtual_stages is 1, but schedule zb-v needs 2"},
      {"schedule=zb-h1,recomputation=full", "recomputation is full, but schedule zb-h1 needs none"},
  };
  for (const Case &c : cases) {
    absl::StatusOr<ParallelConfig> config = parseConfig(c.text);
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_EQ(config.status().message(), c.message);
  }
}

TEST(ParallelConfig, ProductsSaturate) {
  ParallelConfig config;
  config.numStages = config.dataParallel = config.numMicroBatches = int64_t(1) << 40;
  EXPECT_EQ(config.numDevices(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(config.globalBatch(), std::numeric_limits<int64_t>::max());
}

TEST(Cost, PartsAddUpAndPrint) {
  CostBreakdown cost{1, 2, 4, 8, 16, 32, 64, 128};
  EXPECT_EQ(cost.total(), 255);
  llvm::json::Object json = toJSON(cost);
  EXPECT_EQ(json.getNumber("parameter_gather"), 32.0);
  EXPECT_EQ(json.getNumber("optimizer"), 128.0);
  double sum = 0;
  for (auto &entry : json)
    sum += *entry.second.getAsNumber();
  EXPECT_EQ(sum, 2 * 255); // the parts and the total

  StageMemory memory;
  int64_t size = 1;
  for (auto *part : {&memory.parameters, &memory.gradients, &memory.optimizerStates, &memory.activations, &memory.temporaries,
                     &memory.buffers, &memory.inputs, &memory.workspace}) {
    *part = size;
    size *= 2;
  }
  memory.saved = 8;
  EXPECT_EQ(memory.total(), 255);
  json = toJSON(memory);
  EXPECT_EQ(json.getInteger("peak"), 255);
  EXPECT_EQ(json.getInteger("saved_at_end_of_forward"), 8);
  int64_t parts = 0;
  for (auto &entry : *json.getObject("at_peak"))
    parts += *entry.second.getAsInteger();
  EXPECT_EQ(parts, 255);
  EXPECT_EQ(json.getObject("at_peak")->getInteger("optimizer_states"), 4);
}
TEST(ParallelConfig, DerivesWhatIsNotGiven) {
  auto derive = [](const char *text, int64_t devices, int64_t batch) {
    auto config = deriveConfig(text, devices, batch);
    return config.ok() ? *config : ParallelConfig();
  };
  ParallelConfig plain = derive("", 8, 32);
  EXPECT_EQ(plain.dataParallel, 8);
  EXPECT_EQ(plain.batchPerDevice, 4);
  EXPECT_EQ(plain.numMicroBatches, 1);
  ParallelConfig staged = derive("num_stages=2,batch_per_device=1,zero=1", 8, 32);
  EXPECT_EQ(staged.dataParallel, 4);
  EXPECT_EQ(staged.numMicroBatches, 8);
  EXPECT_EQ(staged.globalBatch(), 32);
  EXPECT_EQ(staged.numDevices(), 8);
  EXPECT_EQ(derive("tensor_parallel=4,num_micro_batches=2", 8, 32).batchPerDevice, 8);
  // Contradicts the default data_parallel of 1, but not the derived one.
  EXPECT_EQ(derive("expert_parallel=8", 8, 32).expertParallel, 8);
}

TEST(ParallelConfig, SaysWhichValuesWouldWork) {
  auto refusal = [](const char *text, int64_t devices, int64_t batch) {
    return std::string(deriveConfig(text, devices, batch).status().message());
  };
  EXPECT_EQ(refusal("num_stages=3", 8, 32),
            "num_stages x tensor_parallel x context_parallel is 3, expected a divisor of the 8 devices: 1, 2, 4 or 8");
  EXPECT_EQ(refusal("data_parallel=2", 8, 32), "the configuration is for 2 devices, the accelerator has 8");
  EXPECT_EQ(refusal("", 8, 12), "data_parallel is 8, expected a divisor of the global batch of 12: 1, 2, 3, 4, 6 or 12");
  EXPECT_EQ(refusal("num_micro_batches=5", 8, 32),
            "num_micro_batches is 5, expected a divisor of the 4 samples of one data-parallel replica: 1, 2 or 4");
  EXPECT_EQ(refusal("num_micro_batches=2,batch_per_device=1", 8, 32),
            "batch_per_device x num_micro_batches x data_parallel is 16, the global batch is 32; leave one of them out");
  EXPECT_EQ(refusal("num_stages=0", 8, 32), "num_stages is 0, expected at least 1");
}

} // namespace
