//===- Summarize.h - Facts about an imported module ------------------------===//
#ifndef MOAI_LIB_IMPORT_SUMMARIZE_H
#define MOAI_LIB_IMPORT_SUMMARIZE_H

#include "mlir/IR/BuiltinOps.h"
#include "moai/Plan/Model.h"

namespace moai {

/// Fills in what follows from the module: parameters, FLOPs at summary.binding, blocks, attention, inputs.
void summarizeModule(mlir::ModuleOp module, ModelSummary &summary);

} // namespace moai

#endif // MOAI_LIB_IMPORT_SUMMARIZE_H
