//===- TrainingGraph.h - A forward graph as plain values -------------------===//
#ifndef MOAI_LIB_IMPORT_TRAININGGRAPH_H
#define MOAI_LIB_IMPORT_TRAININGGRAPH_H

#include "DimTable.h"
#include "ExportedProgram.h"
#include <string>

namespace moai {

using pt2::DType;
using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;

/// One code per op of the dialect that an import can produce.
enum class OpCode : uint8_t {
  Contract,
  Convolution,
  TransposedConvolution,
  Attention,
  Elementwise,
  Cast,
  Copy,
  Reduce,
  Scan,
  Pool,
  Normalize,
  Softmax,
  Dropout,
  CrossEntropy,
  Reshape,
  ComplexView,
  Detach,
  Transpose,
  Expand,
  Slice,
  InsertSlice,
  Concat,
  Pad,
  Generate,
  Embedding,
  Gather,
  Scatter,
  Sort,
  Histogram,
  Route,
  Dispatch,
  ExpertMatmul,
  Combine,
  Opaque,
};

/// Where a value comes from when no op makes it.
enum class Role : uint8_t { Computed, Parameter, Frozen, Buffer, Constant, Input };
inline bool isParameter(Role role) { return role == Role::Parameter || role == Role::Frozen; }

struct GraphValue {
  DType dtype = DType::F32;
  llvm::SmallVector<DimId, 4> dims;
  Role role = Role::Computed;
  llvm::StringRef name;  ///< the framework's name, of arguments
  int32_t producer = -1; ///< index of the op
};

/// An op with its attributes in the order in which its dialect op declares them, by kind.
struct GraphOp {
  OpCode code = OpCode::Opaque;
  llvm::StringRef kind;                   ///< kind, equation, mask or target
  llvm::SmallVector<ValueId, 3> operands; ///< kNoValue for a missing optional one
  llvm::SmallVector<ValueId, 1> results;
  llvm::SmallVector<int64_t, 4> ints;
  llvm::SmallVector<int64_t, 4> moreInts; ///< second and third lists of a convolution
  llvm::SmallVector<double, 2> floats;
  Dim start;            ///< of slices
  llvm::StringRef path; ///< module path
  bool dead = false;
};

/// A forward graph in the dialect's vocabulary, before it becomes IR: what recognition works on.
struct TrainingGraph {
  DimTable dims;
  std::vector<GraphValue> values;
  std::vector<GraphOp> ops;
  std::vector<ValueId> arguments;
  ValueId loss = kNoValue;
  std::vector<ValueId> outputs;
  std::vector<std::pair<ValueId, ValueId>> bufferUpdates; ///< arguments, and what the forward has written into them
  std::vector<std::string> storage;                       ///< strings that `kind` fields point into

  explicit TrainingGraph(DimTable dims) : dims(std::move(dims)) {}

  const GraphOp *producerOf(ValueId value) const {
    return value < 0 || values[value].producer < 0 ? nullptr : &ops[values[value].producer];
  }
  GraphOp *producerOf(ValueId value) { return const_cast<GraphOp *>(std::as_const(*this).producerOf(value)); }
  int64_t hintElements(ValueId value) const {
    int64_t count = 1;
    for (DimId dim : values[value].dims)
      count = saturatingMultiply(count, dims.hint(dim));
    return count;
  }
};

} // namespace moai

#endif // MOAI_LIB_IMPORT_TRAININGGRAPH_H
