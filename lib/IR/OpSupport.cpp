//===- OpSupport.cpp - Shared by the op definitions ------------------------===//
#include "OpSupport.h"

using namespace mlir;
using namespace moai;

static std::string shapeText(SymTensorType type) {
  std::string text = "[";
  for (const Dim &dim : type.getShape())
    text += (text.size() > 1 ? ", " : "") + dim.str();
  return text + "]";
}

LogicalResult moai::expectDim(Operation *op, StringRef what, SymTensorType type, unsigned index, const Dim &expected) {
  Dim found = type.getShape()[index];
  if (found == expected)
    return success();
  return op->emitOpError() << what << " has dimension " << index << " = " << found.str() << ", expected " << expected.str();
}

LogicalResult moai::expectRank(Operation *op, StringRef what, SymTensorType type, unsigned rank) {
  if (type.getRank() == rank)
    return success();
  return op->emitOpError() << what << " has rank " << type.getRank() << ", expected " << rank;
}

LogicalResult moai::expectSameShape(Operation *op, StringRef what, SymTensorType type, SymTensorType expected) {
  if (type.getDims() == expected.getDims())
    return success();
  return op->emitOpError() << what << " has shape " << shapeText(type) << ", expected " << shapeText(expected);
}

LogicalResult moai::expectDimIndex(Operation *op, int64_t index, unsigned rank) {
  if (index >= 0 && index < rank)
    return success();
  return op->emitOpError() << "names dimension " << index << " of a tensor of rank " << rank;
}

bool moai::isLowPrecision(SymTensorType type) {
  Type element = type.getElementType();
  return isa<FloatType>(element) && element.getIntOrFloatBitWidth() <= 16;
}

OpWork moai::getStreamingWork(Operation *op, const DimBinding &binding) {
  OpWork work;
  work.kernel = OpKernel::Memory;
  auto add = [&](Type type) { work.bytes += saturatingMultiply(tensorOf(type).countBytes(binding), countTensors(type)); };
  llvm::for_each(op->getOperandTypes(), add);
  llvm::for_each(op->getResultTypes(), add);
  return work;
}

Value GradientBuilder::elementwise(StringRef kind, ValueRange inputs, SymTensorType type, ArrayRef<double> scalars) {
  return create<ElementwiseOp>(type, inputs, kind, scalars);
}

Value GradientBuilder::reduceTo(Value gradient, SymTensorType type) {
  SymTensorType from = tensorOf(gradient);
  auto fromShape = from.getShape(), shape = type.getShape();
  SmallVector<int64_t> summed;
  SmallVector<Dim> kept;
  unsigned extra = fromShape.size() - shape.size();
  for (unsigned i = 0; i < fromShape.size(); ++i) {
    bool broadcast = i < extra || (shape[i - extra].isConstant(1) && !fromShape[i].isConstant(1));
    if (broadcast)
      summed.push_back(i);
    kept.push_back(broadcast ? Dim(1) : fromShape[i]);
  }
  MLIRContext *context = builder.getContext();
  if (!summed.empty())
    gradient = create<ReduceOp>(SymTensorType::get(context, kept, from.getElementType()), gradient, "sum", summed, /*keep_dims=*/true);
  if (extra)
    gradient = create<ReshapeOp>(SymTensorType::get(context, shape, from.getElementType()), gradient);
  if (tensorOf(gradient).getElementType() != type.getElementType())
    gradient = create<CastOp>(type, gradient);
  return gradient;
}

std::string moai::describeOp(Operation &op) {
  auto opaque = dyn_cast<OpaqueOp>(op);
  std::string text = opaque ? "op " + opaque.getTarget().str() : op.getName().getStringRef().str();
  if (auto kind = op.getAttrOfType<StringAttr>("kind"))
    text += " '" + kind.str() + "'";
  if (auto location = dyn_cast<NameLoc>(op.getLoc()); location && !location.getName().empty())
    text += " of " + location.getName().str();
  return text;
}
