//===- CandidateInput.h - What the passes find on a module -----------------===//
#ifndef MOAI_PASSES_CANDIDATEINPUT_H
#define MOAI_PASSES_CANDIDATEINPUT_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "moai/IR/Moai.h"
#include "moai/Plan/OptimizerPolicy.h"
#include "moai/Plan/ParallelConfig.h"

namespace moai {

/// The module's #moai.config; emits an error on the module if it has none.
mlir::FailureOr<ParallelConfig> getConfig(mlir::ModuleOp module);

/// The module's #moai.optimizer, or AdamW in exported types if it has none.
OptimizerPolicyAttr getOptimizerAttr(mlir::ModuleOp module);
OptimizerPolicy getOptimizer(mlir::ModuleOp module);

/// The function @step; emits an error on the module and returns null if it has none with a body.
mlir::func::FuncOp getStep(mlir::ModuleOp module);

} // namespace moai

#endif // MOAI_PASSES_CANDIDATEINPUT_H
