//===- SchedulePipeline.cpp - One program per stage, and its order ---------===//
#include "Config.h"
#include "OpLabels.h"
#include "moai/Passes/Passes.h"
#include "moai/Schedule/PipelineSchedule.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace moai {
#define GEN_PASS_DEF_SCHEDULEPIPELINE
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

enum Part : unsigned { Load, Forward, Backward, Update, kNumParts };
constexpr const char *kPartNames[kNumParts] = {"load", "forward", "backward", "update"};

/// The ops of @step by stage and part, and the number of the part each is in.
struct Parts {
  std::vector<std::array<SmallVector<Operation *>, kNumParts>> ops;
  DenseMap<Operation *, int64_t> numbers;
  static int64_t numberOf(int64_t stage, unsigned part) { return stage * kNumParts + part; }
  bool isIn(Operation *op, int64_t number) const {
    auto it = numbers.find(op);
    return it != numbers.end() && it->second == number;
  }
};

struct SchedulePipelinePass : public moai::impl::SchedulePipelineBase<SchedulePipelinePass> {
  void runOnOperation() override;

private:
  LogicalResult collectParts(func::FuncOp step, int64_t numStages, Parts &parts);
  void outline(func::FuncOp step, int64_t stage, const Parts &parts, const StageOrder &order);
};

} // namespace

LogicalResult SchedulePipelinePass::collectParts(func::FuncOp step, int64_t numStages, Parts &parts) {
  OpLabels labels(&getContext());
  Attribute load = StringAttr::get(&getContext(), "load");
  parts.ops.resize(numStages);
  for (Operation &op : step.getBody().front().without_terminator()) {
    int64_t stage = labels.stage(&op);
    if (stage < 0 || stage >= numStages)
      return op.emitOpError() << "has no stage below " << numStages;
    Attribute outside = labels.part(&op);
    unsigned part = outside ? (outside == load ? Load : Update) : labels.isBackward(&op) ? Backward : Forward;
    parts.ops[stage][part].push_back(&op);
    parts.numbers[&op] = Parts::numberOf(stage, part);
  }
  return success();
}

// Moves the stage's ops into one function per part, and calls these from the stage's own function.
void SchedulePipelinePass::outline(func::FuncOp step, int64_t stage, const Parts &parts, const StageOrder &order) {
  MLIRContext *context = &getContext();
  OpBuilder builder(context);
  Location loc = step.getLoc();
  std::string name = "stage" + std::to_string(stage);
  builder.setInsertionPointToEnd(getOperation().getBody());
  auto stageFunction = builder.create<func::FuncOp>(loc, name, builder.getFunctionType({}, {}));
  Block *stageBody = stageFunction.addEntryBlock();
  SmallVector<Attribute> argumentAttributes;
  DenseMap<Value, Value> inStage; // values of @step as the stage's function sees them
  auto stageValue = [&](Value value) {
    Value &seen = inStage[value];
    if (!seen) {
      // Only arguments of @step arrive here: transfers have cut everything else.
      seen = stageBody->addArgument(value.getType(), loc);
      argumentAttributes.push_back(step.getArgAttrDict(cast<BlockArgument>(value).getArgNumber()));
    }
    return seen;
  };

  StringAttr blockName = StringAttr::get(context, attrs::kBlock), recomputeName = StringAttr::get(context, attrs::kRecompute);
  for (unsigned part = 0; part < kNumParts; ++part) {
    ArrayRef<Operation *> ops = parts.ops[stage][part];
    if (ops.empty())
      continue;
    int64_t number = Parts::numberOf(stage, part);
    llvm::SetVector<Value> inputs, outputs;
    for (Operation *op : ops) {
      for (Value operand : op->getOperands())
        if (Operation *producer = operand.getDefiningOp(); !producer || !parts.isIn(producer, number))
          inputs.insert(operand);
      for (Value result : op->getResults())
        if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !parts.isIn(user, number); }))
          outputs.insert(result);
    }
    builder.setInsertionPoint(stageFunction);
    auto function = builder.create<func::FuncOp>(
        loc, name + "." + kPartNames[part],
        builder.getFunctionType(ValueRange(inputs.getArrayRef()).getTypes(), ValueRange(outputs.getArrayRef()).getTypes()));
    function.setPrivate();
    Block *body = function.addEntryBlock();
    DenseMap<Value, Value> arguments;
    for (auto [input, argument] : llvm::zip(inputs, body->getArguments()))
      arguments[input] = argument;
    for (Operation *op : ops) {
      op->moveBefore(body, body->end());
      for (OpOperand &operand : op->getOpOperands())
        if (auto it = arguments.find(operand.get()); it != arguments.end())
          operand.set(it->second);
      // The place is told by the function now.
      SmallVector<NamedAttribute, 2> kept;
      for (StringAttr name : {blockName, recomputeName})
        if (Attribute value = op->getDiscardableAttr(name))
          kept.push_back({name, value});
      op->setDiscardableAttrs(DictionaryAttr::getWithSorted(context, kept));
    }
    builder.setInsertionPointToEnd(body);
    builder.create<func::ReturnOp>(loc, outputs.getArrayRef());
    builder.setInsertionPointToEnd(stageBody);
    SmallVector<Value> operands;
    for (Value input : inputs)
      operands.push_back(stageValue(input));
    auto call = builder.create<func::CallOp>(loc, function, operands);
    for (auto [output, result] : llvm::zip(outputs, call.getResults()))
      inStage[output] = result;
  }

  SmallVector<Value> results;
  for (Value value : step.getBody().front().getTerminator()->getOperands())
    if (auto it = inStage.find(value); it != inStage.end() && value.getDefiningOp())
      results.push_back(it->second);
  builder.setInsertionPointToEnd(stageBody);
  builder.create<func::ReturnOp>(loc, results);
  stageFunction.setFunctionType(builder.getFunctionType(stageBody->getArgumentTypes(), ValueRange(results).getTypes()));
  stageFunction.setAllArgAttrs(argumentAttributes);
  stageFunction->setAttr(attrs::kStage, builder.getI64IntegerAttr(stage));
  SmallVector<int64_t> tasks;
  for (const PipelineTask &task : order)
    tasks.push_back(task.kind == PipelineTask::Forward ? task.microBatch + 1 : -(task.microBatch + 1));
  stageFunction->setAttr(attrs::kSchedule, builder.getDenseI64ArrayAttr(tasks));
}

static void eraseUncalled(ModuleOp module) {
  bool changed = true;
  while (changed) {
    changed = false;
    llvm::DenseSet<Attribute> called;
    module.walk([&](func::CallOp call) { called.insert(call.getCalleeAttr().getAttr()); });
    for (auto function : llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
      if (function.isPrivate() && !called.contains(function.getNameAttr())) {
        function.erase();
        changed = true;
      }
  }
}

void SchedulePipelinePass::runOnOperation() {
  ModuleOp module = getOperation();
  auto step = module.lookupSymbol<func::FuncOp>("step");
  FailureOr<ParallelConfig> config = getConfig(module);
  if (failed(config))
    return signalPassFailure();
  if (!step) {
    module.emitError("has no function @step to schedule");
    return signalPassFailure();
  }
  auto order = buildSchedule(config->schedule, config->numStages, config->numMicroBatches);
  if (!order.ok()) {
    module.emitError() << std::string(order.status().message());
    return signalPassFailure();
  }
  if (absl::Status status = verifySchedule(*order, config->numMicroBatches); !status.ok()) {
    module.emitError() << std::string(status.message());
    return signalPassFailure();
  }
  Parts parts;
  if (failed(collectParts(step, config->numStages, parts)))
    return signalPassFailure();
  for (int64_t stage = 0; stage < config->numStages; ++stage)
    outline(step, stage, parts, (*order)[stage]);
  step.erase();
  eraseUncalled(module);
}
