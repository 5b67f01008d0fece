//===- Pipelines.cpp - The order of the passes -----------------------------===//
#include "moai/Passes/Pipelines.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace moai;

void moai::buildTrainingPipeline(OpPassManager &manager) {
  manager.addPass(createNormalizeGraph());
  manager.addPass(createBuildBackward());
}

void moai::buildCandidatePipeline(OpPassManager &manager, GraphCost *cost) {
  manager.addPass(createSplitMicroBatches());
  manager.addPass(createPartitionStagesPass(cost));
  manager.addPass(createInsertRecompute());
  manager.addPass(createDistributeParams());
  manager.addPass(createSchedulePipeline());
  manager.addPass(createPlanMemory());
}

void moai::registerMoaiPipelines() {
  PassPipelineRegistration<>("moai-training-pipeline", "Imported module to training graph", buildTrainingPipeline);
  PassPipelineRegistration<>("moai-candidate-pipeline", "Training graph with moai.config to one program per stage", [](OpPassManager &manager) {
    manager.addPass(createSplitMicroBatches());
    manager.addPass(createPartitionStages());
    manager.addPass(createInsertRecompute());
    manager.addPass(createDistributeParams());
    manager.addPass(createSchedulePipeline());
    manager.addPass(createPlanMemory());
  });
}
