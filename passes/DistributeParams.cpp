//===- DistributeParams.cpp - Sharded parameters and optimizer states ------===//
#include "Config.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"

namespace moai {
#define GEN_PASS_DEF_DISTRIBUTEPARAMS
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

/// Parameters that are gathered, reduced and updated together: those that one op of one stage reads.
struct Bucket {
  int64_t stage = 0;
  SmallVector<BlockArgument> parameters;
};

struct DistributeParamsPass : public moai::impl::DistributeParamsBase<DistributeParamsPass> {
  void runOnOperation() override;

private:
  SymTensorType shardOf(SymTensorType whole, Type element) {
    int64_t count = whole.countElements(DimBinding());
    return SymTensorType::get(&getContext(), Dim((count + groupSize - 1) / groupSize), element);
  }
  int64_t groupSize = 1;
};

} // namespace

static int64_t stageOf(Operation *op) {
  auto stage = op->getAttrOfType<IntegerAttr>(attrs::kStage);
  return stage ? stage.getInt() : -1;
}

void DistributeParamsPass::runOnOperation() {
  ModuleOp module = getOperation();
  MLIRContext *context = &getContext();
  FailureOr<ParallelConfig> config = getConfig(module);
  auto step = module.lookupSymbol<func::FuncOp>("step");
  if (failed(config))
    return signalPassFailure();
  if (!step) {
    module.emitError("has no function @step whose parameters to distribute");
    return signalPassFailure();
  }
  groupSize = config->zero > 0 ? config->dataParallel : 1;
  OpBuilder builder(context);
  Location loc = step.getLoc();
  Block &body = step.getBody().front();
  auto stepReturn = cast<func::ReturnOp>(body.getTerminator());

  // Parameters and their gradients, in argument order.
  SmallVector<BlockArgument> parameters;
  for (BlockArgument argument : body.getArguments())
    if (step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole) == "parameter")
      parameters.push_back(argument);
  DenseMap<Value, Value> gradientOf;
  for (auto [parameter, gradient] : llvm::zip(parameters, stepReturn.getOperands().drop_front()))
    gradientOf[parameter] = gradient;

  // Buckets in order of first use; a parameter used on several stages is in a bucket of each.
  SmallVector<Bucket> buckets;
  DenseSet<std::pair<Value, int64_t>> placed;
  for (Operation &op : body.without_terminator()) {
    if (op.hasAttr(attrs::kPart))
      continue;
    SmallVector<BlockArgument> read;
    for (Value operand : op.getOperands())
      if (auto argument = dyn_cast<BlockArgument>(operand))
        if (gradientOf.count(argument) && placed.insert({argument, stageOf(&op)}).second)
          read.push_back(argument);
    if (!read.empty())
      buckets.push_back({stageOf(&op), read});
  }

  Type master = builder.getF32Type();
  auto label = [&](Operation *op, int64_t stage, StringRef part) {
    op->setAttr(attrs::kStage, builder.getI64IntegerAttr(stage));
    op->setAttr(attrs::kPart, builder.getStringAttr(part));
  };
  auto isOnStage = [](int64_t stage) { return [stage](OpOperand &use) { return stageOf(use.getOwner()) == stage && !use.getOwner()->hasAttr(attrs::kPart); }; };
  // Arguments are added to the block alone; type and attributes of the function follow at the end, all at once.
  SmallVector<Attribute> argumentAttributes;
  for (unsigned i = 0; i < step.getNumArguments(); ++i) {
    DictionaryAttr dictionary = step.getArgAttrDict(i);
    argumentAttributes.push_back(dictionary ? dictionary : builder.getDictionaryAttr({}));
  }
  auto addArguments = [&](ArrayRef<BlockArgument> of, StringRef role, ArrayRef<Type> types) {
    SmallVector<Value> added;
    for (auto [parameter, type] : llvm::zip(of, types)) {
      NamedAttribute named[] = {builder.getNamedAttr(attrs::kName, step.getArgAttr(parameter.getArgNumber(), attrs::kName)),
                                builder.getNamedAttr(attrs::kRole, builder.getStringAttr(role))};
      argumentAttributes.push_back(builder.getDictionaryAttr(named));
      added.push_back(body.addArgument(type, loc));
    }
    return added;
  };
  // Replaces a parameter on one stage by its copy. A copy that is wider than what kernels read is narrowed ahead of its
  // first use, once in the forward and once in the backward, so that the narrow one doesn't stay.
  auto useCopy = [&](BlockArgument parameter, Value copy, int64_t stage) {
    for (bool backward : {false, true}) {
      Operation *first = nullptr;
      auto isUse = [&](OpOperand &use) { return isOnStage(stage)(use) && use.getOwner()->hasAttr(attrs::kPhase) == backward; };
      Value narrow = copy;
      if (copy.getType() != parameter.getType()) {
        for (OpOperand &use : parameter.getUses())
          if (isUse(use) && (!first || use.getOwner()->isBeforeInBlock(first)))
            first = use.getOwner();
        if (!first)
          continue;
        builder.setInsertionPoint(first);
        auto cast = builder.create<CastOp>(loc, parameter.getType(), copy);
        cast->setAttr(attrs::kStage, builder.getI64IntegerAttr(stage));
        if (backward)
          cast->setAttr(attrs::kPhase, builder.getStringAttr("backward"));
        narrow = cast;
      }
      parameter.replaceUsesWithIf(narrow, isUse);
    }
  };

  SmallVector<Value> updated;
  bool accumulates = config->numMicroBatches > 1;
  for (const Bucket &bucket : buckets) {
    SmallVector<Type> shards, whole, gathered, states;
    for (BlockArgument parameter : bucket.parameters) {
      SymTensorType type = tensorOf(parameter);
      whole.push_back(type);
      shards.push_back(config->zero > 0 ? shardOf(type, master) : SymTensorType::get(context, type.getShape(), master));
      // Without low-precision parameters the copy that is kept is as wide as the master; kernels still compute in the
      // exported type.
      gathered.push_back(config->lowPrecisionParams || !isFloating(type.getElementType()) ? type : SymTensorType::get(context, type.getShape(), master));
    }
    auto masters = addArguments(bucket.parameters, "master_parameter", shards);
    auto first = addArguments(bucket.parameters, "first_moment", shards);
    auto second = addArguments(bucket.parameters, "second_moment", shards);

    // Load: gather the compute copy once per step.
    builder.setInsertionPointToStart(&body);
    Operation *load = nullptr;
    if (config->zero > 0) {
      load = builder.create<AllGatherOp>(loc, gathered, masters, "data", groupSize);
      label(load, bucket.stage, "load");
    }
    for (auto [index, parameter] : llvm::enumerate(bucket.parameters))
      useCopy(parameter, load ? load->getResult(index) : masters[index], bucket.stage);

    // Gradients of this stage: a tied one is what this stage gives to the sum.
    SmallVector<Value> gradients;
    SmallVector<AllReduceOp> tied;
    for (BlockArgument parameter : bucket.parameters) {
      Value gradient = gradientOf[parameter];
      if (auto sum = gradient.getDefiningOp<AllReduceOp>(); sum && sum.getAxis() == "tied") {
        auto own = llvm::find_if(sum.getInputs(), [&](Value input) { return stageOf(input.getDefiningOp()) == bucket.stage; });
        if (own != sum.getInputs().end()) {
          gradient = *own;
          tied.push_back(sum);
        }
      }
      gradients.push_back(gradient);
    }
    if (accumulates) {
      // As soon as the last of them is there, so that no gradient waits for the end of the backward.
      Operation *last = nullptr;
      for (Value gradient : gradients)
        if (Operation *op = gradient.getDefiningOp(); op && (!last || last->isBeforeInBlock(op)))
          last = op;
      if (last)
        builder.setInsertionPointAfter(last);
      else
        builder.setInsertionPoint(stepReturn);
      SmallVector<Type> types(ValueRange(gradients).getTypes());
      auto accumulators = addArguments(bucket.parameters, "gradient_accumulator", types);
      auto sum = builder.create<AccumulateOp>(loc, types, accumulators, gradients);
      sum->setAttr(attrs::kStage, builder.getI64IntegerAttr(bucket.stage));
      sum->setAttr(attrs::kPhase, builder.getStringAttr("backward"));
      gradients.assign(sum.getOutputs().begin(), sum.getOutputs().end());
    }
    builder.setInsertionPoint(stepReturn);
    if (!tied.empty()) {
      SmallVector<Value> summed;
      for (auto [index, parameter] : llvm::enumerate(bucket.parameters))
        if (auto sum = gradientOf[parameter].getDefiningOp<AllReduceOp>(); sum && sum.getAxis() == "tied") {
          auto reduce = builder.create<AllReduceOp>(loc, gradients[index].getType(), gradients[index], "tied", static_cast<int64_t>(sum.getInputs().size()));
          label(reduce, bucket.stage, "update");
          gradients[index] = reduce.getOutputs()[0];
        }
    }
    SmallVector<Type> reducedTypes;
    for (auto [gradient, shard] : llvm::zip(gradients, shards))
      reducedTypes.push_back(config->zero > 0 ? Type(shardOf(tensorOf(gradient), tensorOf(gradient).getElementType())) : gradient.getType());
    Operation *reduce = nullptr;
    if (config->zero > 0)
      reduce = builder.create<ReduceScatterOp>(loc, reducedTypes, gradients, "data", groupSize);
    else if (config->dataParallel > 1)
      reduce = builder.create<AllReduceOp>(loc, reducedTypes, gradients, "data", config->dataParallel);
    if (reduce)
      label(reduce, bucket.stage, "update");
    SmallVector<Value> reduced = reduce ? SmallVector<Value>(reduce->getResults()) : gradients;
    SmallVector<Type> outputs(shards);
    outputs.append(shards);
    outputs.append(shards);
    auto optimizer = builder.create<OptimizerOp>(loc, outputs, reduced, masters, first, second, "adamw");
    label(optimizer, bucket.stage, "update");
    updated.append(optimizer.getOutputs().begin(), optimizer.getOutputs().end());
  }

  SmallVector<Value> results{stepReturn.getOperand(0)};
  results.append(updated);
  stepReturn->setOperands(results);
  for (Operation &op : llvm::make_early_inc_range(llvm::drop_begin(llvm::reverse(body))))
    if (auto sum = dyn_cast<AllReduceOp>(op); sum && sum.getAxis() == "tied" && sum->use_empty() && stageOf(sum) < 0)
      sum->erase();
  step.setFunctionType(builder.getFunctionType(body.getArgumentTypes(), ValueRange(results).getTypes()));
  step.setAllArgAttrs(argumentAttributes);
  BitVector unused(step.getNumArguments());
  for (BlockArgument parameter : parameters)
    if (parameter.use_empty())
      unused.set(parameter.getArgNumber());
  step.eraseArguments(unused);
}
