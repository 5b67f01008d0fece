//===- ViewKernels.cpp - Views, slices and joins ---------------------------===//
#include "Kernels.h"

using namespace mlir;
using namespace moai;

// Views are copies here: the reference keeps every tensor dense.

static void reshape(ReshapeOp op, KernelCall &call) { call.result(op.getResult()).values = call[op.getInput()].values; }

static void complexView(ComplexViewOp op, KernelCall &call) { call.result(op.getResult()).values = call[op.getInput()].values; }

static void detach(DetachOp op, KernelCall &call) { call.result(op.getResult()).values = call[op.getInput()].values; }

static void transpose(TransposeOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  SmallVector<int64_t, 6> order(op.getPermutation());
  if (input.rank() > order.size()) // the parts of complex numbers stay together
    order.push_back(input.rank() - 1);
  call.result(op.getResult()) = permute(input, order);
}

static void expand(ExpandOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult());
  size_t next = 0;
  walk<1>(result.shape, {broadcastStrides(input.shape, result.shape)}, [&](auto at) { result.values[next++] = input.values[at[0]]; });
}

namespace {
/// A slice of a whole tensor: where it begins there, and the strides along it.
struct Slice {
  int64_t offset = 0;
  Offsets strides;
};
} // namespace

template <typename OpT> static std::optional<Slice> locate(OpT op, ArrayRef<int64_t> whole, ArrayRef<int64_t> part, KernelCall &call) {
  int64_t dim = op.getDim(), start = Dim::parse(op.getStart())->evaluate(call.binding), step = op.getStep();
  if (start < 0 || (part[dim] > 0 && start + (part[dim] - 1) * step >= whole[dim])) {
    call.fail("takes " + Twine(part[dim]) + " positions from " + Twine(start) + " on, out of " + Twine(whole[dim]));
    return std::nullopt;
  }
  Slice slice;
  slice.strides = rowMajorStrides(whole);
  slice.offset = start * slice.strides[dim];
  slice.strides[dim] *= step;
  return slice;
}

static void slice(SliceOp op, KernelCall &call) {
  const Tensor &input = call[op.getInput()];
  Tensor &result = call.result(op.getResult());
  size_t next = 0;
  if (auto where = locate(op, input.shape, result.shape, call))
    walk<1>(result.shape, {where->strides}, [&](auto at) { result.values[next++] = input.values[where->offset + at[0]]; });
}

// Writes a part into a whole.
template <typename OpT> static void insert(OpT op, const Tensor &part, Tensor &whole, KernelCall &call) {
  size_t next = 0;
  if (auto where = locate(op, whole.shape, part.shape, call))
    walk<1>(part.shape, {where->strides}, [&](auto at) { whole.values[where->offset + at[0]] = part.values[next++]; });
}

static void insertSlice(InsertSliceOp op, KernelCall &call) {
  Tensor &result = call.result(op.getResult());
  result.values = call[op.getInto()].values;
  insert(op, call[op.getSource()], result, call);
}

static void pad(PadOp op, KernelCall &call) { insert(op, call[op.getInput()], call.result(op.getResult()), call); }

static void concat(ConcatOp op, KernelCall &call) {
  Tensor &result = call.result(op.getResult());
  Offsets strides = rowMajorStrides(result.shape);
  int64_t offset = 0;
  for (Value input : op.getInputs()) {
    const Tensor &part = call[input];
    size_t next = 0;
    walk<1>(part.shape, {strides}, [&](auto at) { result.values[offset + at[0]] = part.values[next++]; });
    offset += part.shape[op.getDim()] * strides[op.getDim()];
  }
}

void moai::addViewKernels(KernelTable &table) {
  table.add<ReshapeOp>(reshape);
  table.add<ComplexViewOp>(complexView);
  table.add<DetachOp>(detach);
  table.add<TransposeOp>(transpose);
  table.add<ExpandOp>(expand);
  table.add<SliceOp>(slice);
  table.add<InsertSliceOp>(insertSlice);
  table.add<PadOp>(pad);
  table.add<ConcatOp>(concat);
}
