//===- ViewOps.cpp - Views, slices and joins -------------------------------===//
#include "OpSupport.h"

using namespace mlir;
using namespace moai;

using Strides = std::optional<SmallVector<int64_t, 4>>;

static OpWork viewWork() { return OpWork(); }

//===----------------------------------------------------------------------===//
// reshape
//===----------------------------------------------------------------------===//

LogicalResult ReshapeOp::verify() {
  SymTensorType input = tensorOf(getInput()), result = tensorOf(getResult());
  if (input.getElementType() != result.getElementType())
    return emitOpError() << "changes the element type from " << input.getElementType() << " to " << result.getElementType();
  Dim before = 1, after = 1;
  for (const Dim &dim : input.getShape())
    before = before * dim;
  for (const Dim &dim : result.getShape())
    after = after * dim;
  if (before != after)
    return emitOpError() << "turns " << before.str() << " elements into " << after.str();
  return success();
}

OpFoldResult ReshapeOp::fold(FoldAdaptor) { return getInput().getType() == getType() ? OpFoldResult(getInput()) : OpFoldResult(); }

// A copy is a memory kernel; whether one is needed depends on the operand's strides, which only a walk over the whole
// function knows (IR/Storage.h). An op alone is taken for a view.
OpWork ReshapeOp::getWork(const DimBinding &) { return viewWork(); }

// A view exists if every run of operand dimensions that a result dimension is cut from is contiguous in itself.
Strides ReshapeOp::getAliasStrides(ArrayRef<int64_t> shape, ArrayRef<int64_t> strides, const DimBinding &binding) {
  SmallVector<int64_t, 4> to;
  for (const Dim &dim : tensorOf(getResult()).getShape())
    to.push_back(dim.evaluate(binding));
  SmallVector<int64_t, 4> result(to.size(), 1);
  int64_t next = static_cast<int64_t>(to.size()) - 1, run = 1, filled = 1;
  if (shape.empty()) {
    return result;
  }
  int64_t base = strides.back();
  for (int64_t i = static_cast<int64_t>(shape.size()) - 1; i >= 0; --i) {
    run *= shape[i];
    bool endOfRun = i == 0 || (shape[i - 1] != 1 && strides[i - 1] != run * base);
    if (!endOfRun)
      continue;
    while (next >= 0 && (filled < run || to[next] == 1)) {
      result[next] = filled * base;
      filled *= to[next--];
    }
    if (filled != run)
      return std::nullopt;
    if (i > 0) {
      base = strides[i - 1];
      run = filled = 1;
    }
  }
  return result;
}

void ReshapeOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(), gradients.create<ReshapeOp>(getInput().getType(), gradients.getGradient(getResult())));
}

//===----------------------------------------------------------------------===//
// complex_view
//===----------------------------------------------------------------------===//

LogicalResult ComplexViewOp::verify() {
  SymTensorType pairs = tensorOf(getInput()), numbers = tensorOf(getResult());
  if (isa<ComplexType>(pairs.getElementType()))
    std::swap(pairs, numbers);
  auto complex = dyn_cast<ComplexType>(numbers.getElementType());
  if (!complex || complex.getElementType() != pairs.getElementType())
    return emitOpError() << "turns " << tensorOf(getInput()).getElementType() << " into " << tensorOf(getResult()).getElementType()
                         << ", expected a real type and its complex one";
  SmallVector<Dim> expected = llvm::to_vector<4>(numbers.getShape());
  expected.push_back(2);
  return expectSameShape(*this, "the real tensor", pairs, SymTensorType::get(getContext(), expected, pairs.getElementType()));
}

OpWork ComplexViewOp::getWork(const DimBinding &) { return viewWork(); }

Strides ComplexViewOp::getAliasStrides(ArrayRef<int64_t>, ArrayRef<int64_t> strides, const DimBinding &) {
  SmallVector<int64_t, 4> result;
  if (isa<ComplexType>(tensorOf(getInput()).getElementType())) {
    for (int64_t stride : strides)
      result.push_back(2 * stride);
    result.push_back(1);
    return result;
  }
  if (strides.back() != 1)
    return std::nullopt;
  for (int64_t stride : strides.drop_back()) {
    if (stride % 2)
      return std::nullopt;
    result.push_back(stride / 2);
  }
  return result;
}

void ComplexViewOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(), gradients.create<ComplexViewOp>(getInput().getType(), gradients.getGradient(getResult())));
}

//===----------------------------------------------------------------------===//
// detach
//===----------------------------------------------------------------------===//

LogicalResult DetachOp::verify() {
  if (getInput().getType() != getResult().getType())
    return emitOpError() << "result has type " << getResult().getType() << ", expected " << getInput().getType();
  return success();
}

OpWork DetachOp::getWork(const DimBinding &) { return viewWork(); }

Strides DetachOp::getAliasStrides(ArrayRef<int64_t>, ArrayRef<int64_t> strides, const DimBinding &) {
  return SmallVector<int64_t, 4>(strides);
}

//===----------------------------------------------------------------------===//
// transpose
//===----------------------------------------------------------------------===//

LogicalResult TransposeOp::verify() {
  SymTensorType input = tensorOf(getInput()), result = tensorOf(getResult());
  if (getPermutation().size() != input.getRank())
    return emitOpError() << "permutes " << getPermutation().size() << " dimensions of a tensor of rank " << input.getRank();
  SmallVector<bool> seen(input.getRank());
  SmallVector<Dim> expected;
  for (int64_t dim : getPermutation()) {
    if (failed(expectDimIndex(*this, dim, input.getRank())))
      return failure();
    if (seen[dim])
      return emitOpError() << "names dimension " << dim << " twice";
    seen[dim] = true;
    expected.push_back(input.getShape()[dim]);
  }
  return expectSameShape(*this, "result", result, SymTensorType::get(getContext(), expected, result.getElementType()));
}

OpWork TransposeOp::getWork(const DimBinding &) { return viewWork(); }

Strides TransposeOp::getAliasStrides(ArrayRef<int64_t>, ArrayRef<int64_t> strides, const DimBinding &) {
  SmallVector<int64_t, 4> result;
  for (int64_t dim : getPermutation())
    result.push_back(strides[dim]);
  return result;
}

void TransposeOp::buildGradient(GradientBuilder &gradients) {
  if (!gradients.needsGradient(getInput()))
    return;
  SmallVector<int64_t> inverse(getPermutation().size());
  for (auto [index, dim] : llvm::enumerate(getPermutation()))
    inverse[dim] = index;
  gradients.accumulate(getInput(), gradients.create<TransposeOp>(getInput().getType(), gradients.getGradient(getResult()), inverse));
}

//===----------------------------------------------------------------------===//
// expand
//===----------------------------------------------------------------------===//

LogicalResult ExpandOp::verify() {
  auto from = tensorOf(getInput()).getShape(), to = tensorOf(getResult()).getShape();
  if (from.size() > to.size())
    return emitOpError() << "expands rank " << from.size() << " to the smaller rank " << to.size();
  unsigned extra = to.size() - from.size();
  for (unsigned i = 0; i < from.size(); ++i)
    if (!from[i].isConstant(1) && from[i] != to[i + extra])
      return emitOpError() << "cannot expand dimension " << i << " from " << from[i].str() << " to " << to[i + extra].str();
  return success();
}

OpFoldResult ExpandOp::fold(FoldAdaptor) { return getInput().getType() == getType() ? OpFoldResult(getInput()) : OpFoldResult(); }
OpWork ExpandOp::getWork(const DimBinding &) { return viewWork(); }

Strides ExpandOp::getAliasStrides(ArrayRef<int64_t> shape, ArrayRef<int64_t> strides, const DimBinding &binding) {
  auto to = tensorOf(getResult()).getShape();
  SmallVector<int64_t, 4> result(to.size(), 0);
  unsigned extra = to.size() - shape.size();
  for (unsigned i = 0; i < shape.size(); ++i)
    result[i + extra] = shape[i] == to[i + extra].evaluate(binding) ? strides[i] : 0;
  return result;
}

void ExpandOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(getInput(), gradients.reduceTo(gradients.getGradient(getResult()), tensorOf(getInput())));
}

//===----------------------------------------------------------------------===//
// slice, insert_slice, pad, concat
//===----------------------------------------------------------------------===//

static LogicalResult verifySlice(Operation *op, SymTensorType whole, SymTensorType part, int64_t dim, StringRef start, int64_t step) {
  if (failed(expectRank(op, "slice", part, whole.getRank())) || failed(expectDimIndex(op, dim, whole.getRank())))
    return failure();
  if (step < 1)
    return op->emitOpError() << "step must be positive, found " << step;
  if (!Dim::parse(start))
    return op->emitOpError() << "start must be a dimension, found '" << start << "'";
  for (unsigned i = 0; i < whole.getRank(); ++i)
    if (i != dim && failed(expectDim(op, "slice", part, i, whole.getShape()[i])))
      return failure();
  Dim from = *Dim::parse(start), size = whole.getShape()[dim], taken = part.getShape()[dim];
  if (from.isConstant() && size.isConstant() && taken.isConstant() &&
      (from.constant() < 0 || (taken.constant() > 0 && from.constant() + (taken.constant() - 1) * step >= size.constant())))
    return op->emitOpError() << "takes positions from " << from.str() << ", " << taken.str() << " of them, out of " << size.str();
  return success();
}

LogicalResult SliceOp::verify() { return verifySlice(*this, tensorOf(getInput()), tensorOf(getResult()), getDim(), getStart(), getStep()); }
OpFoldResult SliceOp::fold(FoldAdaptor) { return getInput().getType() == getType() ? OpFoldResult(getInput()) : OpFoldResult(); }
OpWork SliceOp::getWork(const DimBinding &) { return viewWork(); }

Strides SliceOp::getAliasStrides(ArrayRef<int64_t>, ArrayRef<int64_t> strides, const DimBinding &) {
  SmallVector<int64_t, 4> result(strides);
  result[getDim()] *= getStep();
  return result;
}

void SliceOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(
        getInput(), gradients.create<PadOp>(getInput().getType(), gradients.getGradient(getResult()), getDim(), getStart(), getStep()));
}

LogicalResult PadOp::verify() { return verifySlice(*this, tensorOf(getResult()), tensorOf(getInput()), getDim(), getStart(), getStep()); }

void PadOp::buildGradient(GradientBuilder &gradients) {
  if (gradients.needsGradient(getInput()))
    gradients.accumulate(
        getInput(), gradients.create<SliceOp>(getInput().getType(), gradients.getGradient(getResult()), getDim(), getStart(), getStep()));
}

LogicalResult InsertSliceOp::verify() {
  if (getInto().getType() != getResult().getType())
    return emitOpError() << "result has type " << getResult().getType() << ", expected " << getInto().getType();
  return verifySlice(*this, tensorOf(getInto()), tensorOf(getSource()), getDim(), getStart(), getStep());
}

void InsertSliceOp::buildGradient(GradientBuilder &gradients) {
  Value gradient = gradients.getGradient(getResult());
  if (gradients.needsGradient(getSource()))
    gradients.accumulate(getSource(), gradients.create<SliceOp>(getSource().getType(), gradient, getDim(), getStart(), getStep()));
  if (gradients.needsGradient(getInto())) {
    Value zero = gradients.create<GenerateOp>(getSource().getType(), "full", ArrayRef<double>{0.0});
    gradients.accumulate(getInto(), gradients.create<InsertSliceOp>(getInto().getType(), gradient, zero, getDim(), getStart(), getStep()));
  }
}

LogicalResult ConcatOp::verify() {
  if (getInputs().empty())
    return emitOpError("needs at least one operand");
  SymTensorType result = tensorOf(getResult());
  if (failed(expectDimIndex(*this, getDim(), result.getRank())))
    return failure();
  Dim total = 0;
  for (Value input : getInputs()) {
    SymTensorType type = tensorOf(input);
    if (failed(expectRank(*this, "operand", type, result.getRank())))
      return failure();
    for (unsigned i = 0; i < type.getRank(); ++i)
      if (i != getDim() && failed(expectDim(*this, "operand", type, i, result.getShape()[i])))
        return failure();
    total = total + type.getShape()[getDim()];
  }
  return expectDim(*this, "result", result, getDim(), total);
}

void ConcatOp::buildGradient(GradientBuilder &gradients) {
  Dim start = 0;
  for (Value input : getInputs()) {
    if (gradients.needsGradient(input))
      gradients.accumulate(input, gradients.create<SliceOp>(input.getType(), gradients.getGradient(getResult()), getDim(), start.str(), 1));
    start = start + tensorOf(input).getShape()[getDim()];
  }
}
