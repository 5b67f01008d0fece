//===- Storage.h - Which values share memory -------------------------------===//
#ifndef MOAI_IR_STORAGE_H
#define MOAI_IR_STORAGE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "moai/IR/Moai.h"
#include "llvm/ADT/DenseMap.h"
#include <memory>

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

/// Bytes of a type's storage, remembered per type: those of its elements, up to a multiple of `granularity`; of a stack, of all its
/// tensors together. One per binding.
class ByteCounts {
public:
  explicit ByteCounts(const DimBinding &binding, int64_t granularity = 1) : binding(binding), granularity(granularity) {}
  int64_t operator()(mlir::Value value) {
    auto [it, isNew] = bytes.try_emplace(value.getType(), 0);
    if (isNew)
      it->second = saturatingMultiply(roundUp(tensorOf(value).countBytes(binding)), countTensors(value.getType()));
    return it->second;
  }
  const DimBinding &getBinding() const { return binding; }
  int64_t roundUp(int64_t size) const {
    int64_t rest = size % granularity;
    return rest == 0 || size > INT64_MAX - granularity ? size : size + granularity - rest;
  }

private:
  DimBinding binding;
  int64_t granularity;
  llvm::DenseMap<mlir::Type, int64_t> bytes;
};

/// How often values of a function are used, and which of them share memory.
struct FunctionFacts {
  llvm::DenseMap<mlir::Value, unsigned> uses;           ///< by ops; what a loss holds counts once more
  llvm::DenseMap<mlir::Value, mlir::Value> sharedWith;  ///< views and updates in place: the operand whose storage they use
  llvm::DenseMap<mlir::Operation *, mlir::Value> holds; ///< losses: the value that stays until they are computed
};

/// Facts of a module's functions, looked at once each. Not thread-safe until it is prepared.
class FunctionTable {
public:
  FunctionTable(mlir::ModuleOp module, const DimBinding &binding, int64_t granularity = 1) : module(module), bytes(binding, granularity) {}

  /// Looks at all of the module, so that from then on nothing changes and several threads may ask.
  void prepare();
  const FunctionFacts &of(mlir::func::FuncOp function);
  mlir::func::FuncOp callee(mlir::func::CallOp call);

  mlir::ModuleOp module;
  ByteCounts bytes;

private:
  llvm::DenseMap<mlir::Operation *, std::unique_ptr<FunctionFacts>> facts;
  llvm::DenseMap<mlir::Attribute, mlir::func::FuncOp> callees;
};

} // namespace moai

#endif // MOAI_IR_STORAGE_H
