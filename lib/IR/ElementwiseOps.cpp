//===- ElementwiseOps.cpp - Scalar functions, casts, copies ----------------===//
#include "OpSupport.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace moai;

namespace {
/// What the backward of a unary function reads.
enum class Saves { Nothing, Input, Output };
} // namespace

// The backward of a function `f` of one tensor is the kernel `f_backward(gradient, saved)`; where nothing is saved it is
// `f_backward(gradient)`. What isn't listed reads its input again.
static Saves savesOf(StringRef kind) {
  if (kind == "neg")
    return Saves::Nothing;
  if (llvm::is_contained({"sqrt", "rsqrt", "exp", "exp2", "expm1", "tan", "tanh", "sigmoid", "relu", "reciprocal"}, kind))
    return Saves::Output;
  return Saves::Input;
}

// Constant almost everywhere, so that no gradient passes.
static bool isStep(StringRef kind) {
  return llvm::is_contained({"sign",      "floor", "ceil",  "round",    "trunc", "floor_divide", "trunc_divide",
                             "bernoulli", "isnan", "isinf", "isfinite", "not",   "and",          "or",
                             "xor",       "eq",    "ne",    "lt",       "le",    "gt",           "ge"},
                            kind);
}

LogicalResult ElementwiseOp::verify() {
  if (getInputs().empty())
    return emitOpError("needs at least one operand");
  SymTensorType result = tensorOf(getResult());
  auto shape = result.getShape();
  for (auto [index, input] : llvm::enumerate(getInputs())) {
    SymTensorType type = tensorOf(input);
    if (type.getRank() > shape.size())
      return emitOpError() << "operand " << index << " has rank " << type.getRank() << ", more than the result's " << shape.size();
    auto from = type.getShape();
    unsigned extra = shape.size() - from.size();
    for (unsigned i = 0; i < from.size(); ++i)
      if (!from[i].isConstant(1) && from[i] != shape[i + extra])
        return emitOpError() << "operand " << index << " has dimension " << i << " = " << from[i].str() << ", which does not broadcast to "
                             << shape[i + extra].str();
  }
  return success();
}

void ElementwiseOp::buildGradient(GradientBuilder &gradients) {
  Value gradient = gradients.getGradient(getResult());
  SymTensorType type = tensorOf(getResult());
  auto give = [&](unsigned index, llvm::function_ref<Value()> build) {
    Value operand = getInputs()[index];
    if (isFloating(tensorOf(operand).getElementType()) && gradients.needsGradient(operand))
      gradients.accumulate(operand, gradients.reduceTo(build(), tensorOf(operand)));
  };
  auto saved = [&](unsigned index) { return gradients.getSaved(getInputs()[index]); };
  StringRef kind = getKind();
  unsigned arity = getInputs().size();

  if (isStep(kind))
    return;
  if (arity == 1) {
    // Scaling and shifting by a constant keep nothing.
    if (!getScalars().empty() && (kind == "mul" || kind == "div"))
      return give(0, [&] { return gradients.elementwise(kind, gradient, type, getScalars()); });
    if (llvm::is_contained({"add", "sub", "remainder", "fmod"}, kind))
      return give(0, [&] { return gradient; });
    if (kind == "rsub")
      return give(0, [&] {
        return getScalars().size() < 2 ? gradients.elementwise("neg", gradient, type)
                                       : gradients.elementwise("mul", gradient, type, {-getScalars()[1]});
      });
    if (kind == "tril" || kind == "triu")
      return give(0, [&] { return gradients.elementwise(kind, gradient, type, getScalars()); });
    return give(0, [&]() -> Value {
      SmallVector<Value> operands{gradient};
      Saves saves = savesOf(kind);
      if (saves == Saves::Input)
        operands.push_back(saved(0));
      else if (saves == Saves::Output)
        operands.push_back(gradients.getSaved(getResult()));
      return gradients.elementwise((kind + "_backward").str(), operands, type, getScalars());
    });
  }
  if (kind == "add" || kind == "sub") {
    give(0, [&] { return gradient; });
    give(1, [&]() -> Value {
      double scale = (getScalars().empty() ? 1.0 : getScalars()[0]) * (kind == "sub" ? -1 : 1);
      if (scale == 1)
        return gradient;
      return scale == -1 ? gradients.elementwise("neg", gradient, type) : gradients.elementwise("mul", gradient, type, {scale});
    });
  } else if (kind == "mul") {
    // A complex gradient is that of the real and the imaginary part.
    StringRef product = isa<ComplexType>(type.getElementType()) ? "mul_conj" : "mul";
    give(0, [&] { return gradients.elementwise(product, {gradient, saved(1)}, type); });
    give(1, [&] { return gradients.elementwise(product, {gradient, saved(0)}, type); });
  } else if (kind == "div") {
    give(0, [&] { return gradients.elementwise("div", {gradient, saved(1)}, type); });
    give(1, [&] { return gradients.elementwise("div_backward", {gradient, saved(0), saved(1)}, type); });
  } else if (kind == "where") {
    give(1, [&] { return gradients.elementwise("select", {saved(0), gradient}, type); });
    if (arity > 2)
      give(2, [&] { return gradients.elementwise("select_not", {saved(0), gradient}, type); });
  } else if (kind == "masked_fill") {
    give(0, [&] { return gradients.elementwise("select_not", {saved(1), gradient}, type); });
    if (arity > 2)
      give(2, [&] { return gradients.elementwise("select", {saved(1), gradient}, type); });
  } else {
    // maximum, minimum, pow of tensors, atan2 and the like read both operands.
    for (unsigned i = 0; i < arity; ++i)
      give(i, [&] {
        SmallVector<Value> operands{gradient};
        for (unsigned j = 0; j < arity; ++j)
          operands.push_back(saved(j));
        return gradients.elementwise((kind + "_backward_" + Twine(i)).str(), operands, type, getScalars());
      });
  }
}

//===----------------------------------------------------------------------===//
// cast, copy, dropout
//===----------------------------------------------------------------------===//

LogicalResult CastOp::verify() { return expectSameShape(*this, "result", tensorOf(getResult()), tensorOf(getInput())); }

void CastOp::buildGradient(GradientBuilder &gradients) {
  if (isFloating(tensorOf(getInput()).getElementType()) && gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(), gradients.create<CastOp>(tensorOf(getInput()), gradients.getGradient(getResult())));
}

LogicalResult CopyOp::verify() {
  if (getInput().getType() != getResult().getType())
    return emitOpError() << "result has type " << getResult().getType() << ", expected " << getInput().getType();
  return success();
}

void CopyOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(), gradients.getGradient(getResult()));
}

LogicalResult DropoutOp::verify() {
  double p = getP().convertToDouble();
  if (!(p >= 0 && p <= 1))
    return emitOpError("probability must be between 0 and 1");
  if (failed(expectSameShape(*this, "mask", tensorOf(getMask()), tensorOf(getInput()))))
    return failure();
  return expectSameShape(*this, "result", tensorOf(getResult()), tensorOf(getInput()));
}

bool DropoutOp::drawsNumbers() { return true; }

void DropoutOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(),
                         gradients.elementwise("dropout_backward", {gradients.getGradient(getResult()), gradients.getSaved(getMask())},
                                               tensorOf(getInput()), {getP().convertToDouble()}));
}
