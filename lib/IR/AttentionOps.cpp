//===- AttentionOps.cpp - Scaled dot-product attention ---------------------===//
#include "OpSupport.h"

using namespace mlir;
using namespace moai;

static LogicalResult verifyMask(Operation *op, StringRef mask, int64_t window, Value bias) {
  if (!llvm::is_contained({"causal", "sliding_window", "full", "bias"}, mask))
    return op->emitOpError() << "mask must be causal, sliding_window, full or bias, found '" << mask << "'";
  if ((mask == "sliding_window") != (window > 0))
    return op->emitOpError() << "window must be positive for a sliding window and 0 otherwise, found " << window << " for '" << mask << "'";
  if ((mask == "bias") != static_cast<bool>(bias))
    return op->emitOpError("needs a bias operand exactly when its mask is 'bias'");
  return success();
}

LogicalResult AttentionOp::verify() {
  SymTensorType query = tensorOf(getQuery()), key = tensorOf(getKey()), value = tensorOf(getValue()), result = tensorOf(getResult());
  if (failed(verifyMask(*this, getMask(), getWindow(), getBias())))
    return failure();
  for (auto [what, type] : {std::pair("query", query), {"key", key}, {"value", value}, {"result", result}})
    if (failed(expectRank(*this, what, type, 4)))
      return failure();
  auto q = query.getShape(), k = key.getShape(), v = value.getShape();
  if (failed(expectDim(*this, "key", key, 0, q[0])) || failed(expectDim(*this, "key", key, 3, q[3])))
    return failure();
  for (unsigned i = 0; i < 3; ++i)
    if (failed(expectDim(*this, "value", value, i, k[i])))
      return failure();
  if (q[1].isConstant() && k[1].isConstant() && (k[1].isConstant(0) || q[1].constant() % k[1].constant()))
    return emitOpError() << "has " << q[1].str() << " query heads, not a multiple of its " << k[1].str() << " key heads";
  return expectSameShape(*this, "result", result, SymTensorType::get(getContext(), {q[0], q[1], q[2], v[3]}, result.getElementType()));
}

// Two products of [queries x keys] scores, one with the query's width and one with the value's; masked scores count,
// as in PyTorch's counter.
static double attentionFlops(SymTensorType query, SymTensorType key, SymTensorType value, const DimBinding &binding) {
  auto k = key.getShape(), v = value.getShape(), q = query.getShape();
  double rows = static_cast<double>(q[0].evaluate(binding)) * q[1].evaluate(binding) * q[2].evaluate(binding);
  return 2.0 * rows * k[2].evaluate(binding) * (static_cast<double>(q[3].evaluate(binding)) + v[3].evaluate(binding));
}

bool AttentionOp::drawsNumbers() { return !getDropout().isZero(); }

OpWork AttentionOp::getWork(const DimBinding &binding) {
  OpWork work = getStreamingWork(*this, binding);
  work.kernel = OpKernel::Attention;
  work.lowPrecision = isLowPrecision(tensorOf(getQuery()));
  work.flops = attentionFlops(tensorOf(getQuery()), tensorOf(getKey()), tensorOf(getValue()), binding);
  return work;
}

void AttentionOp::buildGradient(GradientBuilder &gradients) {
  SmallVector<Value> wanted{getQuery(), getKey(), getValue()};
  Value bias = getBias();
  if (bias && isFloating(tensorOf(bias).getElementType()) && gradients.needsGradient(bias))
    wanted.push_back(bias);
  SmallVector<Type> types;
  for (Value value : wanted)
    types.push_back(value.getType());
  auto backward = gradients.create<AttentionBackwardOp>(
      types, gradients.getGradient(getResult()), gradients.getSaved(getQuery()), gradients.getSaved(getKey()),
      gradients.getSaved(getValue()), gradients.getSaved(getResult()), gradients.getSaved(getLogsumexp()),
      bias ? gradients.getSaved(bias) : Value(), getMask(), getWindow(), getScale(), getDropout(), getStream(), getUnfused());
  for (auto [value, gradient] : llvm::zip(wanted, backward.getGradients()))
    if (gradients.needsGradient(value))
      gradients.accumulate(value, gradient);
}

LogicalResult AttentionBackwardOp::verify() {
  if (failed(verifyMask(*this, getMask(), getWindow(), getBias())))
    return failure();
  if (getGradients().size() < 3)
    return emitOpError("must return the gradients of query, key and value");
  for (auto [what, gradient, of] : {std::tuple("gradient of the query", getGradients()[0], getQuery()),
                                    {"gradient of the key", getGradients()[1], getKey()},
                                    {"gradient of the value", getGradients()[2], getValue()}})
    if (failed(expectSameShape(*this, what, tensorOf(gradient), tensorOf(of))))
      return failure();
  return success();
}

OpWork AttentionBackwardOp::getWork(const DimBinding &binding) {
  OpWork work = getStreamingWork(*this, binding);
  work.kernel = OpKernel::Attention;
  work.lowPrecision = isLowPrecision(tensorOf(getQuery()));
  // Five products where the forward has two: a flash kernel computes the scores again. PyTorch has none for a bias that is
  // trained, for values of another width, or for key heads that are broadcast; then the scores are kept, and four products do.
  bool isFlash = !getUnfused() && getGradients().size() == 3 && tensorOf(getQuery()).getShape()[3] == tensorOf(getValue()).getShape()[3];
  work.flops = (isFlash ? 2.5 : 2.0) * attentionFlops(tensorOf(getQuery()), tensorOf(getKey()), tensorOf(getValue()), binding);
  return work;
}
