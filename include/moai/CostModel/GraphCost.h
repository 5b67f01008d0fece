//===- GraphCost.h - Seconds of IR on a device -----------------------------===//
#ifndef MOAI_COSTMODEL_GRAPHCOST_H
#define MOAI_COSTMODEL_GRAPHCOST_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/CostModel/Hardware.h"
#include "moai/IR/Moai.h"
#include "moai/IR/Storage.h"
#include "moai/Plan/StageProgram.h"
#include "llvm/ADT/StringMap.h"

namespace moai {

/// Kernel time of ops and functions under one binding. Functions are remembered by name, so a repeated block is costed
/// once, and one object serves every module that defines its blocks alike. Not thread-safe: one per thread.
class GraphCost {
public:
  /// `expertImbalance` is the rows of the busiest expert over the average (1: balanced); its kernels take that much longer.
  GraphCost(const Accelerator &accelerator, const DimBinding &binding, double expertImbalance)
      : accelerator(accelerator), binding(binding), bytes(binding), expertImbalance(expertImbalance) {}

  /// Seconds of the op's kernels; a call costs what its function costs. Transfers and collectives cost nothing here.
  double seconds(mlir::Operation *op);
  /// Seconds of a function's body. Views that must copy cost the copy.
  double seconds(mlir::func::FuncOp function);
  /// Seconds of those of its ops, and of what it calls, that are recomputation.
  double recomputeSeconds(mlir::func::FuncOp function);
  /// Reads a stage's function, as SchedulePipeline and PlanMemory leave it, into plain numbers. Its groups are of that mesh.
  StageProgram measureStage(mlir::func::FuncOp stage, const DeviceMesh &mesh);

private:
  double bodySeconds(mlir::func::FuncOp function);
  void addCollectives(mlir::Operation *op, int64_t times, const DeviceMesh &mesh, std::vector<StageCollective> &collectives);

  const Accelerator &accelerator;
  DimBinding binding;
  ByteCounts bytes;
  double expertImbalance;
  llvm::StringMap<double> functions, recomputations;
};

/// Whether functions of this name have one body in every candidate of a model, so that results may be remembered by name.
bool isSharedFunction(llvm::StringRef name);

} // namespace moai

#endif // MOAI_COSTMODEL_GRAPHCOST_H
