//===- Planner.h - Enumerate, compile, cost, select ------------------------===//
#ifndef MOAI_PLANNER_PLANNER_H
#define MOAI_PLANNER_PLANNER_H

#include "mlir/IR/BuiltinOps.h"
#include "moai/CostModel/Hardware.h"
#include "moai/Plan/OptimizerPolicy.h"
#include "moai/Plan/Plan.h"
#include "moai/Planner/Enumerate.h"

namespace moai {

struct PlanRequest {
  Accelerator accelerator;
  std::vector<int64_t> globalBatches;
  MoaiGeneration generation = MoaiGeneration::V24_2;
  /// Report the peak of the step as PyTorch runs it on a CPU with this optimizer; for a `config` of one device and one
  /// micro-batch.
  std::optional<OptimizerImplementation> pytorchStep;
  OptimizerPolicy optimizer; ///< its precision is not read
  /// In which types a parameter and its states are kept. Not given: as exported for a `config`, as PyTorch does; mixed for
  /// MoAI's space, whose runtime keeps float32 masters.
  std::optional<PrecisionPolicy> precision;
  std::optional<ParallelConfig> config; ///< plan this one alone, and choose it even if it doesn't fit
  /// What GPUs add to the bytes that a program asks for. Not given: blocks of 512 bytes, as PyTorch's caching allocator hands
  /// them out, and the accelerator's kernel workspace; neither under `pytorchStep`.
  std::optional<int64_t> allocationGranularity, kernelWorkspaceBytes;
  double memoryRatio = 0.8;   ///< part of a device's memory that a plan may use
  double expertImbalance = 1; ///< rows of the busiest expert over the average
  int threads = 0;            ///< 0: one per core
  bool log = true;            ///< MoAI's lines on standard error
  std::string dumpDirectory;  ///< where to write every candidate's IR; empty for nowhere

  /// The optimizer with the precision that this request means.
  OptimizerPolicy policy() const;
  MemoryModel memoryModel() const;
};

/// Plans an imported module, which becomes a training graph in the course of it. Candidates that don't compile or don't
/// fit are in the plan with their reason; it is an error, which says what would help, if there is no candidate or none fits.
/// The same request gives the same plan on any number of threads.
absl::StatusOr<Plan> planModel(mlir::ModuleOp module, const ModelSummary &model, const PlanRequest &request);

/// The index of the cheapest candidate that was not rejected; ties go to the smaller index.
std::optional<size_t> SelectBestGraphFromCandidates(llvm::ArrayRef<Candidate> candidates);

/// Marks candidates that use more than the limit on any stage.
void rejectWhatDoesNotFit(llvm::MutableArrayRef<Candidate> candidates, int64_t memoryLimit);

/// InvalidArgument for a valid configuration that the passes can't compile yet.
absl::Status checkSupported(const ParallelConfig &config);

/// Compiles one candidate of a training graph: IR in the module's context with one program per stage, for the request's
/// accelerator and optimizer, repeated blocks in one op (unrollBlocks writes them out). Null, with the reason, if a pass refuses. For tools
/// and tests; planModel keeps workers for many.
mlir::OwningOpRef<mlir::ModuleOp> compileCandidate(mlir::ModuleOp trainingGraph, const ParallelConfig &config, const PlanRequest &request,
                                                   std::string &reason);

} // namespace moai

#endif // MOAI_PLANNER_PLANNER_H
