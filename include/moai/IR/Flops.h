//===- Flops.h - Floating-point operations of a function -------------------===//
#ifndef MOAI_IR_FLOPS_H
#define MOAI_IR_FLOPS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/Moai.h"

namespace moai {

/// Operations of a function and of what it calls under a binding, recomputation apart: by the conventions of PyTorch's
/// counter, which the ops' work follows.
double countFlops(mlir::func::FuncOp function, const DimBinding &binding);

} // namespace moai

#endif // MOAI_IR_FLOPS_H
