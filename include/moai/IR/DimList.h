//===- DimList.h - A uniqued list of symbolic dimensions -------------------===//
#ifndef MOAI_IR_DIMLIST_H
#define MOAI_IR_DIMLIST_H

#include "mlir/Support/StorageUniquer.h"
#include "moai/Plan/Dim.h"
#include "llvm/ADT/Hashing.h"

namespace moai {

/// Dimensions in the packed form that type storage keeps: the rank, then per dimension the number of terms and
/// (powers, coefficient) pairs. A view; the memory belongs to the context or to the builder of the list.
class DimList {
public:
  DimList() = default;
  explicit DimList(llvm::ArrayRef<int64_t> packed) : packed(packed) {}

  unsigned getRank() const { return packed.empty() ? 0 : packed.front(); }
  llvm::SmallVector<Dim, 4> decode() const;
  /// The numbers under a binding, as Dim::evaluate gives them.
  llvm::SmallVector<int64_t, 4> evaluate(const DimBinding &binding) const;
  static llvm::SmallVector<int64_t, 16> encode(llvm::ArrayRef<Dim> dims);

  bool operator==(const DimList &other) const { return packed == other.packed; }
  llvm::ArrayRef<int64_t> getPacked() const { return packed; }

private:
  llvm::ArrayRef<int64_t> packed;
};

inline llvm::hash_code hash_value(const DimList &list) {
  return llvm::hash_combine_range(list.getPacked().begin(), list.getPacked().end());
}

} // namespace moai

#endif // MOAI_IR_DIMLIST_H
