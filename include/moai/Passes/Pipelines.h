//===- Pipelines.h - The order of the passes -------------------------------===//
#ifndef MOAI_PASSES_PIPELINES_H
#define MOAI_PASSES_PIPELINES_H

#include "absl/status/status.h"
#include "mlir/Pass/PassManager.h"
#include "moai/CostModel/GraphCost.h"
#include "moai/Passes/MemoryWalk.h"
#include "moai/Passes/Passes.h"

namespace moai {

/// What the passes ask of a candidate, kept by the caller so that blocks which candidates share are looked at once. One per
/// thread and binding.
struct CandidateAnalyses {
  CandidateAnalyses(const Accelerator &accelerator, const DimBinding &binding, double expertImbalance, int64_t memoryLimit,
                    const MemoryModel &memoryModel = {})
      : cost(accelerator, binding, expertImbalance), memory(binding, memoryModel.granularity), memoryModel(memoryModel),
        memoryLimit(memoryLimit) {}

  GraphCost cost;
  MemoryWalk memory;
  MemoryModel memoryModel;
  int64_t memoryLimit; ///< bytes of a device that a stage should stay within; 0: no limit
};

/// The passes with analyses that outlive them.
std::unique_ptr<mlir::Pass> createPartitionStages(CandidateAnalyses &analyses);
std::unique_ptr<mlir::Pass> createPlanMemory(CandidateAnalyses &analyses);

/// Imported module -> training graph: once per model.
void buildTrainingPipeline(mlir::OpPassManager &manager);

/// Runs that pipeline. InvalidArgument with the pass's reason if one fails.
absl::Status buildTrainingGraph(mlir::ModuleOp module);

/// Training graph with moai.config -> what each stage runs: once per candidate.
void buildCandidatePipeline(mlir::OpPassManager &manager, CandidateAnalyses &analyses);

/// Writes out every moai.repeat of a module: one call per iteration, and stacks as their tensors, one after the other. What
/// DeviceGrid executes and traceMemory plays; it costs as much as the model has layers.
void unrollBlocks(mlir::ModuleOp module);

/// Both pipelines as --moai-training-pipeline and --moai-candidate-pipeline.
void registerMoaiPipelines();

} // namespace moai

#endif // MOAI_PASSES_PIPELINES_H
