//===- Differentiable.h - Whether every gradient can be computed -----------===//
#ifndef MOAI_PASSES_DIFFERENTIABLE_H
#define MOAI_PASSES_DIFFERENTIABLE_H

#include "absl/status/status.h"
#include "mlir/IR/BuiltinOps.h"

namespace moai {

/// Of a forward graph: fails with one sentence that names the op, its module and the parameter, if an op that moai doesn't know
/// lies between a parameter and the result. Such graphs can be planned, by the op's bytes, but not run.
absl::Status checkDifferentiable(mlir::ModuleOp forward);

} // namespace moai

#endif // MOAI_PASSES_DIFFERENTIABLE_H
