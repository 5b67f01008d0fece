//===- Pipelines.h - The order of the passes -------------------------------===//
#ifndef MOAI_PASSES_PIPELINES_H
#define MOAI_PASSES_PIPELINES_H

#include "moai/Passes/Passes.h"
#include "mlir/Pass/PassManager.h"

namespace moai {
class GraphCost;

/// Stages balanced by an existing cost object, which must outlive the pass; null resolves the pass's own option.
std::unique_ptr<mlir::Pass> createPartitionStagesPass(GraphCost *cost);

/// Imported module -> training graph: once per model.
void buildTrainingPipeline(mlir::OpPassManager &manager);

/// Training graph with moai.config -> what each stage runs: once per candidate.
void buildCandidatePipeline(mlir::OpPassManager &manager, GraphCost *cost);

/// Both pipelines as --moai-training-pipeline and --moai-candidate-pipeline.
void registerMoaiPipelines();

} // namespace moai

#endif // MOAI_PASSES_PIPELINES_H
