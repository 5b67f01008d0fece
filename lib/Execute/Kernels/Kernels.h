//===- Kernels.h - What an op's kernel sees --------------------------------===//
#ifndef MOAI_LIB_EXECUTE_KERNELS_H
#define MOAI_LIB_EXECUTE_KERNELS_H

#include "moai/Execute/Tensor.h"
#include "moai/IR/Moai.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include <array>
#include <functional>
#include <memory>

namespace moai {

/// Uniform numbers in [0, 1), one for each element of a tensor: a pure function of the key and of the element's place in the whole batch.
class RandomNumbers {
public:
  RandomNumbers(uint64_t key, int64_t first) : key(key), first(first) {}
  double operator[](int64_t element) const;

private:
  uint64_t key;
  int64_t first; ///< place of element 0
};

/// One execution of an op: its operands' tensors (complex ones with a further, last dimension of 2), and its results' in their shapes, full
/// of zeros.
class KernelCall {
public:
  const Tensor &operator[](mlir::Value operand) const { return *operands.find(operand)->second; }
  Tensor &result(mlir::Value value) { return *results.find(value)->second; }
  /// Ends the run; the first reason counts. A kernel returns right after.
  void fail(const llvm::Twine &reason) {
    if (error.empty())
      error = reason.str();
  }
  /// Numbers of a stream for a tensor of `size` elements that holds the same samples as `batched`, in the same order.
  RandomNumbers random(uint64_t stream, mlir::Value batched, int64_t size) const;

  llvm::SmallDenseMap<mlir::Value, std::shared_ptr<const Tensor>, 8> operands;
  llvm::SmallDenseMap<mlir::Value, std::shared_ptr<Tensor>, 4> results;
  DimBinding binding;
  bool float64 = false;          ///< products in double instead of float
  uint64_t randomKey = 0;        ///< of the run, the step and the block instance
  int64_t firstSample = 0;       ///< of the batch that the tensors hold
  int64_t step = 1;              ///< of the training run, from 1
  double learningRateFactor = 1; ///< on the optimizer's own
  bool isEvaluation = false;     ///< nothing is dropped out
  std::string error;
};

/// Kernels by op. Operands of an op are in their types' shapes: verified IR is taken for granted, data is not.
class KernelTable {
public:
  using Kernel = std::function<void(mlir::Operation *, KernelCall &)>;
  template <typename OpT> void add(void (*kernel)(OpT, KernelCall &)) {
    kernels[OpT::getOperationName()] = [kernel](mlir::Operation *op, KernelCall &call) { kernel(llvm::cast<OpT>(op), call); };
  }
  /// Null for an op without a kernel.
  const Kernel *find(mlir::Operation *op) const {
    auto it = kernels.find(op->getName().getStringRef());
    return it == kernels.end() ? nullptr : &it->second;
  }

private:
  llvm::StringMap<Kernel> kernels;
};

void addMatmulKernels(KernelTable &table);
void addAttentionKernels(KernelTable &table);
void addElementwiseKernels(KernelTable &table);
void addReductionKernels(KernelTable &table);
void addViewKernels(KernelTable &table);
void addIndexKernels(KernelTable &table);
void addDistributionKernels(KernelTable &table);
/// All of them.
void addAllKernels(KernelTable &table);

/// The key of random numbers under another one.
uint64_t mixKey(uint64_t key, uint64_t counter);

using Offsets = llvm::SmallVector<int64_t, 4>;

/// Strides of a contiguous tensor, in elements.
Offsets rowMajorStrides(llvm::ArrayRef<int64_t> shape);
/// Strides that read a tensor as if it were broadcast to a shape: 0 along dimensions of 1.
Offsets broadcastStrides(llvm::ArrayRef<int64_t> from, llvm::ArrayRef<int64_t> to);

/// Visits all positions of a shape in row-major order, with the offset that each of N stride lists gives.
template <size_t N, typename Visit> void walk(llvm::ArrayRef<int64_t> shape, const std::array<Offsets, N> &strides, Visit visit) {
  if (Tensor::countElements(shape) == 0)
    return;
  Offsets index(shape.size(), 0);
  std::array<int64_t, N> at{};
  while (true) {
    visit(at);
    size_t dim = shape.size();
    while (dim-- > 0) {
      for (size_t i = 0; i < N; ++i)
        at[i] += strides[i][dim];
      if (++index[dim] < shape[dim])
        break;
      for (size_t i = 0; i < N; ++i)
        at[i] -= strides[i][dim] * shape[dim];
      index[dim] = 0;
    }
    if (dim == SIZE_MAX)
      return;
  }
}

/// Dimension i of the result is dimension permutation[i] of the operand.
Tensor permute(const Tensor &tensor, llvm::ArrayRef<int64_t> permutation);

} // namespace moai

#endif // MOAI_LIB_EXECUTE_KERNELS_H
