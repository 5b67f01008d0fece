//===- SplitLoss.h - Whether parts of a batch make the same step -----------===//
#ifndef MOAI_PASSES_SPLITLOSS_H
#define MOAI_PASSES_SPLITLOSS_H

#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace moai {

/// Of a forward graph: why its loss is not a plain mean over samples that don't see each other, so that a step that is split into
/// micro-batches or replicas is another one; empty if it is. Decided by the ops alone, and to the safe side: a loss of a form that
/// isn't known counts as another. Labels that don't count are the data's business.
std::string describeInexactSplit(mlir::ModuleOp forward);

} // namespace moai

#endif // MOAI_PASSES_SPLITLOSS_H
