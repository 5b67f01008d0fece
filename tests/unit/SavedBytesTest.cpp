// What lives from the forward to the backward, to the byte, against what PyTorch's MemTracker saw of the same models.
#include "TestModel.h"
#include "moai/Planner/Planner.h"

using namespace moai;

namespace {

struct Saved {
  const char *graph;
  int64_t batch, sequence; ///< 0: without
  const char *recomputation;
  int64_t bytes; ///< "Activation" at the end of the forward
};

// PyTorch 2.13, CPU build, Transformers 5.23. With full recomputation the Llama rows hold the position ids that Transformers
// hands to each checkpoint, 8 bytes for each of one sequence, which no block of the graph uses.
const Saved kSaved[] = {
    {"llama-3-8b-2l-autocast", 1, 1024, "none", 2986114056},
    {"llama-3-8b-2l-autocast", 1, 2048, "none", 4049652744},
    {"llama-3-8b-2l-autocast", 4, 1024, "none", 6172078056},
    {"llama-3-8b-2l-autocast", 4, 2048, "none", 10423119848},
    {"llama-3-8b-2l-autocast", 1, 1024, "full", 1652055048 - 8 * 1024},
    {"llama-3-8b-2l-autocast", 1, 2048, "full", 2253949960 - 8 * 2048},
    {"llama-3-8b-2l-autocast", 4, 1024, "full", 3453063144 - 8 * 1024},
    {"llama-3-8b-2l-autocast", 4, 2048, "full", 5857505256 - 8 * 2048},
    {"gpt2", 1, 1024, "none", 737980100},
    {"gpt2", 4, 1024, "none", 2951928536},
    {"gpt2", 1, 1024, "full", 227684036},
    {"gpt2", 4, 1024, "full", 910744280},
    {"bert-large", 1, 512, "none", 471298056},
    {"bert-large", 4, 512, "none", 1885179912},
    {"bert-large", 1, 512, "full", 92925960},
    {"bert-large", 4, 512, "full", 371691528},
    {"bert-large-autocast", 1, 512, "none", 1241696264},
    {"bert-large-autocast", 4, 512, "none", 2961014792},
    {"bert-large-autocast", 1, 512, "full", 183748616},
    {"bert-large-autocast", 4, 512, "full", 541163528},
    {"vit-large-patch16-224", 8, 0, "none", 1248633768},
    {"vit-large-autocast", 8, 0, "full", 167472712},
};

TEST(SavedBytes, AreAutogradsToTheByte) {
  for (const Saved &row : kSaved) {
    TestContext context;
    ImportOptions options;
    options.batch = row.batch;
    if (row.sequence)
      options.sequenceLength = row.sequence;
    ImportedModel model = importTestGraph(row.graph, context, options);
    PlanRequest request;
    request.accelerator = *resolveAccelerator("h100");
    request.globalBatches = {row.batch};
    request.log = false;
    request.config = *deriveConfig(std::string("recomputation=") + row.recomputation, 1, row.batch);
    auto plan = planModel(*model.module, model.summary, request);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->candidates[0].stages[0].memory.activations, row.bytes)
        << row.graph << ", batch " << row.batch << ", sequence " << row.sequence << ", recomputation " << row.recomputation;
  }
}

} // namespace
