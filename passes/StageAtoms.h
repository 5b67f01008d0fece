//===- StageAtoms.h - What a cut into stages chooses between ---------------===//
#ifndef MOAI_PASSES_STAGEATOMS_H
#define MOAI_PASSES_STAGEATOMS_H

#include "OpLabels.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Plan/ParallelConfig.h"

namespace moai {

/// A forward op that depends on parameters, or one iteration of a repeat, with the backward ops that belong to it.
struct Atom {
  int64_t position;
  int64_t picoseconds = 0;    ///< forward, backward and recomputation
  int64_t stateBytes = 0;     ///< parameters that it reads, their gradients and optimizer states
  int64_t savedBytes = 0;     ///< kept for the backward by each micro-batch in flight
  int64_t transientBytes = 0; ///< while it runs
  int64_t crossingBytes = 0;  ///< forward values needed after it
  bool isBlock = false;       ///< a call whose forward can be repeated in the backward
};

/// The atoms of a step with its backward, in order. Fails, with an error, where a backward op belongs to no forward op.
mlir::FailureOr<std::vector<Atom>> collectAtoms(mlir::func::FuncOp step, const OpLabels &labels, const ParallelConfig &config,
                                                CandidateAnalyses &analyses);

/// First atom of each stage, which has that many micro-batches in flight: all stages within `limit` bytes, if that can be (0: no
/// limit), and the slowest as fast as can be; then least memory, then least traffic. `recomputed` are the same atoms with each
/// block repeated, of which each stage has its first `firstBlocks`; both are empty where no stage repeats a number of blocks.
llvm::SmallVector<size_t> splitAtoms(llvm::ArrayRef<Atom> atoms, llvm::ArrayRef<int64_t> inFlight, int64_t limit,
                                     llvm::ArrayRef<Atom> recomputed, llvm::ArrayRef<int64_t> firstBlocks);

} // namespace moai

#endif // MOAI_PASSES_STAGEATOMS_H
