//===- ReductionOps.cpp - Reductions, norms, softmax, losses ---------------===//
#include "OpSupport.h"

using namespace mlir;
using namespace moai;

LogicalResult ReduceOp::verify() {
  SymTensorType input = tensorOf(getInput()), result = tensorOf(getResult());
  SmallVector<bool> reduced(input.getRank());
  for (int64_t dim : getDims()) {
    if (failed(expectDimIndex(*this, dim, input.getRank())))
      return failure();
    reduced[dim] = true;
  }
  SmallVector<Dim> expected;
  for (auto [index, dim] : llvm::enumerate(input.getShape()))
    if (!reduced[index])
      expected.push_back(dim);
    else if (getKeepDims())
      expected.push_back(1);
  return expectSameShape(*this, "result", result, SymTensorType::get(getContext(), expected, result.getElementType()));
}

void ReduceOp::buildGradient(GradientBuilder &gradients) {
  if (!gradients.needsGradient(getInput()))
    return;
  SymTensorType input = tensorOf(getInput());
  Value gradient = gradients.getGradient(getResult());
  SmallVector<Dim> kept = llvm::to_vector<4>(input.getShape());
  for (int64_t dim : getDims())
    kept[dim] = 1;
  auto withKeptDims = SymTensorType::get(getContext(), kept, tensorOf(gradient).getElementType());
  if (gradient.getType() != withKeptDims)
    gradient = gradients.create<ReshapeOp>(withKeptDims, gradient);
  if (tensorOf(gradient).getElementType() != input.getElementType())
    gradient = gradients.create<CastOp>(SymTensorType::get(getContext(), kept, input.getElementType()), gradient);
  if (getKind() == "sum") {
    gradients.accumulate(getInput(), gradients.create<ExpandOp>(input, gradient));
  } else if (getKind() == "mean") {
    gradients.accumulate(getInput(), gradients.elementwise("mean_backward", gradient, input));
  } else {
    // Extrema, norms and variances compare or scale the input again.
    Value output = gradients.getSaved(getResult());
    if (tensorOf(output).getRank() != input.getRank())
      output = gradients.create<ReshapeOp>(SymTensorType::get(getContext(), kept, tensorOf(output).getElementType()), output);
    gradients.accumulate(getInput(),
                         gradients.elementwise((getKind() + "_backward").str(), {gradient, output, gradients.getSaved(getInput())}, input));
  }
}

bool ScanOp::hasGradientRule() { return getKind() == "cumsum"; }

// Each position gets the gradients from there on: all of them without those before it.
void ScanOp::buildGradient(GradientBuilder &gradients) {
  SymTensorType input = tensorOf(getInput());
  Value gradient = gradients.getGradient(getResult());
  if (gradient.getType() != input)
    gradient = gradients.create<CastOp>(input, gradient);
  SmallVector<Dim> summed = llvm::to_vector<4>(input.getShape());
  summed[getDim()] = 1;
  int64_t dim = static_cast<int64_t>(getDim());
  Value total = gradients.create<ReduceOp>(SymTensorType::get(getContext(), summed, input.getElementType()), gradient, "sum",
                                           ArrayRef<int64_t>{dim}, /*keep_dims=*/true);
  Value before = gradients.create<ScanOp>(input, gradient, "cumsum", dim);
  Value after = gradients.elementwise("sub", {total, before}, input);
  gradients.accumulate(getInput(), gradients.elementwise("add", {after, gradient}, input));
}

LogicalResult ScanOp::verify() {
  if (failed(expectDimIndex(*this, getDim(), tensorOf(getInput()).getRank())))
    return failure();
  return expectSameShape(*this, "result", tensorOf(getResult()), tensorOf(getInput()));
}

//===----------------------------------------------------------------------===//
// pool
//===----------------------------------------------------------------------===//

template <typename OpT> static LogicalResult verifyPool(OpT op, SymTensorType whole, SymTensorType pooled) {
  unsigned spatial = op.getWindow().size();
  if (op.getKind() != "max" && op.getKind() != "avg")
    return op.emitOpError() << "kind must be max or avg, found '" << op.getKind() << "'";
  if (op.getStrides().size() != spatial || op.getPadding().size() != spatial || op.getDilation().size() != spatial)
    return op.emitOpError("window, strides, padding and dilation must have one entry per spatial dimension");
  if (failed(expectRank(op, "input", whole, spatial + 2)) || failed(expectRank(op, "result", pooled, spatial + 2)) ||
      failed(expectDim(op, "result", pooled, 0, whole.getShape()[0])))
    return failure();
  return expectDim(op, "result", pooled, 1, whole.getShape()[1]);
}

LogicalResult PoolOp::verify() { return verifyPool(*this, tensorOf(getInput()), tensorOf(getResult())); }

void PoolOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(), gradients.create<PoolBackwardOp>(tensorOf(getInput()), gradients.getGradient(getResult()),
                                                                      gradients.getSaved(getInput()), getKind(), getWindow(), getStrides(),
                                                                      getPadding(), getDilation(), getCountPadding()));
}

LogicalResult PoolBackwardOp::verify() {
  if (failed(verifyPool(*this, tensorOf(getInput()), tensorOf(getGradient()))))
    return failure();
  return expectSameShape(*this, "result", tensorOf(getResult()), tensorOf(getInput()));
}

//===----------------------------------------------------------------------===//
// normalize
//===----------------------------------------------------------------------===//

LogicalResult NormalizeOp::verify() {
  SymTensorType input = tensorOf(getInput());
  if (!llvm::is_contained({"layer_norm", "rms_norm", "group_norm", "batch_norm"}, getKind()))
    return emitOpError() << "kind must be layer_norm, rms_norm, group_norm or batch_norm, found '" << getKind() << "'";
  if ((getKind() == "layer_norm" || getKind() == "rms_norm") && (getAxes() < 1 || getAxes() > input.getRank()))
    return emitOpError() << "normalises " << getAxes() << " dimensions of a tensor of rank " << input.getRank();
  if (Value weight = getWeight()) {
    auto shape = tensorOf(weight).getShape();
    bool overLast = getKind() == "layer_norm" || getKind() == "rms_norm";
    if (overLast)
      for (unsigned i = 0; i < shape.size() && i < static_cast<unsigned>(getAxes()); ++i)
        if (failed(expectDim(*this, "weight", tensorOf(weight), i, input.getShape()[input.getRank() - getAxes() + i])))
          return failure();
  }
  return expectSameShape(*this, "result", tensorOf(getResult()), input);
}

void NormalizeOp::buildGradient(GradientBuilder &gradients) {
  SmallVector<Value> wanted{getInput()};
  if (getWeight())
    wanted.push_back(getWeight());
  if (getBias())
    wanted.push_back(getBias());
  SmallVector<Type> types;
  for (Value value : wanted)
    types.push_back(value.getType());
  Value weight = getWeight() ? gradients.getSaved(getWeight()) : Value();
  auto backward = gradients.create<NormalizeBackwardOp>(types, gradients.getGradient(getResult()), gradients.getSaved(getInput()),
                                                        gradients.getSaved(getStatistics()), weight, getKind(), getAxes());
  for (auto [value, gradient] : llvm::zip(wanted, backward.getGradients()))
    if (gradients.needsGradient(value))
      gradients.accumulate(value, gradient);
}

LogicalResult NormalizeBackwardOp::verify() {
  if (getGradients().empty())
    return emitOpError("must return at least the gradient of the input");
  return expectSameShape(*this, "gradient of the input", tensorOf(getGradients()[0]), tensorOf(getInput()));
}

//===----------------------------------------------------------------------===//
// softmax, cross entropy
//===----------------------------------------------------------------------===//

LogicalResult SoftmaxOp::verify() {
  if (failed(expectDimIndex(*this, getDim(), tensorOf(getInput()).getRank())))
    return failure();
  return expectSameShape(*this, "result", tensorOf(getResult()), tensorOf(getInput()));
}

void SoftmaxOp::buildGradient(GradientBuilder &gradients) {
  if (!gradients.needsGradient(getInput()))
    return;
  Value result = gradients.create<SoftmaxBackwardOp>(tensorOf(getResult()), gradients.getGradient(getResult()),
                                                     gradients.getSaved(getResult()), getDim(), getLog());
  gradients.accumulate(getInput(), gradients.reduceTo(result, tensorOf(getInput())));
}

LogicalResult SoftmaxBackwardOp::verify() { return expectSameShape(*this, "result", tensorOf(getResult()), tensorOf(getOutput())); }

LogicalResult CrossEntropyOp::verify() {
  SymTensorType logits = tensorOf(getLogits()), target = tensorOf(getTarget());
  if (!llvm::is_contained({"mean", "sum", "none"}, getReduction()))
    return emitOpError() << "reduction must be mean, sum or none, found '" << getReduction() << "'";
  if (logits.getRank() < 1)
    return emitOpError("logits must have a dimension of classes");
  if (target.getRank() + 1 == logits.getRank() && target.getRank() > 0 &&
      failed(expectDim(*this, "target", target, 0, logits.getShape()[0])))
    return failure();
  if (failed(expectRank(*this, "counted", tensorOf(getCounted()), 0)))
    return failure();
  return expectSameShape(*this, "log_probabilities", tensorOf(getLogProbabilities()), logits);
}

void CrossEntropyOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getLogits()))
    gradients.accumulate(getLogits(), gradients.create<CrossEntropyBackwardOp>(
                                          tensorOf(getLogits()), gradients.getGradient(getLoss()),
                                          gradients.getSaved(getLogProbabilities()), gradients.getSaved(getTarget()),
                                          gradients.getSaved(getCounted()), getReduction(), getIgnoreIndex(), getLabelSmoothing()));
}

// Two kernels: the gradient for the logarithms, and from it that of the logits.
int64_t CrossEntropyBackwardOp::getTemporaryBytes(const DimBinding &binding) { return tensorOf(getLogProbabilities()).countBytes(binding); }

LogicalResult CrossEntropyBackwardOp::verify() {
  return expectSameShape(*this, "result", tensorOf(getResult()), tensorOf(getLogProbabilities()));
}
