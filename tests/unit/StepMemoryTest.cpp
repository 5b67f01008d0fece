// What lives from the forward to the backward, and the peak of a step, against what PyTorch's MemTracker saw of the same models.
#include "TestModel.h"
#include "moai/Planner/Planner.h"

using namespace moai;

namespace {

struct Row {
  const char *graph;
  int64_t batch, sequence; ///< 0: without
  const char *recomputation;
  OptimizerImplementation optimizer;
  int64_t saved; ///< "Activation" at the end of the forward
  const char *peakPhase;
  int64_t peak;
  int64_t microBatches = 1; ///< of `batch` samples each
};

// PyTorch 2.13, CPU build, Transformers 5.23. With full recomputation the Llama rows hold the position ids that Transformers
// hands to each checkpoint, 8 bytes for each of one sequence, which no block of the graph uses.
const Row kRows[] = {
    {"llama-3-8b-2l-autocast", 1, 1024, "none", OptimizerImplementation::Foreach, 2986114056, "optimizer", 29738041944},
    {"llama-3-8b-2l-autocast", 1, 2048, "none", OptimizerImplementation::Foreach, 4049652744, "optimizer", 29738058328},
    {"llama-3-8b-2l-autocast", 4, 1024, "none", OptimizerImplementation::Foreach, 6172078056, "optimizer", 29738091096},
    {"llama-3-8b-2l-autocast", 4, 2048, "none", OptimizerImplementation::Foreach, 10423119848, "backward", 36667282012},
    {"llama-3-8b-2l-autocast", 1, 1024, "full", OptimizerImplementation::Foreach, 1652055048 - 8 * 1024, "optimizer", 29738041944},
    {"llama-3-8b-2l-autocast", 1, 2048, "full", OptimizerImplementation::Foreach, 2253949960 - 8 * 2048, "optimizer", 29738058328},
    {"llama-3-8b-2l-autocast", 4, 1024, "full", OptimizerImplementation::Foreach, 3453063144 - 8 * 1024, "optimizer", 29738091096},
    {"llama-3-8b-2l-autocast", 4, 2048, "full", OptimizerImplementation::Foreach, 5857505256 - 8 * 2048, "backward", 32101667420},
    {"gpt2", 1, 1024, "none", OptimizerImplementation::Foreach, 737980100, "backward", 1895939212},
    {"gpt2", 4, 1024, "none", OptimizerImplementation::Foreach, 2951928536, "backward", 5343813928},
    {"gpt2", 1, 1024, "full", OptimizerImplementation::Foreach, 227684036, "backward", 1385643148},
    {"gpt2", 4, 1024, "full", OptimizerImplementation::Foreach, 910744280, "backward", 3302629672},
    {"bert-large", 1, 512, "none", OptimizerImplementation::Foreach, 471298056, "optimizer", 3351762544},
    {"bert-large", 4, 512, "none", OptimizerImplementation::Foreach, 1885179912, "backward", 4396341644},
    {"bert-large", 1, 512, "full", OptimizerImplementation::Foreach, 92925960, "optimizer", 3351762544},
    {"bert-large", 4, 512, "full", OptimizerImplementation::Foreach, 371691528, "optimizer", 3351787120},
    {"bert-large-autocast", 1, 512, "none", OptimizerImplementation::Foreach, 1241696264, "optimizer", 6703507124},
    {"bert-large-autocast", 4, 512, "none", OptimizerImplementation::Foreach, 2961014792, "backward", 7483223272},
    {"bert-large-autocast", 1, 512, "full", OptimizerImplementation::Foreach, 183748616, "optimizer", 6703507124},
    {"bert-large-autocast", 4, 512, "full", OptimizerImplementation::Foreach, 541163528, "optimizer", 6703531700},
    {"gpt2", 1, 1024, "none", OptimizerImplementation::Foreach, 737980100, "backward", 2144818828, 4},
    {"gpt2", 4, 1024, "none", OptimizerImplementation::ForLoop, 2951928536, "backward", 5343813928},
    {"gpt2", 4, 1024, "none", OptimizerImplementation::Fused, 2951928536, "backward", 5343813928},
    {"vit-large-patch16-224", 8, 0, "none", OptimizerImplementation::Foreach, 1248633768, "backward", 3097093032},
    {"vit-large-autocast", 8, 0, "full", OptimizerImplementation::Foreach, 167472712, "optimizer", 6091351172},
    // create_selective_checkpoint_contexts with a list of mm, addmm, bmm and the SDPA ops.
    {"gpt2", 4, 1024, "selective", OptimizerImplementation::Foreach, 1668078296, "backward", 4059963688},
    {"llama-3-8b-2l-autocast", 4, 2048, "selective", OptimizerImplementation::Foreach, 7403106280 - 8 * 2048, "backward", 33647268444},
    // The first five blocks of twelve checkpointed.
    {"gpt2", 4, 1024, "5", OptimizerImplementation::Foreach, 2101435096, "backward", 4493320488},
};

// The same with PyTorch's casts of an autocast region on CUDA, emulated on the CPU: gelu's pow and what follows it in float32.
const Row kCudaRows[] = {
    {"gpt2-autocast", 1, 1024, "none", OptimizerImplementation::Foreach, 1250960580, "backward", 3155558540},
    {"gpt2-autocast", 4, 1024, "none", OptimizerImplementation::Foreach, 4262658264, "backward", 7401182504},
};

void expectPyTorchs(const Row &row, AutocastDevice autocast) {
  TestContext context;
  ImportOptions options;
  options.batch = row.batch * row.microBatches;
  options.autocast = autocast;
  if (row.sequence)
    options.sequenceLength = row.sequence;
  ImportedModel model = importTestGraph(row.graph, context, options);
  PlanRequest request;
  request.accelerator = *resolveAccelerator("h100");
  request.globalBatches = {row.batch * row.microBatches};
  request.log = false;
  request.config = *deriveConfig("num_micro_batches=" + std::to_string(row.microBatches) + ",recomputation=" + row.recomputation, 1,
                                 row.batch * row.microBatches);
  request.pytorchStep = row.optimizer;
  auto plan = planModel(*model.module, model.summary, request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  SCOPED_TRACE(testing::Message() << row.graph << ", batch " << row.batch << ", sequence " << row.sequence << ", recomputation "
                                  << row.recomputation);
  EXPECT_EQ(plan->candidates[0].stages[0].memory.saved, row.saved);
  EXPECT_EQ(plan->stepMemory->peakPhase, row.peakPhase);
  EXPECT_NEAR(static_cast<double>(plan->stepMemory->total()), static_cast<double>(row.peak), 0.02 * static_cast<double>(row.peak));
}

// Saved bytes are exact; the peak is within 2 % and in the phase where PyTorch has it.
TEST(StepMemory, IsPyTorchs) {
  for (const Row &row : kRows)
    expectPyTorchs(row, AutocastDevice::Cpu);
}

TEST(StepMemory, IsPyTorchsUnderAutocastOfAGpu) {
  for (const Row &row : kCudaRows)
    expectPyTorchs(row, AutocastDevice::Cuda);
}

} // namespace
