//===- IndexOps.cpp - Sources, lookups, sorting, opaque ops ----------------===//
#include "OpSupport.h"

using namespace mlir;
using namespace moai;

LogicalResult GenerateOp::verify() {
  if (getKind() == "arange" && failed(expectRank(*this, "result", tensorOf(getResult()), 1)))
    return failure();
  return success();
}

bool GenerateOp::drawsNumbers() { return getKind() == "random"; }

//===----------------------------------------------------------------------===//
// embedding
//===----------------------------------------------------------------------===//

LogicalResult EmbeddingOp::verify() {
  SymTensorType weight = tensorOf(getWeight()), indices = tensorOf(getIndices()), result = tensorOf(getResult());
  if (failed(expectRank(*this, "weight", weight, 2)))
    return failure();
  if (isFloating(indices.getElementType()))
    return emitOpError() << "indices must be integers, found " << indices.getElementType();
  SmallVector<Dim> expected = llvm::to_vector<4>(indices.getShape());
  expected.push_back(weight.getShape()[1]);
  return expectSameShape(*this, "result", result, SymTensorType::get(getContext(), expected, result.getElementType()));
}

// Only the rows that are looked up are read.
static OpWork lookupWork(SymTensorType result, SymTensorType indices, const DimBinding &binding) {
  OpWork work;
  work.kernel = OpKernel::Memory;
  work.bytes = 2.0 * result.countBytes(binding) + indices.countBytes(binding);
  return work;
}

OpWork EmbeddingOp::getWork(const DimBinding &binding) { return lookupWork(tensorOf(getResult()), tensorOf(getIndices()), binding); }

void EmbeddingOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getWeight()))
    gradients.accumulate(getWeight(), gradients.create<EmbeddingBackwardOp>(tensorOf(getWeight()), gradients.getGradient(getResult()),
                                                                            gradients.getSaved(getIndices()), getPaddingIndex()));
}

LogicalResult EmbeddingBackwardOp::verify() {
  SymTensorType gradient = tensorOf(getGradient()), result = tensorOf(getResult());
  if (failed(expectRank(*this, "result", result, 2)))
    return failure();
  return expectDim(*this, "result", result, 1, gradient.getShape().back());
}

//===----------------------------------------------------------------------===//
// gather, scatter, sort, histogram
//===----------------------------------------------------------------------===//

static LogicalResult verifyDims(Operation *op, ArrayRef<int64_t> dims, unsigned rank) {
  for (int64_t dim : dims)
    if (failed(expectDimIndex(op, dim, rank)))
      return failure();
  return success();
}

LogicalResult GatherOp::verify() {
  if (!llvm::is_contained({"index", "gather", "index_select"}, getKind()))
    return emitOpError() << "kind must be index, gather or index_select, found '" << getKind() << "'";
  if (getIndices().size() != getDims().size())
    return emitOpError() << "has " << getIndices().size() << " index tensors for " << getDims().size() << " dimensions";
  return verifyDims(*this, getDims(), tensorOf(getInput()).getRank());
}

OpWork GatherOp::getWork(const DimBinding &binding) {
  OpWork work = lookupWork(tensorOf(getResult()), tensorOf(getResult()), binding);
  for (Value index : getIndices())
    work.bytes += tensorOf(index).countBytes(binding);
  return work;
}

void GatherOp::buildGradient(GradientBuilder &gradients) {
  if (!gradients.needsGradient(getInput()))
    return;
  Value zero = gradients.create<GenerateOp>(getInput().getType(), "full", ArrayRef<double>{0.0});
  SmallVector<Value> inputs;
  for (Value index : getIndices())
    inputs.push_back(gradients.getSaved(index));
  inputs.push_back(gradients.getGradient(getResult()));
  gradients.accumulate(getInput(), gradients.create<ScatterOp>(getInput().getType(), zero, inputs, getKind(), getDims(),
                                                               /*accumulate=*/true, ArrayRef<double>{}));
}

LogicalResult ScatterOp::verify() {
  if (getInto().getType() != getResult().getType())
    return emitOpError() << "result has type " << getResult().getType() << ", expected " << getInto().getType();
  size_t expected = getDims().size() + (getScalars().empty() ? 1 : 0);
  if (getInputs().size() != expected)
    return emitOpError() << "has " << getInputs().size() << " index and value tensors, expected " << expected;
  return verifyDims(*this, getDims(), tensorOf(getInto()).getRank());
}

void ScatterOp::buildGradient(GradientBuilder &gradients) {
  Value gradient = gradients.getGradient(getResult());
  SmallVector<Value> indices;
  for (Value index : getInputs().take_front(getDims().size()))
    indices.push_back(gradients.getSaved(index));
  if (gradients.needsGradient(getInto())) {
    Value kept = gradient;
    if (!getAccumulate())
      kept = gradients.create<ScatterOp>(getInto().getType(), gradient, indices, getKind(), getDims(), false, ArrayRef<double>{0.0});
    gradients.accumulate(getInto(), kept);
  }
  if (getScalars().empty() && gradients.needsGradient(getInputs().back()))
    gradients.accumulate(getInputs().back(),
                         gradients.create<GatherOp>(getInputs().back().getType(), gradient, indices, getKind(), getDims()));
}

LogicalResult SortOp::verify() {
  SymTensorType input = tensorOf(getInput());
  if (failed(expectDimIndex(*this, getDim(), std::max(1u, input.getRank()))))
    return failure();
  if (failed(expectRank(*this, "values", tensorOf(getValues()), input.getRank())))
    return failure();
  if (getK() && failed(expectDim(*this, "values", tensorOf(getValues()), getDim(), Dim(getK()))))
    return failure();
  return expectSameShape(*this, "indices", tensorOf(getIndices()), tensorOf(getValues()));
}

void SortOp::buildGradient(GradientBuilder &gradients) {
  if (!gradients.needsGradient(getInput()))
    return;
  Value zero = gradients.create<GenerateOp>(getInput().getType(), "full", ArrayRef<double>{0.0});
  gradients.accumulate(getInput(),
                       gradients.create<ScatterOp>(getInput().getType(), zero,
                                                   ValueRange{gradients.getSaved(getIndices()), gradients.getGradient(getValues())},
                                                   "gather", ArrayRef<int64_t>{static_cast<int64_t>(getDim())}, true, ArrayRef<double>{}));
}

LogicalResult HistogramOp::verify() { return expectRank(*this, "result", tensorOf(getResult()), 1); }

//===----------------------------------------------------------------------===//
// opaque
//===----------------------------------------------------------------------===//

LogicalResult OpaqueOp::verify() {
  if (getTarget().empty())
    return emitOpError("must name its framework target");
  return success();
}

void OpaqueOp::buildGradient(GradientBuilder &gradients) {
  SmallVector<Value> inputs;
  SmallVector<Type> types;
  for (Value output : getOutputs())
    if (Value gradient = gradients.getGradient(output))
      inputs.push_back(gradient);
  SmallVector<Value> wanted;
  for (Value input : getInputs()) {
    inputs.push_back(gradients.getSaved(input));
    if (isFloating(tensorOf(input).getElementType()) && gradients.needsGradient(input)) {
      wanted.push_back(input);
      types.push_back(input.getType());
    }
  }
  if (wanted.empty())
    return;
  auto backward = gradients.create<OpaqueOp>(types, inputs, (getTarget() + ".backward").str());
  for (auto [value, gradient] : llvm::zip(wanted, backward.getOutputs()))
    gradients.accumulate(value, gradient);
}
