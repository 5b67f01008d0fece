//===- SavedTensors.h - Storages that live from forward to backward --------===//
#ifndef MOAI_PASSES_SAVEDTENSORS_H
#define MOAI_PASSES_SAVEDTENSORS_H

#include "mlir/IR/BuiltinOps.h"
#include "moai/Plan/Dim.h"
#include "moai/Plan/SavedTensor.h"

namespace moai {

/// Lists what the forward of a training graph leaves for its backward at a binding, in the order in which it appears:
/// arguments, then activations. Blocks are functions that are called once per instance; each instance's storages are listed.
/// The module must be what buildTrainingGraph made. Not on the way of planning: it walks every call.
std::vector<SavedTensor> listSavedTensors(mlir::ModuleOp trainingGraph, const DimBinding &binding);

} // namespace moai

#endif // MOAI_PASSES_SAVEDTENSORS_H
