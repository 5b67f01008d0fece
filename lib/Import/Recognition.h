//===- Recognition.h - What a lowered graph really computes ----------------===//
#ifndef MOAI_LIB_IMPORT_RECOGNITION_H
#define MOAI_LIB_IMPORT_RECOGNITION_H

#include "TrainingGraph.h"

namespace moai {

/// Decides for every attention whose mask is a pure function of the shapes whether it is causal, a sliding window or full,
/// from what the mask evaluates to at the planned sizes, and drops the mask. Masks that read data or parameters stay as
/// bias operands. Key and value heads that were repeated by unsqueeze, expand and reshape become grouped-query attention.
void recognizeAttention(TrainingGraph &graph, const DimBinding &planned);

/// Makes one attention op of scores, mask, softmax and product with the values, as exports with a backward write attention
/// out, and returns how many. Only where nothing else reads what is in between, so the forward multiplies as much as before.
unsigned fuseAttention(TrainingGraph &graph);

/// Makes linear layers, silu and cross entropy of the ops that such exports decompose them into.
void fuseDecomposed(TrainingGraph &graph);

/// Turns sort, histogram, cumulative sum and index arithmetic around expert matmuls into route, dispatch and combine.
void recognizeExperts(TrainingGraph &graph);

/// Marks ops whose results nothing uses.
void removeDeadOps(TrainingGraph &graph);

/// Merges equal generators and equal casts of parameters, which a framework's caches also make once.
void mergeConstants(TrainingGraph &graph);

/// Instances of a repeated block: runs of ops that are equal up to their outer operands.
struct BlockInstance {
  std::string name;                      ///< module path, e.g. model.layers.0
  size_t first = 0, last = 0;            ///< op range, end exclusive; dead ops inside don't count
  llvm::SmallVector<ValueId, 16> inputs; ///< outer values in order of first use
  llvm::SmallVector<ValueId, 2> outputs; ///< values used after the block, in order of definition
  int blockClass = -1;
};
struct BlockClass {
  std::string name; ///< path with the instance number as `*`
  llvm::SmallVector<unsigned, 8> instances;
};
struct Blocks {
  std::vector<BlockInstance> instances; ///< in op order; only those of a class with at least two
  std::vector<BlockClass> classes;
};

/// Finds repeated blocks from module paths, or from structure where there are none.
Blocks findBlocks(const TrainingGraph &graph);

} // namespace moai

#endif // MOAI_LIB_IMPORT_RECOGNITION_H
