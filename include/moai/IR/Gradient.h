//===- Gradient.h - What an op's gradient rule may ask for -----------------===//
#ifndef MOAI_IR_GRADIENT_H
#define MOAI_IR_GRADIENT_H

#include "moai/IR/Moai.h"

namespace moai {

/// Handed to GradientOpInterface::buildGradient. Gradients have the type of the value they belong to.
class GradientBuilder {
public:
  explicit GradientBuilder(mlir::OpBuilder &builder) : builder(builder) {}
  virtual ~GradientBuilder() = default;

  /// The gradient that reached a result of the op, or null if none did.
  virtual mlir::Value getGradient(mlir::Value result) = 0;
  /// Whether anything wants the gradient of this operand.
  virtual bool needsGradient(mlir::Value operand) = 0;
  /// The forward value as the backward sees it; recorded as saved.
  virtual mlir::Value getSaved(mlir::Value forwardValue) = 0;
  /// Adds a contribution to an operand's gradient.
  virtual void accumulate(mlir::Value operand, mlir::Value gradient) = 0;

  template <typename OpT, typename... Args> OpT create(Args &&...args) {
    return builder.create<OpT>(location, std::forward<Args>(args)...);
  }
  /// A one-kernel elementwise op of the given type.
  mlir::Value elementwise(llvm::StringRef kind, mlir::ValueRange inputs, SymTensorType type, llvm::ArrayRef<double> scalars = {});
  /// Sums a gradient down to the shape its operand had before broadcasting, and casts it to that operand's type.
  mlir::Value reduceTo(mlir::Value gradient, SymTensorType type);

  mlir::OpBuilder &builder;
  mlir::Location location = builder.getUnknownLoc();
};

} // namespace moai

#endif // MOAI_IR_GRADIENT_H
