//===- Kernels.cpp - What kernels share ------------------------------------===//
#include "Kernels.h"
#include "Eigen/Core"
#include "moai/Execute/Executor.h"

using namespace mlir;
using namespace moai;

void moai::addAllKernels(KernelTable &table) {
  for (auto add : {addMatmulKernels, addAttentionKernels, addElementwiseKernels, addReductionKernels, addViewKernels, addIndexKernels,
                   addDistributionKernels})
    add(table);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

Offsets moai::rowMajorStrides(ArrayRef<int64_t> shape) {
  Offsets strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * shape[i];
  return strides;
}

Offsets moai::broadcastStrides(ArrayRef<int64_t> from, ArrayRef<int64_t> to) {
  Offsets own = rowMajorStrides(from), strides(to.size(), 0);
  size_t extra = to.size() - from.size();
  for (size_t i = 0; i < from.size(); ++i)
    strides[i + extra] = from[i] == 1 ? 0 : own[i];
  return strides;
}

Tensor moai::permute(const Tensor &tensor, ArrayRef<int64_t> permutation) {
  Offsets own = rowMajorStrides(tensor.shape), strides;
  Tensor result;
  for (int64_t dim : permutation) {
    result.shape.push_back(tensor.shape[dim]);
    strides.push_back(own[dim]);
  }
  result.values.reserve(tensor.values.size());
  walk<1>(result.shape, {strides}, [&](auto at) { result.values.push_back(tensor.values[at[0]]); });
  return result;
}

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

void moai::roundTo(Type type, std::vector<double> &values) {
  if (auto complex = dyn_cast<ComplexType>(type))
    type = complex.getElementType();
  if (type.isF32()) {
    for (double &value : values)
      value = static_cast<float>(value);
  } else if (type.isBF16()) {
    for (double &value : values)
      value = static_cast<float>(Eigen::bfloat16(static_cast<float>(value)));
  } else if (type.isF16()) {
    for (double &value : values)
      value = static_cast<float>(Eigen::half(static_cast<float>(value)));
  }
}

// One step of SplitMix64: the numbers of a key are those of its generator, counted from there.
uint64_t moai::mixKey(uint64_t key, uint64_t counter) {
  uint64_t z = key + (counter + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double RandomNumbers::operator[](int64_t element) const {
  return static_cast<double>(mixKey(key, static_cast<uint64_t>(first + element)) >> 11) * 0x1p-53;
}

RandomNumbers KernelCall::random(uint64_t stream, Value batched, int64_t size) const {
  SymTensorType type = tensorOf(batched);
  bool hasSamples = type.getRank() > 0 && type.getShape().front().dividedBy(Dim::symbol(kBatchSymbol)).has_value();
  int64_t first = hasSamples ? firstSample * (size / binding.values[kBatchSymbol]) : 0;
  return {mixKey(randomKey, stream), first};
}
