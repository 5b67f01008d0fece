//===- SplitRepeats.h - Repeats cut in two or more -------------------------===//
#ifndef MOAI_PASSES_SPLITREPEATS_H
#define MOAI_PASSES_SPLITREPEATS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

namespace moai {

/// By the position of a repeat's first iteration: the elements, ascending, before which it is cut.
using RepeatCuts = llvm::DenseMap<int64_t, llvm::SmallVector<int64_t>>;

/// Cuts repeats of @step, forwards and backwards alike. Arguments and results of @step that are their stacks become several, in
/// place. A piece has the labels of what it was cut from, and its own first position.
void splitRepeats(mlir::func::FuncOp step, const RepeatCuts &cuts);

} // namespace moai

#endif // MOAI_PASSES_SPLITREPEATS_H
