//===- ModelInputs.cpp - What a step takes for each sample -----------------===//
#include "moai/Execute/ModelInputs.h"
#include "GraphArguments.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace moai;

bool ModelInput::hasSamples() const {
  return llvm::any_of(perSample, [](int64_t positions) { return positions != 0; });
}

// What an input of one number for each position is by its name, as models of transformers call them.
static InputUse useByName(StringRef name) {
  return llvm::StringSwitch<InputUse>(name)
      .Cases("attention_mask", "decoder_attention_mask", InputUse::Mask)
      .Cases("position_ids", "decoder_position_ids", InputUse::Positions)
      .Case("token_type_ids", InputUse::Segments)
      .Default(InputUse::Other);
}

static bool isCausal(ModuleOp module) {
  bool causal = false;
  module.walk([&](AttentionOp attention) { causal |= attention.getMask() == "causal" || attention.getMask() == "sliding_window"; });
  return causal;
}

// A table of sines, say, is a buffer or a constant.
static bool isTrained(Value weight) {
  while (Operation *op = weight.getDefiningOp()) {
    if (op->getNumOperands() != 1)
      return op->getNumOperands() > 1;
    weight = op->getOperand(0);
  }
  auto argument = cast<BlockArgument>(weight);
  auto function = cast<func::FuncOp>(argument.getOwner()->getParentOp());
  auto role = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole);
  return !role || role == "parameter" || role == "frozen";
}

// How the graph uses ids, unless it doesn't.
static void describeIds(ModelInput &input, Value value, const DimBinding &binding, bool causal) {
  bool isEmbedded = false, isTarget = false, isNext = false;
  int64_t numTokens = INT64_MAX, numClasses = INT64_MAX;
  for (const IndexUse &use : findIndexUses(value, binding)) {
    if (!use.isDirect)
      continue;
    if (auto embedding = dyn_cast<EmbeddingOp>(use.op); embedding && isTrained(embedding.getWeight())) {
      isEmbedded = true;
      numTokens = std::min(numTokens, use.size);
    }
    if (auto loss = dyn_cast<CrossEntropyOp>(use.op)) {
      isTarget = true;
      isNext |= use.isFromFirst;
      numClasses = std::min(numClasses, use.size);
      input.ignoredId = static_cast<int64_t>(loss.getIgnoreIndex());
    }
  }
  if (isTarget) {
    input.use = InputUse::Targets;
    input.numIds = std::min(numClasses, numTokens);
    input.takesNextToken = causal && isNext && !isEmbedded;
  } else if (isEmbedded && input.use == InputUse::Other) {
    input.use = InputUse::Tokens;
    input.numIds = numTokens;
  }
}

static ModelInput describe(func::FuncOp step, BlockArgument value, const DimBinding &binding, bool causal) {
  ModelInput input;
  if (auto name = step.getArgAttrOfType<StringAttr>(value.getArgNumber(), attrs::kName))
    input.name = name.str();
  SymTensorType type = tensorOf(value);
  input.elementType = type.getElementType();
  input.type = storedTypeOf(input.elementType);
  input.shape = type.getDims().evaluate(binding);
  for (auto [size, dim] : llvm::zip(input.shape, type.getShape()))
    input.perSample.push_back(dim.degreeIn(kBatchSymbol) ? size / binding.values[kBatchSymbol] : 0);
  if (input.perSample == ArrayRef<int64_t>{1, 0})
    input.use = useByName(input.name);
  if (input.elementType.isInteger())
    describeIds(input, value, binding, causal);
  // As the ids of a model that was exported with its labels for ids: one tensor, one argument.
  if (value.use_empty() && input.use == InputUse::Other)
    input.use = InputUse::Unused;
  return input;
}

std::vector<ModelInput> moai::describeInputs(ModuleOp trainingGraph) {
  auto step = trainingGraph.lookupSymbol<func::FuncOp>("step");
  DimBinding binding = getBinding(trainingGraph);
  bool causal = isCausal(trainingGraph);
  std::vector<ModelInput> inputs;
  for (BlockArgument value : step.getArguments())
    if (auto role = step.getArgAttrOfType<StringAttr>(value.getArgNumber(), attrs::kRole); role && role == "input")
      inputs.push_back(describe(step, value, binding, causal));
  return inputs;
}
