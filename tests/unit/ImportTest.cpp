//===- ImportTest.cpp - Real exported graphs, against what PyTorch counts --===//
#include "TestModel.h"
#include "moai/IR/Flops.h"
#include "moai/Passes/Differentiable.h"

using namespace moai;

namespace {

/// `parameters` is sum(p.numel()), the FLOPs are torch.utils.flop_counter's, of the forward and of the whole step.
struct Counted {
  const char *graph;
  int64_t batch, sequence; ///< 0: as exported
  int64_t parameters, forwardFlops, totalFlops;
};

void PrintTo(const Counted &counted, std::ostream *os) { *os << counted.graph; }

const Counted kCounted[] = {
    {"qwen1.5-7b", 1, 2048, 7721324544, 31273804365824, 94920924725248},
    {"qwen1.5-7b-dynamic", 1, 2048, 7721324544, 31273804365824, 94920924725248},
    {"llama-2-13b", 1, 1024, 13015864320, 27179089920000, 81966766489600},
    {"llama-3-8b", 1, 1024, 8030261248, 15919296282624, 48032766754816},
    {"llama-3-70b", 1, 1024, 70553706496, 145088290226176, 436639260213248},
    {"mistral-7b-v0.1", 1, 1024, 7241732096, 15111842430976, 45610405199872},
    {"cerebras-gpt-13b", 1, 2048, 12853386240, 56029547069440, 169806628126720},
    {"gpt2", 2, 1024, 124439808, 583296614400, 1788544548864},
    {"bert-large", 2, 512, 335174458, 736171655168, 2234284769280},
    {"vit-large-patch16-224", 2, 0, 304326632, 246218850304, 741855068160},
    {"mixtral-8x7b-grouped", 1, 4096, 46702792704, 113232517791744, 344095599886336},
    {"mixtral-8x7b-batched", 1, 4096, 46702792704, 113232517791744, 344095599886336},
    {"llama-3-8b-joint", 1, 1024, 8030261248, 15919296282624, 48032766754816},
    // Two and five products of each attention are added by hand: the counter has no formula for the CPU's kernel. Of what is
    // frozen (tokens and the first of four layers) only the forward counts; under no_grad a linear layer of 6 x 10 x 16 x 16.
    {"small-frozen", 6, 0, 10240, 1075200 + 4 * 38400, 2734080 + 4 * 38400 + 3 * 96000},
    {"small-nograd", 6, 0, 10240, 1075200 + 4 * 38400, 3164160 + 4 * 38400 + 4 * 96000},
    // As many samples as experts, and more.
    {"small-experts", 4, 0, 1007, 65920, 197760},
    {"small-experts-batch6", 6, 0, 1007, 98880, 296640},
    // Autocast changes types, not products.
    {"bert-large-autocast", 2, 512, 335174458, 736171655168, 2234284769280},
    {"vit-large-autocast", 2, 0, 304326632, 246218850304, 741855068160},
    // Other families; `s` is 16 where there is one. Backwards of trained biases and of narrower values are not fused.
    {"family-bloom", 6, 0, 29632, 5898240, 17694720},
    {"family-deepseek-v2", 6, 0, 30304, 4890624, 14671872},
    {"small-mqa", 6, 0, 488, 32640, 97920},
    {"family-falcon", 6, 0, 26944, 5505024, 16711680},
    {"family-gemma2", 6, 0, 22816, 4718592, 14155776},
    {"family-gpt-oss", 6, 0, 65392, 7127040, 21381120},
    {"family-modernbert", 6, 0, 25920, 5308416, 16121856},
    {"family-swin", 6, 0, 23042, 9047808, 26553600},
    {"family-t5", 6, 0, 45696, 9830400, 29687808},
};

class CountedGraph : public testing::TestWithParam<Counted> {};

INSTANTIATE_TEST_SUITE_P(Import, CountedGraph, testing::ValuesIn(kCounted), [](const testing::TestParamInfo<Counted> &info) {
  std::string name = info.param.graph;
  std::replace_if(name.begin(), name.end(), [](char c) { return !isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

ImportOptions optionsOf(const Counted &counted) {
  ImportOptions options;
  options.batch = counted.batch;
  if (counted.sequence)
    options.sequenceLength = counted.sequence;
  return options;
}

TEST_P(CountedGraph, HasPyTorchsParametersAndForwardFlops) {
  TestContext context;
  ModelSummary summary = importTestGraph(GetParam().graph, context, optionsOf(GetParam())).summary;
  EXPECT_EQ(summary.parameters, GetParam().parameters);
  EXPECT_EQ(static_cast<int64_t>(summary.forwardFlops), GetParam().forwardFlops);
  EXPECT_THAT(summary.opaqueOps, testing::IsEmpty());
  EXPECT_TRUE(summary.hasLoss);
}

// The backward that BuildBackward makes multiplies as much as autograd's.
TEST_P(CountedGraph, HasPyTorchsTotalFlopsOnceItsBackwardIsBuilt) {
  TestContext context;
  ImportedModel model = importTrainingGraph(GetParam().graph, context, optionsOf(GetParam()));
  auto step = model.module->lookupSymbol<mlir::func::FuncOp>("step");
  EXPECT_EQ(static_cast<int64_t>(countFlops(step, model.summary.binding)), GetParam().totalFlops);
}

ModelAttention attentionOf(llvm::StringRef graph, std::optional<int64_t> sequence = std::nullopt) {
  TestContext context;
  ImportOptions options;
  options.sequenceLength = sequence;
  ModelSummary summary = importTestGraph(graph, context, options).summary;
  EXPECT_EQ(summary.attention.size(), 1u);
  return summary.attention.front();
}

TEST(Import, RecognisesAttentionByWhatItsMaskIs) {
  EXPECT_EQ(attentionOf("bert-large").kind, "full");
  EXPECT_EQ(attentionOf("vit-large-patch16-224").kind, "full");
  EXPECT_EQ(attentionOf("gpt2").kind, "causal");
  ModelAttention llama = attentionOf("llama-3-8b");
  EXPECT_EQ(llama.kind, "causal");
  EXPECT_EQ(llama.queryHeads, 32);
  EXPECT_EQ(llama.keyHeads, 8); // the export repeats them
  EXPECT_EQ(llama.width, 128);
  EXPECT_EQ(llama.count, 32);
}

// Mistral's window is 4,096: invisible at the exported 1,024, where every key within it is also before the query.
TEST(Import, JudgesTheMaskAtThePlannedSequence) {
  EXPECT_EQ(attentionOf("mistral-7b-v0.1").kind, "causal");
  EXPECT_EQ(attentionOf("mistral-7b-v0.1", 4096).kind, "causal");
  ModelAttention longer = attentionOf("mistral-7b-v0.1", 8192);
  EXPECT_EQ(longer.kind, "sliding_window");
  EXPECT_EQ(longer.window, 4096);
}

// Autocast converts key and value after their heads were repeated; the repetition goes all the same.
TEST(Import, RecognisesGroupedHeadsUnderAutocast) {
  ModelAttention attention = attentionOf("llama-3-8b-2l-autocast");
  EXPECT_EQ(attention.queryHeads, 32);
  EXPECT_EQ(attention.keyHeads, 8);
}

// Masks of 2^34 elements are judged by samples.
TEST(Import, ReadsMasksOfLongSequences) {
  ModelAttention attention = attentionOf("mistral-7b-v0.1", 131072);
  EXPECT_EQ(attention.kind, "sliding_window");
  EXPECT_EQ(attention.window, 4096);
}

TEST(Import, MaskArithmeticIsGone) {
  TestContext context;
  ImportedModel model = importTestGraph("qwen1.5-7b", context);
  model.module->walk([&](AttentionOp attention) { EXPECT_FALSE(attention.getBias()); });
  unsigned booleans = 0;
  model.module->walk([&](mlir::Operation *op) {
    for (mlir::Value result : op->getResults())
      if (auto type = llvm::dyn_cast<SymTensorType>(result.getType()))
        booleans += type.getElementType().isInteger(1);
  });
  EXPECT_EQ(booleans, 0u);
}

TEST(Import, FlopsFollowBatchExactly) {
  TestContext context;
  ImportOptions options;
  for (int64_t batch : {1, 8, 37}) {
    options.batch = batch;
    EXPECT_EQ(static_cast<int64_t>(importTestGraph("llama-3-8b", context, options).summary.forwardFlops), batch * 15919296282624);
  }
}

// Linear layers follow the sequence, attention its square, and the loss has one position less than the labels.
TEST(Import, FlopsFollowTheSequence) {
  TestContext context;
  ImportOptions options;
  options.sequenceLength = 512;
  double half = importTestGraph("llama-3-8b", context, options).summary.forwardFlops;
  double attention = 32 * 4.0 * 32 * 1024 * 1024 * 128, linear = 15919296282624 - attention;
  EXPECT_EQ(half, linear / 2 + attention / 4);
}

TEST(Import, FindsRepeatedBlocks) {
  TestContext context;
  ModelSummary summary = importTestGraph("llama-3-70b", context).summary;
  ASSERT_EQ(summary.blocks.size(), 1u);
  EXPECT_EQ(summary.blocks[0].name, "model.model.layers.*");
  EXPECT_EQ(summary.blocks[0].repeats, 80);
  // hidden 8192, 64 + 2 x 8 heads of 128, feed-forward 28672, two norms
  EXPECT_EQ(summary.blocks[0].parameters, 8192LL * 128 * (64 + 2 * 8) + 8192 * 8192 + 3LL * 8192 * 28672 + 2 * 8192);
}

TEST(Import, TiedParametersAreOne) {
  TestContext context;
  ModelSummary summary = importTestGraph("tiny-gpt2", context).summary;
  ASSERT_EQ(summary.assumptions.size(), 1u);
  EXPECT_EQ(summary.assumptions[0],
            "parameter 'model.transformer.wte.weight' has no use of its own and is taken for tied to 'model.lm_head.weight'");
}

template <typename Op> unsigned countOps(mlir::ModuleOp module) {
  unsigned count = 0;
  module.walk([&](Op) { ++count; });
  return count;
}

TEST(Import, ExpertsBecomeRouteDispatchMatmulAndCombine) {
  TestContext context;
  ImportedModel model = importTestGraph("mixtral-8x7b-grouped", context);
  EXPECT_EQ(model.summary.experts, 8);
  // One block, of three grouped matmuls.
  EXPECT_EQ(countOps<RouteOp>(*model.module), 1u);
  EXPECT_EQ(countOps<DispatchOp>(*model.module), 1u);
  EXPECT_EQ(countOps<ExpertMatmulOp>(*model.module), 2u);
  EXPECT_EQ(countOps<CombineOp>(*model.module), 1u);
  EXPECT_EQ(countOps<HistogramOp>(*model.module), 0u);
  EXPECT_EQ(countOps<SortOp>(*model.module), 1u); // the choice of experts itself
}

// A gathered weight matrix per token: 4096 tokens x 2 experts x 2 x 14336 x 4096 bf16 elements.
TEST(Import, SaysWhichTensorIsOutOfProportion) {
  TestContext context;
  ModelSummary summary = importTestGraph("mixtral-8x7b-batched", context).summary;
  EXPECT_EQ(summary.largestTensorBytes, 4096LL * 2 * 2 * 14336 * 4096 * 2);
  EXPECT_EQ(summary.largestTensor, "moai.gather");
}

// Casts that autocast makes are ops of the graph: each weight is narrowed before its matmul.
TEST(Import, AutocastsCastsAreKept) {
  TestContext context;
  unsigned plain = countOps<CastOp>(*importTestGraph("llama-3-8b", context).module);
  unsigned autocast = countOps<CastOp>(*importTestGraph("llama-3-8b-2l-autocast", context).module);
  EXPECT_GE(autocast, plain + 7); // 7 weights of the block
  EXPECT_EQ(importTestGraph("llama-3-8b-2l-autocast", context).summary.parameterBytes, 4 * 1486901248LL);
}

// On CUDA the pow of each gelu runs in float32, and so do the six ops that read it.
TEST(Import, AutocastOnAGpuWidensWhatItRunsInFloat32) {
  TestContext context;
  ImportOptions options;
  options.autocast = AutocastDevice::Cuda;
  unsigned cpu = countOps<CastOp>(*importTestGraph("gpt2-autocast", context).module);
  ImportedModel gpu = importTestGraph("gpt2-autocast", context, options);
  EXPECT_EQ(countOps<CastOp>(*gpu.module), cpu + 2); // into pow, and out of the last product into the next matmul
  gpu.module->walk([&](ElementwiseOp op) {
    if (op.getKind() == "pow" || op.getKind() == "tanh") {
      EXPECT_TRUE(tensorOf(op.getResult()).getElementType().isF32());
    }
  });
}

TEST(Import, DropoutOfProbabilityZeroIsNothing) {
  TestContext context;
  EXPECT_EQ(countOps<DropoutOp>(*importTestGraph("gpt2", context).module), 0u);
  EXPECT_GT(countOps<DropoutOp>(*importTestGraph("gpt2-dropout", context).module), 0u);
}

std::string importError(llvm::StringRef graph, const ImportOptions &options = {}) {
  TestContext context;
  auto model = importPt2(testGraph(graph), options, context);
  if (model.ok())
    return "imported";
  std::string message(model.status().message());
  return message.substr(message.find(".pt2: ") + 6);
}

// The forward of a graph that carries its backward is decomposed; put together again it is the one that was exported alone.
TEST(Import, AGraphWithItsBackwardIsTheSameStep) {
  TestContext context;
  ModelSummary joint = importTestGraph("llama-3-8b-joint", context).summary, plain = importTestGraph("llama-3-8b", context).summary;
  EXPECT_EQ(joint.ops, plain.ops);
  EXPECT_EQ(joint.largestTensorBytes, plain.largestTensorBytes);
  EXPECT_THAT(joint.opaqueOps, testing::IsEmpty());
  ASSERT_EQ(joint.blocks.size(), 1u);
  EXPECT_EQ(joint.blocks[0].repeats, plain.blocks[0].repeats);
  EXPECT_EQ(joint.blocks[0].parameters, plain.blocks[0].parameters);
  ModelAttention attention = attentionOf("llama-3-8b-joint");
  EXPECT_EQ(attention.kind, "causal");
  EXPECT_EQ(attention.keyHeads, 8);
  EXPECT_EQ(attention.count, 32);
  EXPECT_THAT(joint.assumptions,
              testing::ElementsAre("the graph carries its backward, which is left out: moai derives the gradients from the forward itself",
                                   "32 attentions that the export wrote out as matrix products are planned as one fused op each"));
}

// Exported without the MATH backend: the backward of attention reads the scores' softmax as its logsumexp.
TEST(Import, RefusesABackwardThatCantBeThatOfTheForward) {
  EXPECT_EQ(importError("tiny-llama-joint-inconsistent"),
            "model.json: node 'getitem' (aten._scaled_dot_product_flash_attention_for_cpu_backward.default) gets a logsumexp of shape "
            "[8, 4, 16, 16], expected [8, 4, 16], so the exported gradients are wrong; export the forward and backward again under "
            "torch.nn.attention.sdpa_kernel(SDPBackend.MATH)");
}

// Frozen parameters count as the model's, and have no place in the optimizer.
TEST(Import, FrozenParametersAreNotTrained) {
  TestContext context;
  ImportedModel model = importTrainingGraph("small-frozen", context);
  auto step = model.module->lookupSymbol<mlir::func::FuncOp>("step");
  int64_t frozen = 0, trained = 0, gradients = 0;
  for (unsigned i = 0; i < step.getNumArguments(); ++i) {
    auto role = step.getArgAttrOfType<mlir::StringAttr>(i, attrs::kRole);
    (role == "frozen" ? frozen : trained) += role == "frozen" || role == "parameter" ? countTensors(step.getArgumentTypes()[i]) : 0;
  }
  for (mlir::Type result : llvm::drop_begin(step.getResultTypes()))
    gradients += countTensors(result);
  EXPECT_EQ(frozen, 17);
  EXPECT_EQ(trained, 53);
  EXPECT_EQ(gradients, trained);
  EXPECT_EQ(model.summary.trainedTensorBytes.size(), static_cast<size_t>(trained));
  EXPECT_THAT(model.summary.assumptions, testing::ElementsAre("17 of 70 parameter tensors do not require a gradient: they are kept as they "
                                                              "are, and not trained"));
}

// Rotary tables are computed without gradients as well, but depend on nothing trained.
TEST(Import, DetachesOnlyWhatDependsOnParameters) {
  TestContext context;
  EXPECT_EQ(countOps<DetachOp>(*importTestGraph("tiny-llama", context).module), 0u);
  EXPECT_GT(countOps<DetachOp>(*importTestGraph("small-nograd", context).module), 0u);
}

// Antialiased interpolation, and the nearest of five elements for seven.
TEST(Import, InterpolationThatItCannotExpressStaysOpaque) {
  TestContext context;
  EXPECT_THAT(importTestGraph("small-resize-opaque", context).summary.opaqueOps,
              testing::ElementsAre("aten._upsample_bicubic2d_aa.vec", "aten._upsample_bilinear2d_aa.vec", "aten.upsample_nearest2d.vec"));
  EXPECT_THAT(importTestGraph("small-resize", context).summary.opaqueOps, testing::IsEmpty());
}

// An average whose windows reach beyond the border, an embedding whose gradient is scaled or whose rows are scaled in place, and a mean of
// what is scattered: what the rules for these ops don't do isn't left out silently.
// loss * ids.shape[0] of a dynamic batch: the size is no number of the file, and was once taken for 0.
TEST(Import, SizesThatOnlyARunKnowsAreNoNumbers) {
  TestContext context;
  ImportedModel model = importTestGraph("small-size-factor-opaque", context);
  EXPECT_THAT(model.summary.opaqueOps, testing::ElementsAre("aten.mul.Tensor"));
  EXPECT_THAT(std::string(checkDifferentiable(*model.module).message()), testing::HasSubstr("op aten.mul.Tensor"));
}

TEST(Import, OptionsThatItCannotExpressStayOpaque) {
  TestContext context;
  ImportedModel model = importTestGraph("small-options-opaque", context);
  EXPECT_THAT(model.summary.opaqueOps, testing::ElementsAre("aten.avg_pool2d.default", "aten.embedding.default",
                                                            "aten.embedding_renorm_.default", "aten.scatter_reduce.two"));
  // Nothing reads the result of what is done in place; whoever reads the tensor afterwards depends on it.
  model.module->walk([](OpaqueOp op) { EXPECT_FALSE(op->use_empty()) << op.getTarget().str(); });
}

// Scores and weights of 4 experts at a batch of 4: FLOPs that follow another batch tell which 4 is which.
TEST(Import, TellsTheBatchFromAsManyExperts) {
  TestContext context;
  ImportOptions options;
  options.batch = 6;
  ModelSummary summary = importTestGraph("small-experts", context, options).summary;
  EXPECT_EQ(static_cast<int64_t>(summary.forwardFlops), 98880);
  EXPECT_THAT(summary.assumptions, testing::Contains(testing::StartsWith("a reshape of 4*b*s to [4, 40] as [4, b*s]: ")));
  EXPECT_THAT(importTestGraph("small-experts-batch6", context).summary.assumptions, testing::IsEmpty());
}

TEST(Import, NamesTheDimensionsThatCanBeSet) {
  ImportOptions options;
  options.shapes["length"] = 5;
  EXPECT_EQ(importError("tiny-llama", options), "--shape=length names no dimension of the model; it has b, batch, s, sequence");
  ImportOptions batch;
  batch.shapes["batch"] = 5;
  EXPECT_EQ(importError("tiny-llama", batch), "--shape=batch is the batch, which --global-batch sets; leave it out");
  ImportOptions sequence;
  sequence.sequenceLength = 7;
  EXPECT_EQ(importError("tiny-vit", sequence), "the model has no sequence dimension, so --seq-len=7 means nothing; leave it out");
}

} // namespace
