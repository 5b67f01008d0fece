//===- Pipelines.cpp - The order of the passes -----------------------------===//
#include "moai/Passes/Pipelines.h"
#include "absl/strings/str_cat.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;
using namespace moai;

void moai::buildTrainingPipeline(OpPassManager &manager) {
  manager.addPass(createNormalizeGraph());
  manager.addPass(createRollBlocks());
  manager.addPass(createBuildBackward());
}

absl::Status moai::buildTrainingGraph(ModuleOp module) {
  std::string reason;
  ScopedDiagnosticHandler diagnostics(module.getContext(), [&](Diagnostic &diagnostic) {
    if (reason.empty())
      reason = diagnostic.str();
  });
  PassManager manager(module.getContext(), ModuleOp::getOperationName());
  manager.enableVerifier(false);
  buildTrainingPipeline(manager);
  if (failed(manager.run(module)))
    return absl::InvalidArgumentError(absl::StrCat("the backward can't be built: ", reason));
  return absl::OkStatus();
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
