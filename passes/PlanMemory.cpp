//===- PlanMemory.cpp - Peak memory of every stage -------------------------===//
#include "moai/Passes/Pipelines.h"
#include "moai/Plan/Cost.h"
#include "moai/Schedule/PipelineSchedule.h"

namespace moai {
#define GEN_PASS_DEF_PLANMEMORY
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

struct PlanMemoryPass : public moai::impl::PlanMemoryBase<PlanMemoryPass> {
  PlanMemoryPass() = default;
  explicit PlanMemoryPass(CandidateAnalyses &analyses) : shared(&analyses.memory) {}
  void runOnOperation() override;

private:
  StageMemory planStage(func::FuncOp stage, MemoryWalk &walk);

  MemoryWalk *shared = nullptr;
};

} // namespace

static StageOrder orderOf(func::FuncOp stage) {
  StageOrder order;
  for (int64_t task : stage->getAttrOfType<DenseI64ArrayAttr>(attrs::kSchedule).asArrayRef())
    order.push_back({task > 0 ? PipelineTask::Forward : PipelineTask::Backward, (task > 0 ? task : -task) - 1});
  return order;
}

// At the peak, all micro-batches in flight have saved what their backward reads; one of them is inside its forward, or
// inside its backward, which frees what it has read. Parameters, gradients and optimizer states stay all the time.
StageMemory PlanMemoryPass::planStage(func::FuncOp stage, MemoryWalk &walk) {
  StageMemory memory;
  func::CallOp load, forward, backward, update;
  for (auto call : stage.getOps<func::CallOp>()) {
    StringRef part = call.getCallee().rsplit('.').second;
    (part == "load" ? load : part == "forward" ? forward : part == "backward" ? backward : update) = call;
  }
  auto functionOf = [&](func::CallOp call) { return SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(call, call.getCalleeAttr()); };
  for (BlockArgument argument : stage.getArguments()) {
    auto role = stage.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole);
    StringRef name = role ? role.getValue() : "";
    if (name == "master_parameter" || name == "first_moment" || name == "second_moment")
      memory.optimizerStates += walk.bytes(argument);
    else if (name == "gradient_accumulator")
      memory.gradients += walk.bytes(argument);
    else
      memory.parameters += walk.bytes(argument); // buffers and inputs count as well, small as they are
  }
  if (load)
    for (Value result : load.getResults())
      memory.parameters += walk.bytes(result);

  // What goes from the forward to its backward: each storage once.
  auto isResident = [&](Value value) { return isa<BlockArgument>(value) || value.getDefiningOp() == load; };
  int64_t saved = 0, loss = 0, forwardPeak = 0, backwardPeak = 0;
  if (forward) {
    const FunctionMemory &facts = walk.of(functionOf(forward));
    forwardPeak = facts.peak;
    SmallVector<bool> isSaved(forward.getNumResults()), isKept(forward.getNumResults());
    for (auto [number, result] : llvm::enumerate(forward.getResults())) {
      isSaved[facts.firstResult[number]] |= llvm::is_contained(result.getUsers(), backward);
      isKept[facts.firstResult[number]] |= !result.use_empty();
    }
    for (auto [number, size] : llvm::enumerate(facts.resultBytes))
      if (isSaved[number])
        saved += size;
      else if (isKept[number]) // the loss stays, for whoever reads it
        loss += size;
  }
  int64_t gradientBytes = 0;
  if (backward) {
    func::FuncOp function = functionOf(backward);
    // Each storage that the forward left, with the first argument that has it.
    SmallVector<ConsumedStorage> consumed;
    DenseMap<Value, unsigned> owners;
    const FunctionMemory *facts = forward ? &walk.of(functionOf(forward)) : nullptr;
    for (auto [number, operand] : llvm::enumerate(backward.getOperands())) {
      Value storage = operand;
      int64_t size = isResident(operand) ? 0 : walk.bytes(operand);
      if (facts && operand.getDefiningOp() == forward) {
        unsigned first = facts->firstResult[cast<OpResult>(operand).getResultNumber()];
        storage = forward.getResult(first);
        size = facts->resultBytes[first];
      }
      consumed.push_back({size, owners.try_emplace(storage, number).first->second});
    }
    backwardPeak = walk.ofConsuming(function, consumed).peak;
    // Without accumulation the gradients are what the only backward leaves behind.
    if (memory.gradients == 0)
      for (Value result : backward.getResults())
        gradientBytes += walk.bytes(result);
  }
  int64_t inFlight = std::max<int64_t>(1, maxInFlight(orderOf(stage)));
  memory.activations = saved * inFlight + loss;
  memory.saved = saved + loss;
  memory.forwardPeak = forwardPeak;
  memory.backwardPeak = backwardPeak;
  int64_t peak = std::max(forwardPeak, backwardPeak);
  memory.transient = std::max<int64_t>(0, peak - saved);
  if (memory.gradients == 0) {
    memory.gradients = gradientBytes;
    memory.transient = std::max<int64_t>(0, memory.transient - gradientBytes);
  }
  // The update holds the shards of the gradients and the gathered parameters.
  int64_t updatePeak = update ? walk.of(functionOf(update)).peak : 0;
  memory.transient = std::max(memory.transient, updatePeak - memory.activations);
  return memory;
}

void PlanMemoryPass::runOnOperation() {
  ModuleOp module = getOperation();
  Builder builder(&getContext());
  MemoryWalk own(getBinding(module));
  MemoryWalk &walk = shared ? *shared : own;
  walk.forgetCandidate();
  for (auto stage : module.getOps<func::FuncOp>()) {
    if (!stage->hasAttr(attrs::kSchedule))
      continue;
    StageMemory memory = planStage(stage, walk);
    NamedAttribute entries[] = {
        builder.getNamedAttr("backward_peak", builder.getI64IntegerAttr(memory.backwardPeak)),
        builder.getNamedAttr("forward_peak", builder.getI64IntegerAttr(memory.forwardPeak)),
        builder.getNamedAttr("saved", builder.getI64IntegerAttr(memory.saved)),
        builder.getNamedAttr("activations", builder.getI64IntegerAttr(memory.activations)),
        builder.getNamedAttr("gradients", builder.getI64IntegerAttr(memory.gradients)),
        builder.getNamedAttr("optimizer_states", builder.getI64IntegerAttr(memory.optimizerStates)),
        builder.getNamedAttr("parameters", builder.getI64IntegerAttr(memory.parameters)),
        builder.getNamedAttr("total", builder.getI64IntegerAttr(memory.total())),
        builder.getNamedAttr("transient", builder.getI64IntegerAttr(memory.transient)),
    };
    stage->setAttr(attrs::kMemory, builder.getDictionaryAttr(entries));
  }
}

std::unique_ptr<Pass> moai::createPlanMemory(CandidateAnalyses &analyses) { return std::make_unique<PlanMemoryPass>(analyses); }
