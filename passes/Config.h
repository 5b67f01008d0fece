//===- Config.h - The configuration a module is compiled for ---------------===//
#ifndef MOAI_PASSES_CONFIG_H
#define MOAI_PASSES_CONFIG_H

#include "mlir/IR/BuiltinOps.h"
#include "moai/Plan/ParallelConfig.h"

namespace moai {

/// The module's #moai.config; emits an error on the module if it has none.
mlir::FailureOr<ParallelConfig> getConfig(mlir::ModuleOp module);

} // namespace moai

#endif // MOAI_PASSES_CONFIG_H
