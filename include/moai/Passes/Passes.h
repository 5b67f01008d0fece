//===- Passes.h - From a training graph to what each device runs -----------===//
#ifndef MOAI_PASSES_PASSES_H
#define MOAI_PASSES_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace moai {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "moai/Passes/Passes.h.inc"
} // namespace moai

#endif // MOAI_PASSES_PASSES_H
