//===- GraphArguments.h - What a graph does with its arguments -------------===//
#ifndef MOAI_LIB_EXECUTE_GRAPHARGUMENTS_H
#define MOAI_LIB_EXECUTE_GRAPHARGUMENTS_H

#include "moai/IR/Moai.h"
#include <string>
#include <vector>

namespace moai {

/// An element type as .safetensors files spell it.
std::string storedTypeOf(mlir::Type type);

/// An op that indexes with a value, or with what integer ops compute from it.
struct IndexUse {
  mlir::Operation *op; ///< an embedding, a gather, or a cross entropy, which indexes classes
  int64_t size;        ///< of what is indexed
  bool isDirect;       ///< the index is one of the value's own numbers, only moved
  bool isFromFirst;    ///< no slice on the way begins after the first position
};

/// All of them, also in the blocks that are called with the value.
std::vector<IndexUse> findIndexUses(mlir::Value value, const DimBinding &binding);

} // namespace moai

#endif // MOAI_LIB_EXECUTE_GRAPHARGUMENTS_H
