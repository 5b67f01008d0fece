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

  std::map<int64_t, int64_t> byPosition, byStage;
  std::vector<int64_t> forwardOrder;
  for (mlir::Operation &op : model.module->lookupSymbol<mlir::func::FuncOp>("step").getBody().front().without_terminator()) {
    auto position = op.getAttrOfType<mlir::IntegerAttr>(attrs::kPosition);
    if (!position)
      continue;
    if (!op.hasAttr(attrs::kPhase))
      forwardOrder.push_back(position.getInt());
    int64_t time = std::llround(analyses.cost.seconds(&op) * 1e12);
    byPosition[position.getInt()] += time;
    byStage[op.getAttrOfType<mlir::IntegerAttr>(attrs::kStage).getInt()] += time;
  }
  Cut result{0, {}};
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

TEST(PartitionStages, CostsWhatIsRecomputed) {
  Cut none = cut("tiny-llama", "num_stages=2,num_micro_batches=8,data_parallel=2,zero=1"),
      full = cut("tiny-llama", "num_stages=2,num_micro_batches=8,data_parallel=2,zero=1,recomputation=full");
  EXPECT_GT(full.slowest, none.slowest);
}

} // namespace
