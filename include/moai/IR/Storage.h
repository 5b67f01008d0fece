//===- Storage.h - Which values share memory -------------------------------===//
#ifndef MOAI_IR_STORAGE_H
#define MOAI_IR_STORAGE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/Moai.h"
#include "llvm/ADT/DenseMap.h"

namespace moai {

/// Follows views and updates in place through a function under a binding. A view shares its operand's storage where strides allow it and
/// copies where they don't, which only concrete sizes tell. Arguments are taken to be contiguous. Not thread-safe; ops
/// must be visited in program order.
class StorageAnalysis {
public:
  explicit StorageAnalysis(const DimBinding &binding) : binding(binding) {}

  /// Visits the next op; returns true if it is a view that has to copy.
  bool visit(mlir::Operation &op);
  /// The value whose storage this one shares; itself if it has its own.
  mlir::Value rootOf(mlir::Value value) const;

private:
  struct Layout {
    mlir::Value root;
    llvm::SmallVector<int64_t, 4> shape, strides;
  };
  const Layout &layoutOf(mlir::Value value);

  DimBinding binding;
  llvm::DenseMap<mlir::Value, Layout> views;        ///< views, and what they were taken of
  llvm::DenseMap<mlir::Value, mlir::Value> updated; ///< results of updates in place, and what was updated
};

/// Whoever computes a loss holds the model's logits meanwhile, also if the loss reads a copy of them in another shape or
/// type: the value that stays until the loss is there.
mlir::Value getHeldLogits(CrossEntropyOp loss);

/// Bytes of a type, remembered per type. One per binding.
class ByteCounts {
public:
  explicit ByteCounts(const DimBinding &binding) : binding(binding) {}
  int64_t operator()(mlir::Value value) {
    auto [it, isNew] = bytes.try_emplace(value.getType(), 0);
    if (isNew)
      it->second = tensorOf(value).countBytes(binding);
    return it->second;
  }
  const DimBinding &getBinding() const { return binding; }

private:
  DimBinding binding;
  llvm::DenseMap<mlir::Type, int64_t> bytes;
};

} // namespace moai

#endif // MOAI_IR_STORAGE_H
