//===- Tensor.h - Numbers in a shape ---------------------------------------===//
#ifndef MOAI_EXECUTE_TENSOR_H
#define MOAI_EXECUTE_TENSOR_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include <cstdint>
#include <vector>

namespace moai {

/// A dense row-major tensor. Every element is held as a double: it represents each value of the element types there are
/// (integers up to 2^53), and the executor rounds to the type after every op.
struct Tensor {
  llvm::SmallVector<int64_t, 4> shape;
  std::vector<double> values;

  Tensor() = default;
  explicit Tensor(llvm::ArrayRef<int64_t> shape) : shape(shape), values(countElements(shape)) {}

  int64_t size() const { return static_cast<int64_t>(values.size()); }
  unsigned rank() const { return static_cast<unsigned>(shape.size()); }

  static int64_t countElements(llvm::ArrayRef<int64_t> shape) {
    int64_t count = 1;
    for (int64_t size : shape)
      count *= size;
    return count;
  }
};

} // namespace moai

#endif // MOAI_EXECUTE_TENSOR_H
