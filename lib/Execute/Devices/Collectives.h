//===- Collectives.h - What collectives compute ----------------------------===//
#ifndef MOAI_LIB_EXECUTE_COLLECTIVES_H
#define MOAI_LIB_EXECUTE_COLLECTIVES_H

#include "Rendezvous.h"
#include "mlir/IR/Operation.h"
#include "moai/Plan/Dim.h"
#include "llvm/ADT/SmallVector.h"
#include <optional>
#include <string>

namespace moai {

/// A collective op: over which axis, by how many, and of which stages if it crosses them.
struct Collective {
  std::string axis;
  int64_t groupSize = 1;
  llvm::SmallVector<int64_t> stages;

  /// Nothing for any other op.
  static std::optional<Collective> of(mlir::Operation &op);
  /// Whether every member gets the same.
  static bool isCommon(mlir::Operation &op);
  /// The op's results on the member with that number, from what all members brought. Sums are in the order of the members.
  std::vector<Tensor> combine(mlir::Operation &op, llvm::ArrayRef<TensorList> contributions, size_t member,
                              const DimBinding &binding) const;
};

/// All tensors one after the other, in `size` equal parts; part number `index` of them. The last part is filled up with zeros.
Tensor shardOf(const TensorList &tensors, int64_t size, int64_t index);
/// The tensors of these shapes that the parts were made of.
std::vector<Tensor> joinShards(const TensorList &shards, llvm::ArrayRef<llvm::SmallVector<int64_t, 4>> shapes);

} // namespace moai

#endif // MOAI_LIB_EXECUTE_COLLECTIVES_H
