//===- StepTime.cpp - Seconds of a whole step ------------------------------===//
#include "moai/CostModel/StepTime.h"
#include "moai/CostModel/Collective.h"
#include <algorithm>

using namespace moai;

namespace {
/// What simulatePipeline takes.
struct PipelineInput {
  PipelineOrder order;
  std::vector<double> forward, backward, transfer;
};
} // namespace

static PipelineInput pipelineOf(llvm::ArrayRef<StageProgram> stages, const DeviceMesh &mesh, const Accelerator &accelerator) {
  PipelineInput input;
  for (auto [index, stage] : llvm::enumerate(stages)) {
    input.order.push_back(stage.order);
    input.forward.push_back(stage.forwardSeconds);
    input.backward.push_back(stage.backwardSeconds);
    if (index + 1 < stages.size())
      input.transfer.push_back(sendSeconds(static_cast<double>(stage.sendBytes),
                                           mesh.crossesNodes(MeshAxis::Stage, static_cast<int64_t>(index), accelerator.devicesPerNode),
                                           accelerator));
  }
  return input;
}

std::vector<std::vector<TaskTime>> moai::timeStepTasks(llvm::ArrayRef<StageProgram> stages, const ParallelConfig &config,
                                                       const Accelerator &accelerator) {
  PipelineInput input = pipelineOf(stages, DeviceMesh(config), accelerator);
  return timeTasks(input.order, input.forward, input.backward, input.transfer);
}

CostBreakdown moai::stepCost(llvm::ArrayRef<StageProgram> stages, const ParallelConfig &config, const Accelerator &accelerator) {
  CostBreakdown cost;
  DeviceMesh mesh(config);
  for (const StageProgram &stage : stages) {
    double gather = 0, reduce = 0;
    for (const StageCollective &collective : stage.collectives) {
      CollectiveKind kind = collective.kind == "all_gather"       ? CollectiveKind::AllGather
                            : collective.kind == "reduce_scatter" ? CollectiveKind::ReduceScatter
                                                                  : CollectiveKind::AllReduce;
      double perBucket = static_cast<double>(collective.bytes) / static_cast<double>(std::max<int64_t>(1, collective.count));
      GroupShape group = collective.axes.isEmpty() ? mesh.shapeAlong(MeshAxis::Stage, collective.groupSize) : mesh.shapeOf(collective.axes);
      double seconds = static_cast<double>(collective.count) * collectiveSeconds(kind, perBucket, group, accelerator);
      (collective.kind == "all_gather" ? gather : reduce) += seconds;
    }
    cost.parameterGather = std::max(cost.parameterGather, gather);
    cost.gradientReduce = std::max(cost.gradientReduce, reduce);
    cost.optimizer = std::max(cost.optimizer, stage.updateSeconds);
  }
  PipelineInput input = pipelineOf(stages, mesh, accelerator);
  PipelineTime time = simulatePipeline(input.order, input.forward, input.backward, input.transfer);
  const StageProgram &critical = stages[time.criticalStage];
  double microBatches = static_cast<double>(config.numMicroBatches);
  cost.forward = microBatches * critical.forwardSeconds;
  cost.backward = microBatches * (critical.backwardSeconds - critical.recomputeSeconds);
  cost.recompute = microBatches * critical.recomputeSeconds;
  cost.bubble = time.bubbleSeconds[time.criticalStage];
  cost.transfer = time.transferSeconds;
  return cost;
}
