//===- DistributeParams.cpp - Sharded parameters and optimizer states ------===//
#include "DistributeParams.h"
#include "CandidateInput.h"
#include "RepeatBody.h"
#include "moai/Passes/Passes.h"
#include "llvm/ADT/MapVector.h"

namespace moai {
#define GEN_PASS_DEF_DISTRIBUTEPARAMS
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {
struct DistributeParamsPass : public moai::impl::DistributeParamsBase<DistributeParamsPass> {
  void runOnOperation() override {
    FailureOr<ParallelConfig> config = getConfig(getOperation());
    func::FuncOp step = getStep(getOperation());
    if (failed(config) || !step)
      return signalPassFailure();
    ParameterDistributor(step, *config).run();
  }
};
} // namespace

ParameterDistributor::ParameterDistributor(func::FuncOp step, const ParallelConfig &config)
    : step(step), stepReturn(cast<func::ReturnOp>(step.getBody().front().getTerminator())), config(config), mesh(config),
      policyAttribute(getOptimizerAttr(step->getParentOfType<ModuleOp>())), policy(getOptimizer(step->getParentOfType<ModuleOp>())),
      context(step.getContext()), builder(context), labels(context), nameName(builder.getStringAttr(attrs::kName)),
      roleName(builder.getStringAttr(attrs::kRole)), loadPart(builder.getStringAttr("load")), updatePart(builder.getStringAttr("update")) {}

// Null for a parameter of one stage.
AllReduceOp ParameterDistributor::tiedSum(BlockArgument parameter) {
  auto sum = gradientOf.lookup(parameter).getDefiningOp<AllReduceOp>();
  return sum && sum.getStages() ? sum : AllReduceOp();
}

Type ParameterDistributor::elementOf(FloatKind kind, Type exported) {
  if (!isFloating(exported))
    return exported;
  switch (kind) {
  case FloatKind::Float32:
    return builder.getF32Type();
  case FloatKind::BFloat16:
    return builder.getBF16Type();
  case FloatKind::Float16:
    return builder.getF16Type();
  case FloatKind::Exported:
    break;
  }
  return exported;
}

// All stages sum their tied gradients in one order, that of the parameters, whichever each of them uses first: devices meet in the order in
// which they come.
static void orderTied(std::vector<Bucket> &buckets, int64_t numStages) {
  for (int64_t stage = 0; stage < numStages; ++stage) {
    SmallVector<Bucket *> places;
    for (Bucket &bucket : buckets)
      if (bucket.isTied && bucket.stage == stage)
        places.push_back(&bucket);
    SmallVector<Bucket> sorted;
    for (Bucket *place : places)
      sorted.push_back(std::move(*place));
    llvm::stable_sort(
        sorted, [](const Bucket &a, const Bucket &b) { return a.parameters.front().getArgNumber() < b.parameters.front().getArgNumber(); });
    for (auto [place, bucket] : llvm::zip(places, sorted))
      *place = std::move(bucket);
  }
}

// A parameter used on several stages is in a bucket of each, alone.
void ParameterDistributor::collectBuckets() {
  DenseSet<std::pair<Value, int64_t>> placed;
  for (Operation &op : step.getBody().front().without_terminator()) {
    if (labels.part(&op))
      continue;
    llvm::MapVector<std::pair<Type, unsigned>, Bucket> byType;
    for (Value operand : op.getOperands())
      if (auto argument = dyn_cast<BlockArgument>(operand); argument && gradientOf.count(argument)) {
        int64_t stage = labels.stage(&op);
        if (!placed.insert({argument, stage}).second)
          continue;
        bool isTied = static_cast<bool>(tiedSum(argument));
        Bucket &bucket = byType[{tensorOf(argument).getElementType(), isTied ? argument.getArgNumber() + 1 : 0}];
        bucket.stage = stage;
        bucket.isTied = isTied;
        bucket.parameters.push_back(argument);
      }
    for (auto &[type, bucket] : byType)
      buckets.push_back(std::move(bucket));
  }
  orderTied(buckets, config.numStages);
}

SymTensorType ParameterDistributor::shardOf(ArrayRef<SymTensorType> tensors, Type element) {
  int64_t count = 0;
  for (SymTensorType tensor : tensors)
    count += tensor.countElements(DimBinding());
  return SymTensorType::get(context, Dim((count + mesh.numReplicas() - 1) / mesh.numReplicas()), element);
}

// A flat shard is one argument for all tensors of its bucket, and lists their names in order. Of stacks every argument is one.
SmallVector<Value, 12> ParameterDistributor::addArguments(const Bucket &bucket, Attribute role, ArrayRef<Type> types, bool isShard) {
  SmallVector<Value, 12> added;
  SmallVector<Attribute, 12> own;
  for (BlockArgument parameter : bucket.parameters)
    own.push_back(names[parameter.getArgNumber()]);
  for (auto [index, type] : llvm::enumerate(types)) {
    Attribute name = isShard ? builder.getArrayAttr(own) : own[index];
    NamedAttribute sorted[] = {{nameName, name}, {roleName, role}};
    argumentAttributes.push_back(DictionaryAttr::getWithSorted(context, sorted));
    Type whole = stackLike(bucket.parameters.front().getType(), cast<SymTensorType>(type));
    added.push_back(step.getBody().front().addArgument(whole, step.getLoc()));
  }
  return added;
}

// Inside of a repeat the labels are its own.
void ParameterDistributor::place(Operation *op, const Bucket &bucket, Attribute part) {
  if (!isInBody)
    labels.place(op, bucket.stage, part);
}

// Emits ops for a bucket's tensors where the builder stands, or, if they are stacks, a repeat that does it for each instance.
SmallVector<Value> ParameterDistributor::forEach(const Bucket &bucket, StringRef name, StringAttr part, ValueRange inputs, EmitOps emit) {
  if (!bucket.isStacked())
    return emit(inputs);
  SmallVector<Type> types;
  for (Value input : inputs)
    types.push_back(tensorOf(input));
  func::FuncOp body = createBody(step->getParentOfType<ModuleOp>(), bucket.stage, name, types);
  SmallVector<Value> outputs;
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(&body.getBody().front());
    isInBody = true;
    outputs = emit(body.getArguments());
    isInBody = false;
    builder.create<func::ReturnOp>(step.getLoc(), outputs);
  }
  updateBodyType(body);
  types.clear();
  for (Value output : outputs)
    types.push_back(stackLike(bucket.parameters.front().getType(), tensorOf(output)));
  auto repeat = builder.create<RepeatOp>(step.getLoc(), types, inputs, body.getName(), countTensors(bucket.parameters.front().getType()),
                                         SmallVector<int64_t>(inputs.size(), -1), ArrayAttr(), /*reversed=*/false);
  labels.place(repeat, bucket.stage, part);
  return SmallVector<Value>(repeat.getResults());
}

// Arguments for a bucket's masters and states, and the use of its copies in the step.
PendingUpdate ParameterDistributor::distribute(const Bucket &bucket) {
  Type master = elementOf(policy.precision.master, bucket.exported()), state = elementOf(policy.precision.state, bucket.exported());
  PendingUpdate pending{&bucket, {}, {}, {}, {}};
  SmallVector<Type, 12> masterTypes, stateTypes;
  for (BlockArgument parameter : bucket.parameters) {
    SymTensorType type = tensorOf(parameter);
    pending.tensors.push_back(type);
    if (isSharded())
      continue;
    masterTypes.push_back(SymTensorType::get(context, type.getShape(), master));
    stateTypes.push_back(SymTensorType::get(context, type.getShape(), state));
  }
  if (isSharded()) {
    masterTypes.push_back(shardOf(pending.tensors, master));
    stateTypes.push_back(shardOf(pending.tensors, state));
  }
  bool isOwnMaster = !isSharded() && master == copyElementOf(bucket.exported());
  auto masters = addArguments(bucket, builder.getStringAttr(isOwnMaster ? "parameter" : "master_parameter"), masterTypes, isSharded());
  pending.masters.assign(masters.begin(), masters.end());
  for (int64_t i = 0; i < policy.numStates(); ++i) {
    auto states = addArguments(bucket, builder.getStringAttr(i == 0 ? "first_moment" : "second_moment"), stateTypes, isSharded());
    pending.states.append(states.begin(), states.end());
  }
  for (auto [parameter, copy] : llvm::zip(bucket.parameters, load(bucket, pending.tensors, masters)))
    useCopy(parameter, copy, bucket.stage);
  pending.gradients = accumulate(bucket);
  return pending;
}

// @step no longer takes parameters, and returns the loss and the next value of all that it changes.
void ParameterDistributor::finish() {
  Block &body = step.getBody().front();
  stepReturn->setOperands(results);
  for (Operation &op : llvm::make_early_inc_range(llvm::drop_begin(llvm::reverse(body))))
    if (auto sum = dyn_cast<AllReduceOp>(op); sum && sum.getStages() && sum->use_empty() && labels.stage(sum) < 0)
      sum->erase();
  step.setFunctionType(builder.getFunctionType(body.getArgumentTypes(), ValueRange(results).getTypes()));
  step.setAllArgAttrs(argumentAttributes);
  BitVector unused(step.getNumArguments());
  for (BlockArgument parameter : parameters)
    if (parameter.use_empty())
      unused.set(parameter.getArgNumber());
  step.eraseArguments(unused);
  SmallVector<Attribute> resultAttributes{builder.getDictionaryAttr(builder.getNamedAttr(roleName, builder.getStringAttr("loss")))};
  for (BlockArgument argument : updatedArguments)
    resultAttributes.push_back(
        builder.getDictionaryAttr(builder.getNamedAttr(attrs::kUpdates, builder.getI64IntegerAttr(argument.getArgNumber()))));
  step.setAllResultAttrs(resultAttributes);
}

// The loss, buffers that the forward changes (which have names), and gradients in the order of the parameters.
void ParameterDistributor::readResults() {
  results.assign({stepReturn.getOperand(0)});
  unsigned next = 1;
  for (; next < stepReturn.getNumOperands(); ++next) {
    auto name = step.getResultAttrOfType<StringAttr>(next, attrs::kName);
    if (!name)
      break;
    results.push_back(stepReturn.getOperand(next));
    updatedArguments.push_back(step.getArgument(llvm::find(names, name) - names.begin()));
  }
  for (auto [parameter, gradient] : llvm::zip(parameters, stepReturn.getOperands().drop_front(next)))
    gradientOf[parameter] = gradient;
}

void ParameterDistributor::readArguments() {
  Attribute parameterRole = builder.getStringAttr("parameter");
  for (BlockArgument argument : step.getArguments()) {
    DictionaryAttr dictionary = step.getArgAttrDict(argument.getArgNumber());
    argumentAttributes.push_back(dictionary ? dictionary : builder.getDictionaryAttr({}));
    names.push_back(dictionary ? dictionary.get(nameName) : Attribute());
    if (dictionary && dictionary.get(roleName) == parameterRole)
      parameters.push_back(argument);
  }
}

void ParameterDistributor::run() {
  readArguments();
  readResults();
  collectBuckets();
  std::vector<PendingUpdate> updates;
  for (const Bucket &bucket : buckets) {
    updates.push_back(distribute(bucket));
    if (policy.maxGradientNorm == 0)
      update(updates.back());
  }
  if (policy.maxGradientNorm > 0)
    clip(updates);
  finish();
}
