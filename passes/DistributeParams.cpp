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
/// Those that other stages have as well are apart.
struct Bucket {
  int64_t stage = 0;
  bool isTied = false;
  SmallVector<BlockArgument, 12> parameters;

  Type exported() const { return tensorOf(parameters.front()).getElementType(); }
};

/// What is left to do for a bucket once its gradients are summed.
struct PendingUpdate {
  const Bucket *bucket;
  SmallVector<Value> gradients, masters, states;
};

struct DistributeParamsPass : public moai::impl::DistributeParamsBase<DistributeParamsPass> {
  void runOnOperation() override;

private:
  void readResults();
  void collectBuckets();
  PendingUpdate distribute(const Bucket &bucket);
  SmallVector<Value, 12> load(const Bucket &bucket, ArrayRef<SymTensorType> tensors, ValueRange masters);
  void reduce(const Bucket &bucket, ArrayRef<SymTensorType> tensors, SmallVectorImpl<Value> &gradients);
  void clip(ArrayRef<PendingUpdate> updates);
  void applyUpdate(const PendingUpdate &pending, Value squaredNorm);
  void useCopy(BlockArgument parameter, Value copy, int64_t stage);
  SmallVector<Value> accumulate(const Bucket &bucket);
  void sumTied(const Bucket &bucket, SmallVectorImpl<Value> &gradients);
  void finish();

  bool isSharded() const { return config.zero > 0; }
  AllReduceOp tiedSum(BlockArgument parameter);
  Type elementOf(FloatKind kind, Type exported);
  Type copyElementOf(Type exported) {
    return elementOf(config.lowPrecisionParams ? policy.precision.parameter : FloatKind::Float32, exported);
  }
  /// One flat shard of all the tensors together.
  SymTensorType shardOf(ArrayRef<SymTensorType> tensors, Type element);
  SmallVector<Value, 12> addArguments(const Bucket &bucket, Attribute role, ArrayRef<Type> types, bool isShard);

  // Of the module at hand.
  ParallelConfig config;
  OptimizerPolicy policy;
  OptimizerPolicyAttr policyAttribute;
  std::optional<OpBuilder> builder;
  std::optional<OpLabels> labels;
  func::FuncOp step;
  func::ReturnOp stepReturn;
  SmallVector<BlockArgument> parameters;
  DenseMap<Value, Value> gradientOf;
  std::vector<Bucket> buckets;
  SmallVector<Attribute> argumentAttributes;   ///< arguments are added to the block alone; the function follows at the end
  SmallVector<Value> results;                  ///< of @step: the loss, buffers that the step changes, updated parameters and states
  SmallVector<BlockArgument> updatedArguments; ///< the argument whose next value each result but the loss is
  SmallVector<Attribute> names;                ///< of arguments
  Operation *lastLoad = nullptr;
  StringAttr nameName, roleName, loadPart, updatePart;
};

} // namespace

// Null for a parameter of one stage.
AllReduceOp DistributeParamsPass::tiedSum(BlockArgument parameter) {
  auto sum = gradientOf.lookup(parameter).getDefiningOp<AllReduceOp>();
  return sum && sum.getAxis() == "tied" ? sum : AllReduceOp();
}

Type DistributeParamsPass::elementOf(FloatKind kind, Type exported) {
  if (!isFloating(exported))
    return exported;
  switch (kind) {
  case FloatKind::Float32:
    return builder->getF32Type();
  case FloatKind::BFloat16:
    return builder->getBF16Type();
  case FloatKind::Float16:
    return builder->getF16Type();
  case FloatKind::Exported:
    break;
  }
  return exported;
}

// A parameter used on several stages is in a bucket of each.
void DistributeParamsPass::collectBuckets() {
  DenseSet<std::pair<Value, int64_t>> placed;
  for (Operation &op : step.getBody().front().without_terminator()) {
    if (labels->part(&op))
      continue;
    llvm::MapVector<std::pair<Type, unsigned>, Bucket> byType;
    for (Value operand : op.getOperands())
      if (auto argument = dyn_cast<BlockArgument>(operand); argument && gradientOf.count(argument)) {
        int64_t stage = labels->stage(&op);
        if (!placed.insert({argument, stage}).second)
          continue;
        bool isTied = static_cast<bool>(tiedSum(argument));
        Bucket &bucket = byType[{tensorOf(argument).getElementType(), isTied}];
        bucket.stage = stage;
        bucket.isTied = isTied;
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

// A flat shard is one argument for all tensors of its bucket, and lists their names in order.
SmallVector<Value, 12> DistributeParamsPass::addArguments(const Bucket &bucket, Attribute role, ArrayRef<Type> types, bool isShard) {
  SmallVector<Value, 12> added;
  SmallVector<Attribute, 12> own;
  for (BlockArgument parameter : bucket.parameters)
    own.push_back(names[parameter.getArgNumber()]);
  for (auto [index, type] : llvm::enumerate(types)) {
    Attribute name = isShard ? builder->getArrayAttr(own) : own[index];
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
    if (AllReduceOp sum = tiedSum(parameter)) {
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
  SmallVector<Type> types;
  for (Value gradient : gradients)
    types.push_back(
        SymTensorType::get(&getContext(), tensorOf(gradient).getShape(), elementOf(policy.precision.accumulation, bucket.exported())));
  auto accumulators = addArguments(bucket, builder->getStringAttr("gradient_accumulator"), types, /*isShard=*/false);
  auto sum = builder->create<AccumulateOp>(step.getLoc(), types, accumulators, gradients);
  labels->place(sum, bucket.stage, /*isBackward=*/true);
  return SmallVector<Value>(sum.getOutputs());
}

void DistributeParamsPass::sumTied(const Bucket &bucket, SmallVectorImpl<Value> &gradients) {
  for (auto [parameter, gradient] : llvm::zip(bucket.parameters, gradients))
    if (AllReduceOp sum = tiedSum(parameter)) {
      auto reduce =
          builder->create<AllReduceOp>(step.getLoc(), gradient.getType(), gradient, "tied", sum.getGroupSize(), sum.getStagesAttr());
      labels->place(reduce, bucket.stage, updatePart);
      gradient = reduce.getOutputs()[0];
    }
}

// The compute copies, made once per step: gathered from shards, or cast from masters that are kept in another type. Kernels
// read a parameter that is its own master itself.
SmallVector<Value, 12> DistributeParamsPass::load(const Bucket &bucket, ArrayRef<SymTensorType> tensors, ValueRange masters) {
  Type element = copyElementOf(bucket.exported());
  SmallVector<Type, 12> copies;
  for (SymTensorType type : tensors)
    copies.push_back(type.getElementType() == element ? type : SymTensorType::get(&getContext(), type.getShape(), element));
  if (!isSharded() && masters[0].getType() == copies[0])
    return SmallVector<Value, 12>(masters);
  if (lastLoad)
    builder->setInsertionPointAfter(lastLoad);
  else
    builder->setInsertionPointToStart(&step.getBody().front());
  SmallVector<Value, 12> kept;
  if (isSharded()) {
    auto gather = builder->create<AllGatherOp>(step.getLoc(), copies, masters, "data", config.dataParallel);
    labels->place(gather, bucket.stage, loadPart);
    lastLoad = gather;
    kept.assign(gather.getOutputs().begin(), gather.getOutputs().end());
    return kept;
  }
  for (auto [master, type] : llvm::zip(masters, copies)) {
    auto cast = builder->create<CastOp>(step.getLoc(), type, master);
    labels->place(cast, bucket.stage, loadPart);
    lastLoad = cast;
    kept.push_back(cast);
  }
  return kept;
}

// Sums gradients over the data axis, in the type that the policy asks for.
void DistributeParamsPass::reduce(const Bucket &bucket, ArrayRef<SymTensorType> tensors, SmallVectorImpl<Value> &gradients) {
  Location loc = step.getLoc();
  Type element = elementOf(policy.precision.gradient, bucket.exported());
  for (Value &gradient : gradients)
    if (tensorOf(gradient).getElementType() != element) {
      auto cast = builder->create<CastOp>(loc, SymTensorType::get(&getContext(), tensorOf(gradient).getShape(), element), gradient);
      labels->place(cast, bucket.stage, updatePart);
      gradient = cast;
    }
  sumTied(bucket, gradients);
  Operation *sum = nullptr;
  if (isSharded())
    sum = builder->create<ReduceScatterOp>(loc, shardOf(tensors, element), gradients, "data", config.dataParallel);
  else if (config.dataParallel > 1)
    sum = builder->create<AllReduceOp>(loc, ValueRange(gradients).getTypes(), gradients, "data", config.dataParallel, DenseI64ArrayAttr());
  if (!sum)
    return;
  labels->place(sum, bucket.stage, updatePart);
  gradients.assign(sum->getResults().begin(), sum->getResults().end());
}

PendingUpdate DistributeParamsPass::distribute(const Bucket &bucket) {
  Type master = elementOf(policy.precision.master, bucket.exported()), state = elementOf(policy.precision.state, bucket.exported());
  SmallVector<SymTensorType, 12> tensors;
  SmallVector<Type, 12> masterTypes, stateTypes;
  for (BlockArgument parameter : bucket.parameters) {
    SymTensorType type = tensorOf(parameter);
    tensors.push_back(type);
    if (isSharded())
      continue;
    masterTypes.push_back(SymTensorType::get(&getContext(), type.getShape(), master));
    stateTypes.push_back(SymTensorType::get(&getContext(), type.getShape(), state));
  }
  if (isSharded()) {
    masterTypes.push_back(shardOf(tensors, master));
    stateTypes.push_back(shardOf(tensors, state));
  }
  bool isOwnMaster = !isSharded() && master == copyElementOf(bucket.exported());
  PendingUpdate pending;
  pending.bucket = &bucket;
  auto masters = addArguments(bucket, builder->getStringAttr(isOwnMaster ? "parameter" : "master_parameter"), masterTypes, isSharded());
  pending.masters.assign(masters.begin(), masters.end());
  for (int64_t i = 0; i < policy.numStates(); ++i) {
    auto states = addArguments(bucket, builder->getStringAttr(i == 0 ? "first_moment" : "second_moment"), stateTypes, isSharded());
    pending.states.append(states.begin(), states.end());
  }
  for (auto [parameter, copy] : llvm::zip(bucket.parameters, load(bucket, tensors, masters)))
    useCopy(parameter, copy, bucket.stage);
  pending.gradients = accumulate(bucket);
  builder->setInsertionPoint(stepReturn);
  reduce(bucket, tensors, pending.gradients);
  return pending;
}

void DistributeParamsPass::applyUpdate(const PendingUpdate &pending, Value squaredNorm) {
  SmallVector<Value> taken(pending.masters);
  taken.append(pending.states);
  auto optimizer = builder->create<OptimizerOp>(step.getLoc(), ValueRange(taken).getTypes(), pending.gradients, pending.masters,
                                                pending.states, squaredNorm, policyAttribute);
  labels->place(optimizer, pending.bucket->stage, updatePart);
  results.append(optimizer.getOutputs().begin(), optimizer.getOutputs().end());
  for (Value argument : taken)
    updatedArguments.push_back(cast<BlockArgument>(argument));
}

// Every stage needs the norm over the gradients of all stages. A tied parameter counts on the first stage that has it.
void DistributeParamsPass::clip(ArrayRef<PendingUpdate> updates) {
  Location loc = step.getLoc();
  Type scalar = SymTensorType::get(&getContext(), ArrayRef<Dim>(), builder->getF32Type());
  SmallVector<Value> norms(config.numStages);
  for (int64_t stage = 0; stage < config.numStages; ++stage) {
    SmallVector<Value> counted;
    for (const PendingUpdate &pending : updates) {
      AllReduceOp tied = tiedSum(pending.bucket->parameters.front());
      if (pending.bucket->stage == stage && (!tied || tied.getStages()->front() == stage))
        counted.append(pending.gradients);
    }
    Operation *norm = counted.empty() ? builder->create<GenerateOp>(loc, scalar, "full", ArrayRef<double>{0.0}).getOperation()
                                      : builder->create<SquaredNormOp>(loc, scalar, counted).getOperation();
    labels->place(norm, stage, updatePart);
    auto sumOver = [&](StringRef axis, int64_t size, DenseI64ArrayAttr stages) {
      if (size == 1)
        return;
      norm = builder->create<AllReduceOp>(loc, scalar, norm->getResult(0), axis, size, stages);
      labels->place(norm, stage, updatePart);
    };
    sumOver("data", isSharded() ? config.dataParallel : 1, {});
    sumOver("stage", config.numStages, builder->getDenseI64ArrayAttr(llvm::to_vector(llvm::seq<int64_t>(0, config.numStages))));
    norms[stage] = norm->getResult(0);
  }
  for (const PendingUpdate &pending : updates)
    applyUpdate(pending, norms[pending.bucket->stage]);
}

// @step no longer takes parameters, and returns the loss and the next value of all that it changes.
void DistributeParamsPass::finish() {
  Block &body = step.getBody().front();
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
  SmallVector<Attribute> resultAttributes{builder->getDictionaryAttr(builder->getNamedAttr(roleName, builder->getStringAttr("loss")))};
  for (BlockArgument argument : updatedArguments)
    resultAttributes.push_back(
        builder->getDictionaryAttr(builder->getNamedAttr(attrs::kUpdates, builder->getI64IntegerAttr(argument.getArgNumber()))));
  step.setAllResultAttrs(resultAttributes);
}

// The loss, buffers that the forward changes (which have names), and gradients in the order of the parameters.
void DistributeParamsPass::readResults() {
  results.assign({stepReturn.getOperand(0)});
  updatedArguments.clear();
  unsigned next = 1;
  for (; next < stepReturn.getNumOperands(); ++next) {
    auto name = step.getResultAttrOfType<StringAttr>(next, attrs::kName);
    if (!name)
      break;
    results.push_back(stepReturn.getOperand(next));
    updatedArguments.push_back(step.getArgument(llvm::find(names, name) - names.begin()));
  }
  gradientOf.clear();
  for (auto [parameter, gradient] : llvm::zip(parameters, stepReturn.getOperands().drop_front(next)))
    gradientOf[parameter] = gradient;
}

void DistributeParamsPass::runOnOperation() {
  ModuleOp module = getOperation();
  FailureOr<ParallelConfig> parsed = getConfig(module);
  step = getStep(module);
  if (failed(parsed) || !step)
    return signalPassFailure();
  config = *parsed;
  policyAttribute = getOptimizerAttr(module);
  policy = getOptimizer(module);
  builder.emplace(&getContext());
  labels.emplace(&getContext());
  nameName = builder->getStringAttr(attrs::kName);
  roleName = builder->getStringAttr(attrs::kRole);
  loadPart = builder->getStringAttr("load");
  updatePart = builder->getStringAttr("update");
  Block &body = step.getBody().front();
  stepReturn = cast<func::ReturnOp>(body.getTerminator());
  parameters.clear();
  buckets.clear();
  argumentAttributes.clear();
  names.clear();
  lastLoad = nullptr;
  Attribute parameterRole = builder->getStringAttr("parameter");
  for (BlockArgument argument : body.getArguments()) {
    DictionaryAttr dictionary = step.getArgAttrDict(argument.getArgNumber());
    argumentAttributes.push_back(dictionary ? dictionary : builder->getDictionaryAttr({}));
    names.push_back(dictionary ? dictionary.get(nameName) : Attribute());
    if (dictionary && dictionary.get(roleName) == parameterRole)
      parameters.push_back(argument);
  }
  readResults();

  collectBuckets();
  std::vector<PendingUpdate> updates;
  for (const Bucket &bucket : buckets) {
    updates.push_back(distribute(bucket));
    if (policy.maxGradientNorm == 0)
      applyUpdate(updates.back(), Value());
  }
  if (policy.maxGradientNorm > 0)
    clip(updates);
  finish();
}
