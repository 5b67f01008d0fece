//===- MaskEvaluator.h - Values of shape-only tensors, point by point ------===//
#ifndef MOAI_LIB_IMPORT_MASKEVALUATOR_H
#define MOAI_LIB_IMPORT_MASKEVALUATOR_H

#include "TrainingGraph.h"
#include <optional>

namespace moai {

/// Evaluates values that depend on nothing but shapes and constants. Small tensors are computed once as a whole, large
/// ones (a mask has sequence² elements) only where they are asked for.
class MaskEvaluator {
public:
  /// The graph must not change while the evaluator is used.
  MaskEvaluator(const TrainingGraph &graph, const DimBinding &binding) : graph(graph), binding(binding), facts(graph.values.size()) {}

  /// True if the value reads no input, parameter, buffer or random number.
  bool isPure(ValueId value);
  llvm::ArrayRef<int64_t> shapeOf(ValueId value);
  /// The element, or nothing if an op on the way isn't known here.
  std::optional<double> at(ValueId value, llvm::ArrayRef<int64_t> index);

private:
  using Index = llvm::SmallVector<int64_t, 4>;
  /// What an elementwise op does to numbers; both null where it isn't known or takes more of them.
  struct Function {
    double (*unary)(double) = nullptr;
    double (*binary)(double, double) = nullptr;
  };
  /// What was found out about a value.
  struct Facts {
    bool pure = false;
    Index shape;
    int64_t elements = -1;                    ///< negative while the shape is unknown
    bool isMaterialised = false;              ///< tried, at least
    std::unique_ptr<std::vector<double>> all; ///< null if it can't be computed
    std::optional<Function> function;         ///< of the op that makes it, once asked for
  };
  Facts &factsOf(ValueId value);
  /// Whether it is worth computing as a whole.
  static bool isSmall(const Facts &value);
  std::optional<double> compute(ValueId value, llvm::ArrayRef<int64_t> index);
  const Function &functionOf(const GraphOp &op);
  std::optional<double> elementwise(const GraphOp &op, llvm::ArrayRef<int64_t> index);
  std::optional<std::vector<double>> pointwise(const GraphOp &op, const Facts &result);
  std::optional<double> operandAt(ValueId operand, llvm::ArrayRef<int64_t> index);
  const std::vector<double> *materialise(ValueId value);

  const TrainingGraph &graph;
  DimBinding binding;
  std::vector<Facts> facts; ///< by value
  unsigned depth = 0;
  size_t seenOps = 0;             ///< ops whose purity is known
  int64_t elementsLeft = 1 << 26; ///< that may still be computed as part of whole tensors: half a gigabyte
};

} // namespace moai

#endif // MOAI_LIB_IMPORT_MASKEVALUATOR_H
