//===- Collectives.h - What collectives compute ----------------------------===//
#ifndef MOAI_LIB_EXECUTE_COLLECTIVES_H
#define MOAI_LIB_EXECUTE_COLLECTIVES_H

#include "Rendezvous.h"
#include "mlir/IR/Operation.h"
#include "moai/Plan/DeviceMesh.h"
#include "moai/Plan/Dim.h"
#include "llvm/ADT/SmallVector.h"
#include <optional>

namespace moai {

/// A collective op: along which axes, or else of which stages.
struct Collective {
  AxisSet axes;
  llvm::SmallVector<int64_t> stages;

  /// Nothing for any other op.
  static std::optional<Collective> of(mlir::Operation &op);
  /// The group that a device has it with.
  llvm::SmallVector<int64_t> membersAt(const DeviceMesh &mesh, int64_t rank) const;
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
