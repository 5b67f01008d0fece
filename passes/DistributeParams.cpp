//===- DistributeParams.cpp - Sharded parameters and optimizer states ------===//
#include "CandidateInput.h"
#include "OpLabels.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Passes/Passes.h"
#include "llvm/ADT/MapVector.h"

namespace moai {
#define GEN_PASS_DEF_DISTRIBUTEPARAMS
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

/// Parameters that are gathered, reduced and updated together: those that one op of one stage reads, of one element type.
struct Bucket {
  int64_t stage = 0;
  SmallVector<BlockArgument, 12> parameters;
};

struct DistributeParamsPass : public moai::impl::DistributeParamsBase<DistributeParamsPass> {
  void runOnOperation() override;

private:
  void collectBuckets();
  void distribute(const Bucket &bucket);
  void useCopy(BlockArgument parameter, Value copy, int64_t stage);
  SmallVector<Value> accumulate(const Bucket &bucket);
  void sumTied(const Bucket &bucket, SmallVectorImpl<Value> &gradients);
  void finish();

  bool isSharded() const { return config.zero > 0; }
  /// One flat shard of all the tensors together.
  SymTensorType shardOf(ArrayRef<SymTensorType> tensors, Type element);
  SmallVector<Value, 12> addArguments(const Bucket &bucket, Attribute role, ArrayRef<Type> types);

  // Of the module at hand.
  ParallelConfig config;
  std::optional<OpBuilder> builder;
  std::optional<OpLabels> labels;
  func::FuncOp step;
  func::ReturnOp stepReturn;
  SmallVector<BlockArgument> parameters;
  DenseMap<Value, Value> gradientOf;
  std::vector<Bucket> buckets;
  SmallVector<Attribute> argumentAttributes; ///< arguments are added to the block alone; the function follows at the end
  SmallVector<Value> updated;
  SmallVector<Attribute> names; ///< of arguments
  Operation *lastGather = nullptr;
  StringAttr nameName, roleName, load, update;
};

} // namespace

// A parameter used on several stages is in a bucket of each.
void DistributeParamsPass::collectBuckets() {
  DenseSet<std::pair<Value, int64_t>> placed;
  for (Operation &op : step.getBody().front().without_terminator()) {
    if (labels->part(&op))
      continue;
    llvm::MapVector<Type, Bucket> byType;
    for (Value operand : op.getOperands())
      if (auto argument = dyn_cast<BlockArgument>(operand); argument && gradientOf.count(argument)) {
        int64_t stage = labels->stage(&op);
        if (!placed.insert({argument, stage}).second)
          continue;
        Bucket &bucket = byType[tensorOf(argument).getElementType()];
        bucket.stage = stage;
        bucket.parameters.push_back(argument);
      }
    for (auto &[type, bucket] : byType)
      buckets.push_back(std::move(bucket));
  }
}

SymTensorType DistributeParamsPass::shardOf(ArrayRef<SymTensorType> tensors, Type element) {
  int64_t count = 0;
  for (SymTensorType tensor : tensors)
    count += tensor.countElements(DimBinding());
  return SymTensorType::get(&getContext(), Dim((count + config.dataParallel - 1) / config.dataParallel), element);
}

// Sharded, a bucket's tensors share one argument, which lists their names in order.
SmallVector<Value, 12> DistributeParamsPass::addArguments(const Bucket &bucket, Attribute role, ArrayRef<Type> types) {
  SmallVector<Value, 12> added;
  SmallVector<Attribute, 12> own;
  for (BlockArgument parameter : bucket.parameters)
    own.push_back(names[parameter.getArgNumber()]);
  for (auto [index, type] : llvm::enumerate(types)) {
    Attribute name = types.size() == own.size() ? own[index] : builder->getArrayAttr(own);
    NamedAttribute sorted[] = {{nameName, name}, {roleName, role}};
    argumentAttributes.push_back(DictionaryAttr::getWithSorted(&getContext(), sorted));
    added.push_back(step.getBody().front().addArgument(type, step.getLoc()));
  }
  return added;
}

// Replaces a parameter on one stage by its copy. A copy that is wider than what kernels read is narrowed ahead of its first
// use, once in the forward and once in the backward, so that the narrow one doesn't stay.
void DistributeParamsPass::useCopy(BlockArgument parameter, Value copy, int64_t stage) {
  for (bool backward : {false, true}) {
    auto isUse = [&](OpOperand &use) {
      Operation *user = use.getOwner();
      return labels->stage(user) == stage && !labels->part(user) && labels->isBackward(user) == backward;
    };
    Value narrow = copy;
    if (copy.getType() != parameter.getType()) {
      Operation *first = nullptr;
      for (OpOperand &use : parameter.getUses())
        if (isUse(use) && (!first || use.getOwner()->isBeforeInBlock(first)))
          first = use.getOwner();
      if (!first)
        continue;
      builder->setInsertionPoint(first);
      auto cast = builder->create<CastOp>(step.getLoc(), parameter.getType(), copy);
      labels->place(cast, stage, backward);
      narrow = cast;
    }
    parameter.replaceUsesWithIf(narrow, isUse);
  }
}

// The gradients of a stage's parameters over all its micro-batches; of a tied one, what this stage gives to the sum.
SmallVector<Value> DistributeParamsPass::accumulate(const Bucket &bucket) {
  SmallVector<Value> gradients;
  for (BlockArgument parameter : bucket.parameters) {
    Value gradient = gradientOf[parameter];
    if (auto sum = gradient.getDefiningOp<AllReduceOp>(); sum && sum.getAxis() == "tied") {
      auto own = llvm::find_if(sum.getInputs(), [&](Value input) { return labels->stage(input.getDefiningOp()) == bucket.stage; });
      if (own != sum.getInputs().end())
        gradient = *own;
    }
    gradients.push_back(gradient);
  }
  if (config.numMicroBatches == 1)
    return gradients;
  // As soon as the last of them is there, so that no gradient waits for the end of the backward.
  Operation *last = nullptr;
  for (Value gradient : gradients)
    if (Operation *op = gradient.getDefiningOp(); op && (!last || last->isBeforeInBlock(op)))
      last = op;
  if (last)
    builder->setInsertionPointAfter(last);
  else
    builder->setInsertionPoint(stepReturn);
  SmallVector<Type> types(ValueRange(gradients).getTypes());
  auto accumulators = addArguments(bucket, builder->getStringAttr("gradient_accumulator"), types);
  auto sum = builder->create<AccumulateOp>(step.getLoc(), types, accumulators, gradients);
  labels->place(sum, bucket.stage, /*isBackward=*/true);
  return SmallVector<Value>(sum.getOutputs());
}

void DistributeParamsPass::sumTied(const Bucket &bucket, SmallVectorImpl<Value> &gradients) {
  for (auto [parameter, gradient] : llvm::zip(bucket.parameters, gradients))
    if (auto sum = gradientOf[parameter].getDefiningOp<AllReduceOp>(); sum && sum.getAxis() == "tied") {
      auto reduce =
          builder->create<AllReduceOp>(step.getLoc(), gradient.getType(), gradient, "tied", static_cast<int64_t>(sum.getInputs().size()));
      labels->place(reduce, bucket.stage, update);
      gradient = reduce.getOutputs()[0];
    }
}

void DistributeParamsPass::distribute(const Bucket &bucket) {
  Location loc = step.getLoc();
  Type master = builder->getF32Type();
  SmallVector<SymTensorType, 12> tensors;
  SmallVector<Type, 12> states, copies;
  for (BlockArgument parameter : bucket.parameters) {
    SymTensorType type = tensorOf(parameter), wide = SymTensorType::get(&getContext(), type.getShape(), master);
    tensors.push_back(type);
    states.push_back(wide);
    // Without low-precision parameters the copy that is kept is as wide as the master; kernels compute in the exported type.
    copies.push_back(config.lowPrecisionParams || !isFloating(type.getElementType()) ? type : wide);
  }
  if (isSharded())
    states.assign(1, shardOf(tensors, master));
  auto masters = addArguments(bucket, builder->getStringAttr("master_parameter"), states);
  auto first = addArguments(bucket, builder->getStringAttr("first_moment"), states);
  auto second = addArguments(bucket, builder->getStringAttr("second_moment"), states);

  // The compute copies are gathered once per step.
  SmallVector<Value, 12> kept(masters);
  if (isSharded()) {
    if (lastGather)
      builder->setInsertionPointAfter(lastGather);
    else
      builder->setInsertionPointToStart(&step.getBody().front());
    auto gather = builder->create<AllGatherOp>(loc, copies, masters, "data", config.dataParallel);
    labels->place(gather, bucket.stage, load);
    lastGather = gather;
    kept.assign(gather.getOutputs().begin(), gather.getOutputs().end());
  }
  for (auto [parameter, copy] : llvm::zip(bucket.parameters, kept))
    useCopy(parameter, copy, bucket.stage);

  SmallVector<Value> gradients = accumulate(bucket);
  builder->setInsertionPoint(stepReturn);
  sumTied(bucket, gradients);
  Operation *reduce = nullptr;
  if (isSharded())
    reduce = builder->create<ReduceScatterOp>(loc, shardOf(tensors, tensorOf(gradients[0]).getElementType()), gradients, "data",
                                              config.dataParallel);
  else if (config.dataParallel > 1)
    reduce = builder->create<AllReduceOp>(loc, ValueRange(gradients).getTypes(), gradients, "data", config.dataParallel);
  if (reduce) {
    labels->place(reduce, bucket.stage, update);
    gradients.assign(reduce->getResults().begin(), reduce->getResults().end());
  }
  SmallVector<Type> outputs;
  for (unsigned i = 0; i < 3; ++i)
    outputs.append(states.begin(), states.end());
  auto optimizer = builder->create<OptimizerOp>(loc, outputs, gradients, masters, first, second, "adamw");
  labels->place(optimizer, bucket.stage, update);
  updated.append(optimizer.getOutputs().begin(), optimizer.getOutputs().end());
}

// @step returns the loss and the updated states, and no longer takes parameters.
void DistributeParamsPass::finish() {
  Block &body = step.getBody().front();
  SmallVector<Value> results{stepReturn.getOperand(0)};
  results.append(updated);
  stepReturn->setOperands(results);
  for (Operation &op : llvm::make_early_inc_range(llvm::drop_begin(llvm::reverse(body))))
    if (auto sum = dyn_cast<AllReduceOp>(op); sum && sum.getAxis() == "tied" && sum->use_empty() && labels->stage(sum) < 0)
      sum->erase();
  step.setFunctionType(builder->getFunctionType(body.getArgumentTypes(), ValueRange(results).getTypes()));
  step.setAllArgAttrs(argumentAttributes);
  BitVector unused(step.getNumArguments());
  for (BlockArgument parameter : parameters)
    if (parameter.use_empty())
      unused.set(parameter.getArgNumber());
  step.eraseArguments(unused);
}

void DistributeParamsPass::runOnOperation() {
  ModuleOp module = getOperation();
  FailureOr<ParallelConfig> parsed = getConfig(module);
  step = getStep(module);
  if (failed(parsed) || !step)
    return signalPassFailure();
  config = *parsed;
  builder.emplace(&getContext());
  labels.emplace(&getContext());
  nameName = builder->getStringAttr(attrs::kName);
  roleName = builder->getStringAttr(attrs::kRole);
  load = builder->getStringAttr("load");
  update = builder->getStringAttr("update");
  Block &body = step.getBody().front();
  stepReturn = cast<func::ReturnOp>(body.getTerminator());
  parameters.clear();
  gradientOf.clear();
  buckets.clear();
  argumentAttributes.clear();
  updated.clear();
  names.clear();
  lastGather = nullptr;
  Attribute parameterRole = builder->getStringAttr("parameter");
  for (BlockArgument argument : body.getArguments()) {
    DictionaryAttr dictionary = step.getArgAttrDict(argument.getArgNumber());
    argumentAttributes.push_back(dictionary ? dictionary : builder->getDictionaryAttr({}));
    names.push_back(dictionary ? dictionary.get(nameName) : Attribute());
    if (dictionary && dictionary.get(roleName) == parameterRole)
      parameters.push_back(argument);
  }
  for (auto [parameter, gradient] : llvm::zip(parameters, stepReturn.getOperands().drop_front()))
    gradientOf[parameter] = gradient;

  collectBuckets();
  for (const Bucket &bucket : buckets)
    distribute(bucket);
  finish();
}
