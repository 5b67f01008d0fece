//===- EmitModule.h - From the plain graph to IR ---------------------------===//
#ifndef MOAI_LIB_IMPORT_EMITMODULE_H
#define MOAI_LIB_IMPORT_EMITMODULE_H

#include "Recognition.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace moai {

/// Builds the module: @step, and one function per block class that @step calls once per instance.
mlir::OwningOpRef<mlir::ModuleOp> emitModule(const TrainingGraph &graph, const Blocks &blocks, const DimBinding &binding,
                                             mlir::MLIRContext &context);

} // namespace moai

#endif // MOAI_LIB_IMPORT_EMITMODULE_H
