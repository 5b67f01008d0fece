//===- OpLabels.h - Where ops of @step run ---------------------------------===//
#ifndef MOAI_PASSES_OPLABELS_H
#define MOAI_PASSES_OPLABELS_H

#include "moai/IR/Moai.h"

namespace moai {

/// What an op is: `moai.contract`, `moai.elementwise mul`.
inline std::string describeKind(mlir::Operation &op) {
  auto kind = op.getAttrOfType<mlir::StringAttr>("kind");
  return op.getName().getStringRef().str() + (kind ? " " + kind.str() : "");
}

/// Reads and writes the attributes that place an op of @step, whose names are looked up once per pass instead of once per op.
class OpLabels {
public:
  explicit OpLabels(mlir::MLIRContext *context)
      : stageName(mlir::StringAttr::get(context, attrs::kStage)), phaseName(mlir::StringAttr::get(context, attrs::kPhase)),
        partName(mlir::StringAttr::get(context, attrs::kPart)), positionName(mlir::StringAttr::get(context, attrs::kPosition)),
        integerType(mlir::IntegerType::get(context, 64)), backward(mlir::StringAttr::get(context, "backward")) {}

  /// The pipeline stage; -1 without.
  int64_t stage(mlir::Operation *op) const { return number(op, stageName, -1); }
  /// The number of the forward op it belongs to, of a repeat that of the first element's; -1 without.
  int64_t position(mlir::Operation *op) const { return number(op, positionName, -1); }
  bool isBackward(mlir::Operation *op) const { return static_cast<bool>(op->getDiscardableAttr(phaseName)); }
  /// load or update; null inside the micro-batches.
  mlir::Attribute part(mlir::Operation *op) const { return op->getDiscardableAttr(partName); }

  void setStage(mlir::Operation *op, int64_t stage) const { op->setDiscardableAttr(stageName, mlir::IntegerAttr::get(integerType, stage)); }
  void setPosition(mlir::Operation *op, int64_t position) const {
    op->setDiscardableAttr(positionName, mlir::IntegerAttr::get(integerType, position));
  }
  /// Inside the micro-batches.
  void place(mlir::Operation *op, int64_t stage, bool isBackward) const {
    setStage(op, stage);
    if (isBackward)
      op->setDiscardableAttr(phaseName, backward);
  }
  /// Outside of them.
  void place(mlir::Operation *op, int64_t stage, mlir::Attribute part) const {
    mlir::NamedAttribute sorted[] = {{partName, part}, {stageName, mlir::IntegerAttr::get(integerType, stage)}};
    op->setDiscardableAttrs(mlir::DictionaryAttr::getWithSorted(op->getContext(), sorted));
  }

private:
  static int64_t number(mlir::Operation *op, mlir::StringAttr name, int64_t otherwise) {
    auto value = llvm::dyn_cast_if_present<mlir::IntegerAttr>(op->getDiscardableAttr(name));
    return value ? value.getInt() : otherwise;
  }

  mlir::StringAttr stageName, phaseName, partName, positionName;
  mlir::Type integerType;
  mlir::StringAttr backward;
};

} // namespace moai

#endif // MOAI_PASSES_OPLABELS_H
