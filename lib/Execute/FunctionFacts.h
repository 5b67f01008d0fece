//===- FunctionFacts.h - What a device asks of a function again and again --===//
#ifndef MOAI_LIB_EXECUTE_FUNCTIONFACTS_H
#define MOAI_LIB_EXECUTE_FUNCTIONFACTS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "moai/IR/Storage.h"
#include <memory>

namespace moai {

/// How often values of a function are used, and which of them share memory.
struct FunctionFacts {
  llvm::DenseMap<mlir::Value, unsigned> uses;           ///< by ops; what a loss holds counts once more
  llvm::DenseMap<mlir::Value, mlir::Value> sharedWith;  ///< views and updates in place: the operand whose storage they use
  llvm::DenseMap<mlir::Operation *, mlir::Value> holds; ///< losses: the value that stays until they are computed
};

/// Facts of a module's functions, looked at once each. Not thread-safe.
class FunctionTable {
public:
  FunctionTable(mlir::ModuleOp module, const DimBinding &binding) : module(module), bytes(binding) {}

  const FunctionFacts &of(mlir::func::FuncOp function);
  mlir::func::FuncOp callee(mlir::func::CallOp call);

  mlir::ModuleOp module;
  ByteCounts bytes;

private:
  llvm::DenseMap<mlir::Operation *, std::unique_ptr<FunctionFacts>> facts;
  llvm::DenseMap<mlir::Attribute, mlir::func::FuncOp> callees;
};

} // namespace moai

#endif // MOAI_LIB_EXECUTE_FUNCTIONFACTS_H
