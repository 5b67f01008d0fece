//===- Pipelines.cpp - The order of the passes -----------------------------===//
#include "moai/Passes/Pipelines.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace moai;

void moai::buildTrainingPipeline(OpPassManager &manager) {
  manager.addPass(createNormalizeGraph());
  manager.addPass(createBuildBackward());
}

// Recomputation comes first: what it adds to a stage's time and takes from its memory decides where stages are cut.
void moai::buildCandidatePipeline(OpPassManager &manager, CandidateAnalyses &analyses) {
  manager.addPass(createSplitMicroBatches());
  manager.addPass(createInsertRecompute());
  manager.addPass(createPartitionStages(analyses));
  manager.addPass(createDistributeParams());
  manager.addPass(createSchedulePipeline());
  manager.addPass(createPlanMemory(analyses));
}

void moai::registerMoaiPipelines() {
  PassPipelineRegistration<>("moai-training-pipeline", "Imported module to training graph", buildTrainingPipeline);
  PassPipelineRegistration<>("moai-candidate-pipeline", "Training graph with moai.config to one program per stage",
                             [](OpPassManager &manager) {
                               manager.addPass(createSplitMicroBatches());
                               manager.addPass(createInsertRecompute());
                               manager.addPass(createPartitionStages());
                               manager.addPass(createDistributeParams());
                               manager.addPass(createSchedulePipeline());
                               manager.addPass(createPlanMemory());
                             });
}
