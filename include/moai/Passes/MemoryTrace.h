//===- MemoryTrace.h - A stage's memory op by op ---------------------------===//
#ifndef MOAI_PASSES_MEMORYTRACE_H
#define MOAI_PASSES_MEMORYTRACE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Plan/Cost.h"
#include "moai/Plan/MemoryTimeline.h"

namespace moai {

/// Plays one step of a compiled stage through, which must be unrolled, op by op and micro-batch by micro-batch, under the module's binding:
/// every storage with the ops during which it is in use, and its offset. Where PlanMemory looks at each function once, this looks at each
/// call, so it costs as much as the step has ops; the peak of both is the same.
MemoryTimeline traceMemory(mlir::func::FuncOp stage, const MemoryModel &model);

} // namespace moai

#endif // MOAI_PASSES_MEMORYTRACE_H
