//===- Moai.h - The moai dialect -------------------------------------------===//
#ifndef MOAI_IR_MOAI_H
#define MOAI_IR_MOAI_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "moai/IR/DimList.h"
#include "moai/IR/Factors.h"
#include "moai/Plan/DeviceMesh.h"
#include "moai/Plan/Dim.h"
#include "moai/Plan/Work.h"
#include <optional>
#include <string>

namespace moai {
class GradientBuilder;

/// A kernel that reads each operand and writes each result once.
OpWork getStreamingWork(mlir::Operation *op, const DimBinding &binding);
} // namespace moai

#include "moai/IR/MoaiDialect.h.inc"
#define GET_TYPEDEF_CLASSES
#include "moai/IR/MoaiTypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "moai/IR/MoaiAttrs.h.inc"
#include "moai/IR/MoaiInterfaces.h.inc"
#define GET_OP_CLASSES
#include "moai/IR/MoaiOps.h.inc"

namespace moai {

/// Names of the discardable attributes the compiler attaches; each says what it holds.
namespace attrs {
inline constexpr llvm::StringLiteral kBinding = "moai.binding"; ///< module: dense i64, a value per symbol
inline constexpr llvm::StringLiteral kConfig = "moai.config";   ///< module: #moai.config to compile for
inline constexpr llvm::StringLiteral kOptimizer =
    "moai.optimizer";                                     ///< module: #moai.optimizer of the step; AdamW in exported types without
inline constexpr llvm::StringLiteral kRole = "moai.role"; ///< argument: parameter, frozen (one not trained), buffer, input, label, constant
inline constexpr llvm::StringLiteral kName =
    "moai.name"; ///< argument: its name in the framework; of a flat shard those of its tensors; of a stack a list with one entry each
inline constexpr llvm::StringLiteral kPhase = "moai.phase";         ///< op: "backward"; absent in the forward
inline constexpr llvm::StringLiteral kStage = "moai.stage";         ///< op or function: pipeline stage, from 0
inline constexpr llvm::StringLiteral kBlock = "moai.block";         ///< call: name of the repeated block's instance
inline constexpr llvm::StringLiteral kSeed = "moai.seed";           ///< op: the gradient of the loss itself, from which all others come
inline constexpr llvm::StringLiteral kPosition = "moai.position";   ///< op of @step: number of the forward op it belongs to
inline constexpr llvm::StringLiteral kPart = "moai.part";           ///< op of @step: load or update, outside the micro-batches
inline constexpr llvm::StringLiteral kUpdates = "moai.updates";     ///< result: number of the argument whose next value it is
inline constexpr llvm::StringLiteral kRecompute = "moai.recompute"; ///< op: runs a second time, in the backward
inline constexpr llvm::StringLiteral kSchedule = "moai.schedule";   ///< stage function: +k forward, -k backward of micro-batch k, from 1
inline constexpr llvm::StringLiteral kBody = "moai.body";     ///< function: the ops of a repeat's iteration, for which no call is made
inline constexpr llvm::StringLiteral kMemory = "moai.memory"; ///< stage function: planned bytes by category
} // namespace attrs

/// The module's symbol values; every symbol is 1 where the module says nothing.
DimBinding getBinding(mlir::Operation *module);
void setBinding(mlir::Operation *module, const DimBinding &binding);

/// The devices of the configuration for which the module around an op is compiled; none without a valid one.
std::optional<DeviceMesh> getMesh(mlir::Operation *op);

/// `moai.reduce 'sum' of mlp.act`: an op as messages name it; one that moai doesn't know by its framework's name.
std::string describeOp(mlir::Operation &op);

/// True for f16, bf16, f32, f64 and complex elements.
bool isFloating(mlir::Type type);
/// A value's type; of a stack, that of one tensor.
inline SymTensorType tensorOf(mlir::Type type) {
  auto stack = llvm::dyn_cast<StackType>(type);
  return stack ? stack.getElement() : llvm::cast<SymTensorType>(type);
}
inline SymTensorType tensorOf(mlir::Value value) { return tensorOf(value.getType()); }
/// How many tensors a type stands for: 1, but of a stack.
inline int64_t countTensors(mlir::Type type) {
  auto stack = llvm::dyn_cast<StackType>(type);
  return stack ? stack.getCount() : 1;
}
/// A tensor's type in the form of another value: a stack of as many, or itself.
inline mlir::Type stackLike(mlir::Type form, SymTensorType element) {
  auto stack = llvm::dyn_cast<StackType>(form);
  return stack ? mlir::Type(StackType::get(stack.getCount(), element)) : mlir::Type(element);
}

} // namespace moai

#endif // MOAI_IR_MOAI_H
