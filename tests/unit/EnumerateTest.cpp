//===- EnumerateTest.cpp - The candidates that MoAI tries -------------------===//
#include "moai/Planner/Enumerate.h"
#include "gtest/gtest.h"
#include <algorithm>

using namespace moai;

namespace {
constexpr auto V24_2 = MoaiGeneration::V24_2, V24_4 = MoaiGeneration::V24_4, V24_5 = MoaiGeneration::V24_5;

std::string failure(const SearchSpaceRequest &request) { return std::string(enumerateMoaiSpace(request).status().message()); }

// `The number of candidates is N` of MoAI's published logs.
TEST(Enumerate, GivesThePublishedCounts) {
  struct Case {
    const char *log;
    SearchSpaceRequest request;
    size_t count;
  } cases[] = {
      {"Cerebras-GPT-13B, 4xLarge, batch 32, 24.2.0", {32, 4, {32}, V24_2}, 6},
      {"Qwen1.5-7B, 4xLarge, batch 256, 24.2.0", {32, 4, {256}, V24_2}, 16},
      {"Qwen1.5-7B, 8xLarge, batch 256", {64, 8, {256}, V24_2}, 22},
      {"Meta-Llama-3-8B, 4xLarge, batches 256 and 1, 24.5.0", {32, 4, {256, 1}, V24_5}, 6},
      {"Llama-2-13b, 4xLarge, batch 256, 24.5.0", {32, 4, {256}, V24_5}, 54},
  };
  for (const Case &c : cases) {
    absl::StatusOr<std::vector<ParallelConfig>> candidates = enumerateMoaiSpace(c.request);
    ASSERT_TRUE(candidates.ok()) << c.log << ": " << candidates.status();
    EXPECT_EQ(candidates->size(), c.count) << c.log;
  }
}

// The configurations that MoAI chose in those logs are among the candidates.
TEST(Enumerate, HasThePublishedChoices) {
  struct Case {
    SearchSpaceRequest request;
    const char *line;
  } cases[] = {
      {{32, 4, {32}, V24_2},
       "num_stages : 4, num_micro_batches : 4, batch_per_device : 1, No TP, recomputation : true, distribute_param : true"},
      {{32, 4, {256}, V24_2},
       "num_stages : 2, num_micro_batches : 16, batch_per_device : 1, No TP, recomputation : false, distribute_param : true"},
      {{64, 8, {256}, V24_2},
       "num_stages : 2, num_micro_batches : 8, batch_per_device : 1, No TP, recomputation : false, distribute_param : true"},
      {{32, 4, {256}, V24_5}, "No PP, No TP, recomputation : default(1), distribute_param : true, distribute_low_prec_param : true"},
      {{32, 4, {256, 1}, V24_5}, "No PP, No TP, recomputation : default(1), distribute_param : true, distribute_low_prec_param : false"},
  };
  for (const Case &c : cases) {
    absl::StatusOr<std::vector<ParallelConfig>> candidates = enumerateMoaiSpace(c.request);
    ASSERT_TRUE(candidates.ok());
    int found = 0;
    for (const ParallelConfig &config : *candidates)
      found += formatMoaiLine(config, c.request.generation) == c.line;
    EXPECT_EQ(found, 1) << c.line;
  }
}

TEST(Enumerate, AgreesWithTryingEverything) {
  for (auto [devices, nodes] : {std::pair<int64_t, int64_t>{1, 1}, {8, 1}, {12, 1}, {16, 2}, {24, 3}, {32, 4}, {48, 6}, {64, 8}})
    for (int64_t batch : {1, 8, 16, 31, 32, 48, 96, 256, 1024})
      for (MoaiGeneration generation : {V24_2, V24_4, V24_5}) {
        size_t shapes = generation != V24_2 && batch % devices == 0;
        for (int64_t stages = 2; stages <= nodes; ++stages)
          for (int64_t perDevice = 1; perDevice <= 8; ++perDevice)
            for (int64_t microBatches = 2; microBatches <= batch; ++microBatches)
              shapes += (stages & (stages - 1)) == 0 && (perDevice & (perDevice - 1)) == 0 &&
                        perDevice * microBatches * devices == batch * stages && devices % stages == 0;
        absl::StatusOr<std::vector<ParallelConfig>> candidates = enumerateMoaiSpace({devices, nodes, {batch}, generation});
        size_t perShape = generation == V24_2 ? 2 : generation == V24_4 ? 5 : 6;
        EXPECT_EQ(candidates.ok() ? candidates->size() : 0, shapes * perShape) << devices << " devices, batch " << batch;
        if (!candidates.ok())
          continue;
        for (size_t i = 0; i < candidates->size(); ++i) {
          const ParallelConfig &config = (*candidates)[i];
          EXPECT_TRUE(checkConfig(config).ok()) << checkConfig(config);
          EXPECT_EQ(config.globalBatch(), batch);
          EXPECT_EQ(config.numDevices(), devices);
          EXPECT_EQ(config.zero, 1);
          EXPECT_TRUE(generation != V24_2 || config.lowPrecisionParams);
          EXPECT_EQ(std::count(candidates->begin(), candidates->end(), config), 1);
        }
      }
}

TEST(Enumerate, SuggestsBatches) {
  EXPECT_EQ(failure({32, 4, {33}, V24_5}), "MoAI 24.5 has no candidate for a global batch of 33 on 32 devices in 4 nodes; "
                                           "the nearest that have one are 32 and 40");
  EXPECT_EQ(failure({32, 4, {5}, V24_2}), "MoAI 24.2 has no candidate for a global batch of 5 on 32 devices in 4 nodes; "
                                          "the nearest that has one is 16");
  EXPECT_EQ(failure({24, 3, {100}, V24_4}), "MoAI 24.4 has no candidate for a global batch of 100 on 24 devices in 3 nodes; "
                                            "the nearest that have one are 96 and 108");
  EXPECT_EQ(failure({32, 4, {100, 4}, V24_5}), "MoAI 24.5 has no candidate for a global batch of 100 on 32 devices in 4 nodes; "
                                               "the nearest that have one are 96 and 128");
  EXPECT_EQ(failure({8, 1, {8}, V24_2}), "MoAI 24.2 has no candidate for a global batch of 8 on 8 devices in 1 node: it tries "
                                         "pipelines only, which need two nodes; use more nodes or 24.4 or later");
  EXPECT_EQ(failure({9, 3, {int64_t(1) << 40}, V24_2}), "MoAI 24.2 has no candidate for a global batch of 1099511627776 on 9 devices "
                                                        "in 3 nodes; no batch size has one");
  EXPECT_EQ(failure({32, 4, {256, 1}, V24_2}),
            "MoAI 24.2 has no candidate for a global batch of 256 on 32 devices in 4 nodes: with several batch sizes only a step "
            "without pipeline is left, which it does not try; use one batch size or 24.4 or later");
}

TEST(Enumerate, SuggestionsAreTheNearest) {
  for (auto [devices, nodes] : {std::pair<int64_t, int64_t>{8, 1}, {16, 2}, {24, 3}, {32, 4}, {64, 8}})
    for (MoaiGeneration generation : {V24_2, V24_5})
      for (int64_t batch = 1; batch < 200; ++batch) {
        if (generation == V24_2 && nodes == 1)
          continue;
        std::string message = failure({devices, nodes, {batch}, generation});
        if (message.empty())
          continue;
        int64_t below = batch, above = batch;
        while (below > 0 && !enumerateMoaiSpace({devices, nodes, {below}, generation}).ok())
          --below;
        while (!enumerateMoaiSpace({devices, nodes, {above}, generation}).ok())
          ++above;
        std::string tail = below ? "are " + std::to_string(below) + " and " + std::to_string(above) : "is " + std::to_string(above);
        EXPECT_EQ(message.substr(message.size() - tail.size()), tail) << message;
      }
}

TEST(Enumerate, RefusesNonsense) {
  EXPECT_EQ(failure({32, 4, {}, V24_5}), "no global batch size is given, expected at least one");
  EXPECT_EQ(failure({32, 4, {0}, V24_5}), "global batch size is 0, expected 1 to 2^40");
  EXPECT_EQ(failure({0, 0, {1}, V24_5}),
            "an accelerator of 0 devices in 0 nodes cannot be searched, expected at least one device in each node");
}

TEST(Enumerate, Generations) {
  EXPECT_EQ(*parseGeneration("24.2.0"), V24_2);
  EXPECT_EQ(*parseGeneration("24.3"), V24_4);
  EXPECT_EQ(*parseGeneration("24.4"), V24_4);
  EXPECT_EQ(*parseGeneration("24.5.0"), V24_5);
  for (const char *bad : {"", "24", "24.50", "25.5", "24.5.x", "24.2."})
    EXPECT_EQ(parseGeneration(bad).status().message(),
              std::string("unknown MoAI release '") + bad + "', expected 24.2, 24.3, 24.4 or 24.5");
}

TEST(Enumerate, PrintsMoaisLines) {
  ParallelConfig config;
  config.numStages = 2;
  config.numMicroBatches = 16;
  config.zero = 1;
  config.recomputation = Recomputation::Selective;
  config.lowPrecisionParams = false;
  EXPECT_EQ(formatMoaiLine(config, V24_4), "num_stages : 2, num_micro_batches : 16, batch_per_device : 1, No TP, recomputation : "
                                           "1, distribute_param : true, distribute_low_prec_param : false");
  config.recomputation = Recomputation::Full;
  EXPECT_EQ(formatMoaiLine(config, V24_5), "num_stages : 2, num_micro_batches : 16, batch_per_device : 1, No TP, recomputation : "
                                           "full(2), distribute_param : true, distribute_low_prec_param : false");
  EXPECT_EQ(formatBatchWarning({256, 1}), "Various batch size detected : 256, 1");
}
} // namespace
