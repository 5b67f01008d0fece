//===- SchedulePipeline.cpp - One program per stage, and its order ---------===//
#include "CandidateInput.h"
#include "OpLabels.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/BlockCall.h"
#include "moai/Passes/Passes.h"
#include "moai/Schedule/PipelineSchedule.h"
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

/// One part of a stage: its ops, and what other parts and the end of the step read of their results.
struct PartContent {
  SmallVector<Operation *> ops;
  llvm::SetVector<Value> outputs;
};

/// All parts; number `stage * kNumParts + part`.
struct Parts {
  std::vector<PartContent> contents;
  DenseMap<Operation *, size_t> numbers;
};

struct SchedulePipelinePass : public moai::impl::SchedulePipelineBase<SchedulePipelinePass> {
  void runOnOperation() override;

private:
  LogicalResult collectParts(func::FuncOp step, int64_t numStages, Parts &parts);
  func::FuncOp outlinePart(Location loc, StringRef name, size_t number, const Parts &parts, SmallVectorImpl<Value> &inputs);
  void outlineStage(func::FuncOp step, int64_t stage, const Parts &parts, const StageOrder &order);
};

} // namespace

LogicalResult SchedulePipelinePass::collectParts(func::FuncOp step, int64_t numStages, Parts &parts) {
  OpLabels labels(&getContext());
  Attribute load = StringAttr::get(&getContext(), "load");
  parts.contents.resize(numStages * kNumParts);
  for (Operation &op : step.getBody().front().without_terminator()) {
    int64_t stage = labels.stage(&op);
    if (stage < 0 || stage >= numStages)
      return op.emitOpError() << "has no stage below " << numStages;
    Attribute outside = labels.part(&op);
    unsigned part = outside ? (outside == load ? Load : Update) : labels.isBackward(&op) ? Backward : Forward;
    size_t number = stage * kNumParts + part;
    parts.contents[number].ops.push_back(&op);
    parts.numbers[&op] = number;
  }
  for (Operation &op : step.getBody().front()) {
    auto own = parts.numbers.find(&op); // none at the end of the step
    for (Value operand : op.getOperands())
      if (Operation *producer = operand.getDefiningOp())
        if (size_t number = parts.numbers.find(producer)->second; own == parts.numbers.end() || number != own->second) {
          if (own != parts.numbers.end() && number / kNumParts != own->second / kNumParts)
            return op.emitOpError() << "on stage " << own->second / kNumParts << " reads a value of stage " << number / kNumParts
                                    << ", which nothing sends";
          if (own != parts.numbers.end() && number > own->second)
            return op.emitOpError() << "in the " << kPartNames[own->second % kNumParts] << " reads " << producer->getName()
                                    << "'s result, which the " << kPartNames[number % kNumParts] << " makes";
          parts.contents[number].outputs.insert(operand);
        }
  }
  return success();
}

// Moves a part's ops into a function of their own; `inputs` are the values of @step that it takes.
func::FuncOp SchedulePipelinePass::outlinePart(Location loc, StringRef name, size_t number, const Parts &parts,
                                               SmallVectorImpl<Value> &inputs) {
  MLIRContext *context = &getContext();
  StringAttr blockName = StringAttr::get(context, attrs::kBlock), recomputeName = StringAttr::get(context, attrs::kRecompute),
             seedName = StringAttr::get(context, attrs::kSeed);
  const PartContent &content = parts.contents[number];
  auto function = func::FuncOp::create(loc, name, FunctionType::get(context, {}, {}));
  function.setPrivate();
  Block *body = function.addEntryBlock();
  size_t numOperands = 0;
  for (Operation *op : content.ops)
    numOperands += op->getNumOperands();
  DenseMap<Value, Value> arguments;
  arguments.reserve(numOperands);
  for (Operation *op : content.ops) {
    op->moveBefore(body, body->end());
    for (OpOperand &operand : op->getOpOperands()) {
      Operation *producer = operand.get().getDefiningOp();
      if (producer && parts.numbers.find(producer)->second == number)
        continue;
      Value &argument = arguments[operand.get()];
      if (!argument) {
        argument = body->addArgument(operand.get().getType(), loc);
        inputs.push_back(operand.get());
      }
      operand.set(argument);
    }
    // The place is told by the function now.
    SmallVector<NamedAttribute, 2> kept;
    for (StringAttr keptName : {blockName, recomputeName, seedName})
      if (Attribute value = op->getDiscardableAttr(keptName))
        kept.push_back({keptName, value});
    op->setDiscardableAttrs(DictionaryAttr::getWithSorted(context, kept));
  }
  auto builder = OpBuilder::atBlockEnd(body);
  builder.create<func::ReturnOp>(loc, content.outputs.getArrayRef());
  function.setFunctionType(builder.getFunctionType(body->getArgumentTypes(), ValueRange(content.outputs.getArrayRef()).getTypes()));
  return function;
}

// One function per part, and one that calls them as the stage's program.
void SchedulePipelinePass::outlineStage(func::FuncOp step, int64_t stage, const Parts &parts, const StageOrder &order) {
  OpBuilder builder(&getContext());
  Location loc = step.getLoc();
  std::string name = "stage" + std::to_string(stage);
  builder.setInsertionPointToEnd(getOperation().getBody());
  auto stageFunction = builder.create<func::FuncOp>(loc, name, builder.getFunctionType({}, {}));
  Block *stageBody = stageFunction.addEntryBlock();
  SmallVector<Attribute> argumentAttributes;
  DenseMap<Value, Value> inStage; // values of @step as the stage's function sees them
  inStage.reserve(2 * step.getNumArguments());
  auto stageValue = [&](Value value) {
    Value &seen = inStage[value];
    if (!seen) {
      // Only arguments of @step arrive here: transfers have cut everything else.
      seen = stageBody->addArgument(value.getType(), loc);
      argumentAttributes.push_back(step.getArgAttrDict(cast<BlockArgument>(value).getArgNumber()));
    }
    return seen;
  };

  for (unsigned part = 0; part < kNumParts; ++part) {
    size_t number = stage * kNumParts + part;
    const PartContent &content = parts.contents[number];
    if (content.ops.empty())
      continue;
    SmallVector<Value> inputs, operands;
    func::FuncOp function = outlinePart(loc, name + "." + kPartNames[part], number, parts, inputs);
    builder.setInsertionPoint(stageFunction);
    builder.insert(function);
    for (Value input : inputs)
      operands.push_back(stageValue(input));
    builder.setInsertionPointToEnd(stageBody);
    auto call = builder.create<func::CallOp>(loc, function, operands);
    for (auto [output, result] : llvm::zip(content.outputs, call.getResults()))
      inStage[output] = result;
  }

  SmallVector<Value> results;
  SmallVector<Attribute> resultAttributes;
  for (auto [number, value] : llvm::enumerate(step.getBody().front().getTerminator()->getOperands()))
    if (auto it = inStage.find(value); it != inStage.end() && value.getDefiningOp()) {
      results.push_back(it->second);
      auto updated = step.getResultAttrOfType<IntegerAttr>(number, attrs::kUpdates);
      if (!updated) {
        resultAttributes.push_back(step.getResultAttrDict(number));
        continue;
      }
      auto own = cast<BlockArgument>(stageValue(step.getArgument(updated.getInt())));
      resultAttributes.push_back(
          builder.getDictionaryAttr(builder.getNamedAttr(attrs::kUpdates, builder.getI64IntegerAttr(own.getArgNumber()))));
    }
  builder.setInsertionPointToEnd(stageBody);
  builder.create<func::ReturnOp>(loc, results);
  stageFunction.setFunctionType(builder.getFunctionType(stageBody->getArgumentTypes(), ValueRange(results).getTypes()));
  stageFunction.setAllArgAttrs(argumentAttributes);
  stageFunction.setAllResultAttrs(resultAttributes);
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
    module.walk([&](Operation *op) {
      if (BlockCall call = op)
        called.insert(call.callee().getAttr());
    });
    for (auto function : llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
      if (function.isPrivate() && !called.contains(function.getNameAttr())) {
        function.erase();
        changed = true;
      }
  }
}

void SchedulePipelinePass::runOnOperation() {
  ModuleOp module = getOperation();
  func::FuncOp step = getStep(module);
  FailureOr<ParallelConfig> config = getConfig(module);
  if (failed(config) || !step)
    return signalPassFailure();
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
    outlineStage(step, stage, parts, (*order)[stage]);
  step.erase();
  eraseUncalled(module);
}
