//===- MatmulOps.cpp - Contractions, convolutions, expert products ---------===//
#include "OpSupport.h"

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// contract
//===----------------------------------------------------------------------===//

namespace {
struct Equation {
  StringRef lhs, rhs, result;
};
} // namespace

static Equation split(StringRef equation) {
  auto [inputs, result] = equation.split("->");
  auto [lhs, rhs] = inputs.split(',');
  return {lhs, rhs, result};
}

LogicalResult ContractOp::verify() {
  Equation eq = split(getEquation());
  llvm::SmallDenseMap<char, Dim> factors;
  auto bind = [&](StringRef what, StringRef names, Value value) -> LogicalResult {
    SymTensorType type = tensorOf(value);
    if (names.size() != type.getRank())
      return emitOpError() << what << " has rank " << type.getRank() << ", but equation '" << getEquation() << "' gives it " << names.size()
                           << " letters";
    auto shape = type.getShape();
    for (auto [index, name] : llvm::enumerate(names)) {
      auto [it, isNew] = factors.try_emplace(name, shape[index]);
      if (!isNew && it->second != shape[index])
        return emitOpError() << what << " has dimension " << index << " = " << shape[index].str() << ", but factor '" << name << "' is "
                             << it->second.str();
    }
    return success();
  };
  if (failed(bind("lhs", eq.lhs, getLhs())) || failed(bind("rhs", eq.rhs, getRhs())))
    return failure();
  for (char name : eq.result)
    if (!factors.count(name))
      return emitOpError() << "equation '" << getEquation() << "' has letter '" << name << "' only in its result";
  if (failed(bind("result", eq.result, getResult())))
    return failure();
  if (Value bias = getBias()) {
    if (failed(expectRank(*this, "bias", tensorOf(bias), 1)))
      return failure();
    return expectDim(*this, "bias", tensorOf(bias), 0, tensorOf(getResult()).getShape().back());
  }
  return success();
}

OpWork ContractOp::getWork(const DimBinding &binding) {
  OpWork work = getStreamingWork(*this, binding);
  work.kernel = OpKernel::Matmul;
  work.lowPrecision = isLowPrecision(tensorOf(getLhs()));
  Equation eq = split(getEquation());
  auto lhs = tensorOf(getLhs()).getShape(), rhs = tensorOf(getRhs()).getShape();
  work.flops = 2;
  for (auto [index, name] : llvm::enumerate(eq.lhs))
    work.flops *= static_cast<double>(lhs[index].evaluate(binding));
  for (auto [index, name] : llvm::enumerate(eq.rhs))
    if (!eq.lhs.contains(name))
      work.flops *= static_cast<double>(rhs[index].evaluate(binding));
  return work;
}

void ContractOp::buildGradient(GradientBuilder &gradients) {
  Value gradient = gradients.getGradient(getResult());
  Equation eq = split(getEquation());
  auto product = [&](Value operand, StringRef names, Value other, StringRef otherNames) {
    if (!gradients.needsGradient(operand))
      return;
    std::string equation = (eq.result + "," + otherNames + "->" + names).str();
    // The first letters of a weight gradient come from the gradient, as in PyTorch's grad^T x input.
    Value result = gradients.create<ContractOp>(tensorOf(operand), gradient, gradients.getSaved(other), Value(), equation);
    gradients.accumulate(operand, result);
  };
  product(getLhs(), eq.lhs, getRhs(), eq.rhs);
  product(getRhs(), eq.rhs, getLhs(), eq.lhs);
  if (Value bias = getBias(); bias && gradients.needsGradient(bias))
    gradients.accumulate(bias, gradients.reduceTo(gradient, tensorOf(bias)));
}

//===----------------------------------------------------------------------===//
// convolution
//===----------------------------------------------------------------------===//

// `narrow` has the channels that the weight's first dimension counts, `wide` the others, in groups.
template <typename OpT> static LogicalResult verifyConvolution(OpT op, StringRef narrowName, Value narrow, StringRef wideName, Value wide) {
  SymTensorType weight = tensorOf(op.getWeight());
  unsigned spatial = op.getStrides().size();
  if (op.getPadding().size() != spatial || op.getDilation().size() != spatial)
    return op.emitOpError("strides, padding and dilation must have one entry per spatial dimension");
  if (failed(expectRank(op, "input", tensorOf(op.getInput()), spatial + 2)) || failed(expectRank(op, "weight", weight, spatial + 2)) ||
      failed(expectRank(op, "result", tensorOf(op.getResult()), spatial + 2)))
    return failure();
  if (op.getGroups() < 1)
    return op.emitOpError() << "groups must be positive, found " << op.getGroups();
  if (failed(expectDim(op, wideName, tensorOf(wide), 1, weight.getShape()[1] * Dim(op.getGroups()))) ||
      failed(expectDim(op, "result", tensorOf(op.getResult()), 0, tensorOf(op.getInput()).getShape()[0])))
    return failure();
  return expectDim(op, narrowName, tensorOf(narrow), 1, weight.getShape()[0]);
}

LogicalResult ConvolutionOp::verify() { return verifyConvolution(*this, "result", getResult(), "input", getInput()); }

LogicalResult TransposedConvolutionOp::verify() { return verifyConvolution(*this, "input", getInput(), "result", getResult()); }

static double convolutionFlops(SymTensorType output, SymTensorType weight, const DimBinding &binding) {
  auto shape = weight.getShape();
  double flops = 2.0 * output.countElements(binding);
  for (unsigned i = 1; i < shape.size(); ++i)
    flops *= static_cast<double>(shape[i].evaluate(binding));
  return flops;
}

// Each number on the side that the weight's first dimension counts meets as many weights as one of them has.
static OpWork convolutionWork(Operation *op, Value narrow, Value weight, const DimBinding &binding) {
  OpWork work = getStreamingWork(op, binding);
  work.kernel = OpKernel::Matmul;
  work.lowPrecision = isLowPrecision(tensorOf(op->getOperand(0)));
  work.flops = convolutionFlops(tensorOf(narrow), tensorOf(weight), binding);
  return work;
}

OpWork ConvolutionOp::getWork(const DimBinding &binding) { return convolutionWork(*this, getResult(), getWeight(), binding); }

OpWork TransposedConvolutionOp::getWork(const DimBinding &binding) { return convolutionWork(*this, getInput(), getWeight(), binding); }

// A bias is added to every place of its channel.
static void accumulateBias(GradientBuilder &gradients, Value bias, Value gradient) {
  if (!bias || !gradients.needsGradient(bias))
    return;
  SmallVector<int64_t> dims;
  for (unsigned i = 0; i < tensorOf(gradient).getRank(); ++i)
    if (i != 1)
      dims.push_back(i);
  gradients.accumulate(bias, gradients.create<ReduceOp>(tensorOf(bias), gradient, "sum", dims, /*keep_dims=*/false));
}

// It is linear in its input, whose gradient is the convolution; that of the weight is the convolution's, with the parts exchanged.
void TransposedConvolutionOp::buildGradient(GradientBuilder &gradients) {
  Value gradient = gradients.getGradient(getResult()), input = getInput(), weight = getWeight();
  if (gradients.needsGradient(input))
    gradients.accumulate(input, gradients.create<ConvolutionOp>(tensorOf(input), gradient, gradients.getSaved(weight), Value(),
                                                                getStrides(), getPadding(), getDilation(), getGroups()));
  if (gradients.needsGradient(weight))
    gradients.accumulate(weight, gradients.create<ConvolutionBackwardOp>(tensorOf(weight), gradients.getSaved(input), gradient,
                                                                         gradients.getSaved(weight), "weight", getStrides(), getPadding(),
                                                                         getDilation(), getGroups()));
  accumulateBias(gradients, getBias(), gradient);
}

void ConvolutionOp::buildGradient(GradientBuilder &gradients) {
  Value gradient = gradients.getGradient(getResult());
  // As autograd does, input and weight are kept even if only one gradient is wanted.
  for (auto [operand, wrt] : {std::pair(getInput(), "input"), {getWeight(), "weight"}})
    if (gradients.needsGradient(operand))
      gradients.accumulate(operand, gradients.create<ConvolutionBackwardOp>(tensorOf(operand), gradient, gradients.getSaved(getInput()),
                                                                            gradients.getSaved(getWeight()), wrt, getStrides(),
                                                                            getPadding(), getDilation(), getGroups()));
  accumulateBias(gradients, getBias(), gradient);
}

LogicalResult ConvolutionBackwardOp::verify() {
  if (getWrt() != "input" && getWrt() != "weight")
    return emitOpError() << "wrt must be 'input' or 'weight', found '" << getWrt() << "'";
  return expectSameShape(*this, "result", tensorOf(getResult()), tensorOf(getWrt() == "weight" ? getWeight() : getInput()));
}

OpWork ConvolutionBackwardOp::getWork(const DimBinding &binding) {
  OpWork work = getStreamingWork(*this, binding);
  work.kernel = OpKernel::Matmul;
  work.lowPrecision = isLowPrecision(tensorOf(getGradient()));
  // Only the other one is read.
  work.bytes -= tensorOf(getWrt() == "weight" ? getWeight() : getInput()).countBytes(binding);
  work.flops = convolutionFlops(tensorOf(getGradient()), tensorOf(getWeight()), binding);
  return work;
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

LogicalResult RouteOp::verify() {
  SymTensorType choices = tensorOf(getChoices());
  if (failed(expectRank(*this, "choices", choices, 2)) || failed(expectRank(*this, "order", tensorOf(getOrder()), 1)) ||
      failed(expectRank(*this, "offsets", tensorOf(getOffsets()), 1)))
    return failure();
  Dim rows = choices.getShape()[0] * choices.getShape()[1];
  if (failed(expectDim(*this, "order", tensorOf(getOrder()), 0, rows)))
    return failure();
  return expectSameShape(*this, "inverse", tensorOf(getInverse()), tensorOf(getOrder()));
}

LogicalResult DispatchOp::verify() {
  SymTensorType input = tensorOf(getInput()), result = tensorOf(getResult());
  if (failed(expectRank(*this, "result", result, input.getRank())) ||
      failed(expectDim(*this, "result", result, 0, input.getShape()[0] * Dim(getChoices()))))
    return failure();
  return expectDim(*this, "order", tensorOf(getOrder()), 0, result.getShape()[0]);
}

void DispatchOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(),
                         gradients.create<CombineOp>(tensorOf(getInput()), gradients.getGradient(getResult()),
                                                     gradients.getSaved(getOrder()), gradients.getSaved(getInverse()), getChoices()));
}

LogicalResult CombineOp::verify() {
  SymTensorType input = tensorOf(getInput()), result = tensorOf(getResult());
  if (failed(expectRank(*this, "result", result, input.getRank())) ||
      failed(expectDim(*this, "input", input, 0, result.getShape()[0] * Dim(getChoices()))))
    return failure();
  return expectDim(*this, "inverse", tensorOf(getInverse()), 0, input.getShape()[0]);
}

void CombineOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(),
                         gradients.create<DispatchOp>(tensorOf(getInput()), gradients.getGradient(getResult()),
                                                      gradients.getSaved(getOrder()), gradients.getSaved(getInverse()), getChoices()));
}

LogicalResult ExpertMatmulOp::verify() {
  SymTensorType input = tensorOf(getInput()), weight = tensorOf(getWeight()), result = tensorOf(getResult());
  if (failed(expectRank(*this, "input", input, 2)) || failed(expectRank(*this, "weight", weight, 3)) ||
      failed(expectRank(*this, "result", result, 2)))
    return failure();
  auto shape = weight.getShape();
  if (failed(expectDim(*this, "input", input, 1, shape[getTransposed() ? 2 : 1])) ||
      failed(expectDim(*this, "result", result, 0, input.getShape()[0])) ||
      failed(expectDim(*this, "result", result, 1, shape[getTransposed() ? 1 : 2])))
    return failure();
  return expectDim(*this, "offsets", tensorOf(getOffsets()), 0, shape[0]);
}

OpWork ExpertMatmulOp::getWork(const DimBinding &binding) {
  OpWork work = getStreamingWork(*this, binding);
  work.kernel = OpKernel::Matmul;
  work.lowPrecision = isLowPrecision(tensorOf(getInput()));
  work.flops = 2.0 * tensorOf(getInput()).countElements(binding) * tensorOf(getResult()).getShape()[1].evaluate(binding);
  return work;
}

void ExpertMatmulOp::buildGradient(GradientBuilder &gradients) {
  Value gradient = gradients.getGradient(getResult());
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(), gradients.create<ExpertMatmulOp>(tensorOf(getInput()), gradient, gradients.getSaved(getWeight()),
                                                                      gradients.getSaved(getOffsets()), !getTransposed()));
  if (gradients.needsGradient(getWeight())) {
    Value input = gradients.getSaved(getInput()), offsets = gradients.getSaved(getOffsets());
    Value lhs = getTransposed() ? gradient : input, rhs = getTransposed() ? input : gradient;
    gradients.accumulate(getWeight(), gradients.create<ExpertOuterOp>(tensorOf(getWeight()), lhs, rhs, offsets));
  }
}

LogicalResult ExpertOuterOp::verify() {
  SymTensorType lhs = tensorOf(getLhs()), rhs = tensorOf(getRhs()), result = tensorOf(getResult());
  if (failed(expectRank(*this, "lhs", lhs, 2)) || failed(expectRank(*this, "rhs", rhs, 2)) ||
      failed(expectRank(*this, "result", result, 3)))
    return failure();
  if (failed(expectDim(*this, "rhs", rhs, 0, lhs.getShape()[0])) || failed(expectDim(*this, "result", result, 1, lhs.getShape()[1])))
    return failure();
  return expectDim(*this, "result", result, 2, rhs.getShape()[1]);
}

OpWork ExpertOuterOp::getWork(const DimBinding &binding) {
  OpWork work = getStreamingWork(*this, binding);
  work.kernel = OpKernel::Matmul;
  work.lowPrecision = isLowPrecision(tensorOf(getLhs()));
  work.flops = 2.0 * tensorOf(getLhs()).countElements(binding) * tensorOf(getRhs()).getShape()[1].evaluate(binding);
  return work;
}
