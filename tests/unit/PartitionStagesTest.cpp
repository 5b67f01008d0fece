//===- PartitionStagesTest.cpp - Stage cuts against brute force ------------===//
#include "TestModel.h"
#include "moai/CostModel/GraphCost.h"
#include <cmath>
#include <map>
#include <numeric>

using namespace moai;

namespace {

struct Cut {
  int64_t slowest;                ///< picoseconds of the slowest stage that the pass made
  std::vector<int64_t> positions; ///< picoseconds of each forward op and its backward, in order
  std::vector<bool> isBlock;      ///< whether the forward op calls a block
  std::vector<int64_t> repeated;  ///< blocks of each stage that run again in the backward
};

Cut cut(llvm::StringRef graph, llvm::StringRef config) {
  TestContext context;
  ImportedModel model = importTrainingGraph(graph, context);
  auto accelerator = resolveAccelerator("8xLarge.4096GB");
  CandidateAnalyses analyses(*accelerator, model.summary.binding, /*expertImbalance=*/1, /*memoryLimit=*/0);
  (*model.module)->setAttr(attrs::kConfig, ConfigAttr::get(&context, config));
  mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
  manager.addPass(createInsertRecompute());
  manager.addPass(createPartitionStages(analyses));
  EXPECT_TRUE(mlir::succeeded(manager.run(*model.module)));
  unrollBlocks(*model.module);

  std::map<int64_t, int64_t> byPosition, byStage, repeated;
  std::vector<int64_t> forwardOrder;
  Cut result{0, {}, {}, {}};
  for (mlir::Operation &op : model.module->lookupSymbol<mlir::func::FuncOp>("step").getBody().front().without_terminator()) {
    auto position = op.getAttrOfType<mlir::IntegerAttr>(attrs::kPosition);
    if (!position)
      continue;
    if (!op.hasAttr(attrs::kPhase)) {
      forwardOrder.push_back(position.getInt());
      result.isBlock.push_back(mlir::isa<mlir::func::CallOp>(op));
    }
    int64_t time = std::llround(analyses.cost.seconds(&op) * 1e12), stage = op.getAttrOfType<mlir::IntegerAttr>(attrs::kStage).getInt();
    byPosition[position.getInt()] += time;
    byStage[stage] += time;
    repeated[stage] += op.hasAttr(attrs::kRecompute);
  }
  for (auto [stage, count] : repeated)
    result.repeated.push_back(count);
  for (auto [stage, time] : byStage)
    result.slowest = std::max(result.slowest, time);
  for (int64_t position : forwardOrder)
    result.positions.push_back(byPosition[position]);
  return result;
}

/// The slowest stage of the best way to cut times[from...] into that many stages, trying all.
int64_t bruteForce(llvm::ArrayRef<int64_t> times, size_t stages) {
  if (stages == 1)
    return std::accumulate(times.begin(), times.end(), int64_t(0));
  int64_t best = INT64_MAX, first = 0;
  for (size_t n = 1; n + stages <= times.size() + 1; ++n) {
    first += times[n - 1];
    best = std::min(best, std::max(first, bruteForce(times.drop_front(n), stages - 1)));
  }
  return best;
}

TEST(PartitionStages, FindsTheBestCutOfAll) {
  for (const char *graph : {"tiny-llama", "gpt2", "tiny-mixtral"})
    for (int64_t stages : {2, 3, 4})
      for (const char *recomputation : {"none", "full"}) {
        std::string config =
            "num_stages=" + std::to_string(stages) + ",num_micro_batches=8,data_parallel=2,zero=1,recomputation=" + recomputation;
        Cut found = cut(graph, config);
        EXPECT_EQ(found.slowest, bruteForce(found.positions, stages)) << graph << " " << config;
      }
}

/// The same where the first counts[s] blocks of stage s take the times that they have with recomputation.
int64_t bruteForce(const Cut &none, const Cut &full, size_t first, llvm::ArrayRef<int64_t> counts) {
  int64_t best = INT64_MAX, load = 0, left = counts.front();
  for (size_t i = first; i < none.positions.size(); ++i) {
    bool repeats = none.isBlock[i] && left > 0;
    left -= repeats;
    load += repeats ? full.positions[i] : none.positions[i];
    bool isLast = i + 1 == none.positions.size();
    if (left == 0 && isLast == (counts.size() == 1))
      best = std::min(best, isLast ? load : std::max(load, bruteForce(none, full, i + 1, counts.drop_front())));
  }
  return best;
}

// Without tied parameters, whose gradients a cut sums in another way.
TEST(PartitionStages, RepeatsTheFirstBlocksOfEachStage) {
  struct Case {
    const char *graph, *text;
    std::vector<int64_t> counts;
  } cases[] = {{"tiny-llama", "1:1", {1, 1}},   {"tiny-llama", "0:2", {0, 2}},      {"tiny-mixtral", "3:1", {3, 1}},
               {"qwen1.5-7b", "20:1", {20, 1}}, {"qwen1.5-7b", "0:4:1", {0, 4, 1}}, {"qwen1.5-7b", "1:28:1", {1, 28, 1}}};
  for (const Case &test : cases) {
    std::string config = "num_micro_batches=8,data_parallel=2,zero=1,num_stages=" + std::to_string(test.counts.size());
    Cut none = cut(test.graph, config), full = cut(test.graph, config + ",recomputation=full"),
        found = cut(test.graph, config + ",recomputation=" + test.text);
    EXPECT_EQ(found.repeated, test.counts) << test.graph << " " << test.text;
    EXPECT_EQ(found.slowest, bruteForce(none, full, 0, test.counts)) << test.graph << " " << test.text;
  }
}

TEST(PartitionStages, CostsWhatIsRecomputed) {
  Cut none = cut("tiny-llama", "num_stages=2,num_micro_batches=8,data_parallel=2,zero=1"),
      full = cut("tiny-llama", "num_stages=2,num_micro_batches=8,data_parallel=2,zero=1,recomputation=full");
  EXPECT_GT(full.slowest, none.slowest);
}

} // namespace
