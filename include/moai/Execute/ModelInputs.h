//===- ModelInputs.h - What a step takes for each sample -------------------===//
#ifndef MOAI_EXECUTE_MODELINPUTS_H
#define MOAI_EXECUTE_MODELINPUTS_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Types.h"
#include "llvm/ADT/SmallVector.h"
#include <cstdint>
#include <string>
#include <vector>

namespace moai {

/// What an input is for, as far as the graph tells.
enum class InputUse {
  Tokens,    ///< ids that an embedding with a trained vocabulary is looked up with, as they are
  Targets,   ///< ids that a cross entropy compares with; they may be looked up in an embedding as well
  Mask,      ///< 1 where a position counts: `attention_mask`
  Positions, ///< 0, 1, 2, ... along the sequence: `position_ids`
  Segments,  ///< `token_type_ids`: 0 for a single text
  Unused,    ///< nothing: the graph doesn't look at it, so that samples need not have it
  Other
};

/// An input of a training graph.
struct ModelInput {
  std::string name;
  std::string type; ///< as safetensors spells it
  mlir::Type elementType;
  llvm::SmallVector<int64_t, 4> shape;     ///< for the whole batch
  llvm::SmallVector<int64_t, 2> perSample; ///< per dimension: positions of one sample, 0 where samples don't extend it
  InputUse use = InputUse::Other;
  int64_t numIds = 0;          ///< of tokens and targets: ids are 0 to numIds - 1
  int64_t ignoredId = -1;      ///< of targets: the id that doesn't count, often -100
  bool takesNextToken = false; ///< of targets: position i is compared with what the model says of i, so it is to be token i + 1

  bool hasSamples() const;
};

/// The inputs of a training graph (or of the forward it is made of), at the batch that it is bound to, in the graph's order. A target takes
/// the next token if attention is causal, nothing between it and the loss cuts off its first position, as models that shift their labels
/// themselves do, and it isn't embedded too, as the labels that a decoder makes its inputs of are. Attention that is causal by a bias alone
/// counts as any other.
std::vector<ModelInput> describeInputs(mlir::ModuleOp trainingGraph);

} // namespace moai

#endif // MOAI_EXECUTE_MODELINPUTS_H
