//===- GraphCost.cpp - Seconds of IR on a device ---------------------------===//
#include "moai/CostModel/GraphCost.h"
#include "moai/CostModel/Kernel.h"
#include "moai/IR/BlockCall.h"
#include "moai/IR/Storage.h"
#include <algorithm>

using namespace mlir;
using namespace moai;

// Blocks keep their name and body through all candidates; what belongs to a stage is named after it.
bool moai::isSharedFunction(StringRef name) { return !name.starts_with("stage"); }

// Fused attention skips blocks of scores that its mask rules out, which FLOP counts by convention include; the
// efficiencies are of published causal figures, which count the half.
static double computedShare(Operation *op, const DimBinding &binding) {
  auto share = [&](StringRef mask, int64_t window, Value query, Value key) {
    double queries = static_cast<double>(tensorOf(query).getShape()[2].evaluate(binding));
    double keys = static_cast<double>(tensorOf(key).getShape()[2].evaluate(binding));
    if (queries != keys || keys <= 0 || (mask != "causal" && mask != "sliding_window"))
      return 1.0;
    return mask == "causal" ? 0.5 : std::min(0.5, static_cast<double>(window) / keys);
  };
  if (auto attention = dyn_cast<AttentionOp>(op))
    return share(attention.getMask(), attention.getWindow(), attention.getQuery(), attention.getKey());
  if (auto attention = dyn_cast<AttentionBackwardOp>(op))
    return share(attention.getMask(), attention.getWindow(), attention.getQuery(), attention.getKey());
  return 1.0;
}

double GraphCost::seconds(Operation *op) {
  if (BlockCall call = op) {
    double count = static_cast<double>(call.count());
    // Blocks are called often: those that are known need no search for their function.
    if (auto it = functions.find(call.callee().getValue()); it != functions.end())
      return it->second * count;
    auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(op, call.callee());
    return callee ? seconds(callee) * count : 0;
  }
  auto work = dyn_cast<WorkOpInterface>(op);
  if (!work)
    return 0;
  OpWork load = work.getWork(binding);
  load.flops *= computedShare(op, binding);
  double time = kernelSeconds(load, accelerator.device);
  return isa<ExpertMatmulOp, ExpertOuterOp>(op) ? time * expertImbalance : time;
}

double GraphCost::bodySeconds(func::FuncOp function) {
  StorageAnalysis storage(binding);
  double total = 0;
  for (Operation &op : function.getBody().front())
    if (storage.visit(op))
      total += kernelSeconds({OpKernel::Memory, 0, 2.0 * static_cast<double>(tensorOf(op.getResult(0)).countBytes(binding)), false},
                             accelerator.device);
    else
      total += seconds(&op);
  return total;
}

double GraphCost::seconds(func::FuncOp function) {
  if (!isSharedFunction(function.getName()))
    return bodySeconds(function);
  auto it = functions.find(function.getName());
  if (it != functions.end())
    return it->second;
  double total = bodySeconds(function);
  functions[function.getName()] = total;
  return total;
}

double GraphCost::recomputeSeconds(func::FuncOp function) {
  bool shared = isSharedFunction(function.getName());
  if (auto it = recomputations.find(function.getName()); shared && it != recomputations.end())
    return it->second;
  double total = 0;
  for (Operation &op : function.getBody().front())
    if (op.hasAttr(attrs::kRecompute)) {
      total += seconds(&op);
    } else if (BlockCall call = &op) {
      double count = static_cast<double>(call.count());
      if (auto it = recomputations.find(call.callee().getValue()); it != recomputations.end())
        total += it->second * count;
      else if (auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(&op, call.callee()))
        total += recomputeSeconds(callee) * count;
    }
  if (shared)
    recomputations[function.getName()] = total;
  return total;
}

// Nothing for any other op.
static StageCollective describeCollective(Operation *op, const DeviceMesh &mesh) {
  StageCollective found;
  auto along = [&](const char *kind, AxisSet axes) {
    found.kind = kind;
    found.axes = axes;
    found.groupSize = mesh.size(axes);
  };
  if (auto gather = dyn_cast<GatherBucketOp>(op)) {
    along("all_gather", gather.getAxes().getValue());
  } else if (auto scatter = dyn_cast<ScatterBucketOp>(op)) {
    along("reduce_scatter", scatter.getAxes().getValue());
  } else if (auto reduce = dyn_cast<AllReduceOp>(op)) {
    along("all_reduce", reduce.getAxes() ? reduce.getAxes()->getValue() : AxisSet());
    if (reduce.getStages())
      found.groupSize = static_cast<int64_t>(reduce.getStages()->size());
  }
  return found;
}

void GraphCost::addCollectives(Operation *op, int64_t times, const DeviceMesh &mesh, std::vector<StageCollective> &collectives) {
  if (auto repeat = dyn_cast<RepeatOp>(op)) {
    for (Operation &inner : SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(op, repeat.getCalleeAttr()).getBody().front())
      addCollectives(&inner, times * static_cast<int64_t>(repeat.getCount()), mesh, collectives);
    return;
  }
  StageCollective found = describeCollective(op, mesh);
  if (found.kind.empty())
    return;
  ValueRange whole = isa<GatherBucketOp>(op) ? ValueRange(op->getResults()) : ValueRange(op->getOperands());
  for (Value value : whole)
    found.bytes += bytes(value) * times;
  found.count = times;
  for (StageCollective &known : collectives)
    if (known.kind == found.kind && known.axes == found.axes && known.groupSize == found.groupSize) {
      known.bytes += found.bytes;
      known.count += found.count;
      return;
    }
  collectives.push_back(found);
}

static StageMemory readMemory(DictionaryAttr attribute) {
  auto number = [&](StringRef name) { return attribute.getAs<IntegerAttr>(name).getInt(); };
  auto text = [&](StringRef name) { return attribute.getAs<StringAttr>(name).str(); };
  StageMemory memory;
  memory.parameters = number("parameters");
  memory.gradients = number("gradients");
  memory.optimizerStates = number("optimizer_states");
  memory.activations = number("activations");
  memory.temporaries = number("temporaries");
  memory.buffers = number("buffers");
  memory.inputs = number("inputs");
  memory.workspace = number("workspace");
  memory.saved = number("saved");
  memory.forwardPeak = number("forward_peak");
  memory.backwardPeak = number("backward_peak");
  memory.peakPhase = text("peak_phase");
  memory.peakOp = text("peak_op");
  memory.forwardPeakOp = text("forward_peak_op");
  memory.backwardPeakOp = text("backward_peak_op");
  return memory;
}

StageProgram GraphCost::measureStage(func::FuncOp stage, const DeviceMesh &mesh) {
  StageProgram program;
  for (auto call : stage.getOps<func::CallOp>()) {
    auto function = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(call, call.getCalleeAttr());
    StringRef part = call.getCallee().rsplit('.').second;
    if (part == "forward")
      program.forwardSeconds = seconds(function);
    else if (part == "backward") {
      program.backwardSeconds = seconds(function);
      program.recomputeSeconds = recomputeSeconds(function);
    } else {
      program.updateSeconds += seconds(function); // masters cast by the load, and the update
    }
    for (Operation &op : function.getBody().front()) {
      addCollectives(&op, 1, mesh, program.collectives);
      if (auto send = dyn_cast<SendOp>(op); send && part == "forward")
        for (Value value : send.getInputs())
          program.sendBytes += bytes(value);
    }
  }
  for (int64_t task : stage->getAttrOfType<DenseI64ArrayAttr>(attrs::kSchedule).asArrayRef())
    program.order.push_back({task > 0 ? PipelineTask::Forward : PipelineTask::Backward, (task > 0 ? task : -task) - 1});
  if (auto memory = stage->getAttrOfType<DictionaryAttr>(attrs::kMemory))
    program.memory = readMemory(memory);
  return program;
}
