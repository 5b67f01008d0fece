//===- Compile.h - Candidates compiled in parallel -------------------------===//
#ifndef MOAI_LIB_PLANNER_COMPILE_H
#define MOAI_LIB_PLANNER_COMPILE_H

#include "moai/Planner/Planner.h"

namespace moai {

/// Compiles every candidate of the training graph and fills in its stages, or its rejection. Runs under oneTBB with one
/// MLIR context per worker; only plain values come back. Fails only if a dump can't be written.
absl::Status compileCandidates(mlir::ModuleOp trainingGraph, const PlanRequest &request, std::vector<Candidate> &candidates);

} // namespace moai

#endif // MOAI_LIB_PLANNER_COMPILE_H
