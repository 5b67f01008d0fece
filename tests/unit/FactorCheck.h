//===- FactorCheck.h - Factors against what kernels compute ----------------===//
#ifndef MOAI_TESTS_UNIT_FACTORCHECK_H
#define MOAI_TESTS_UNIT_FACTORCHECK_H

#include "mlir/IR/Operation.h"
#include "moai/Execute/Executor.h"
#include "moai/IR/Moai.h"
#include <random>

namespace moai {

/// An op, numbers for its operands, and the sizes of its symbols.
struct OpCase {
  mlir::Operation *op;
  Executor::Values operands;
  DimBinding binding;
};

/// What the op alone gives for these operands.
absl::StatusOr<Executor::Values> runAlone(const OpCase &test);

// What is wrong with factors of an op, as a sentence; nothing if they are right.

/// Whether they fit the types: sizes make the dimensions, and no tensor holds one twice.
std::string checkForm(mlir::Operation *op, const OpFactors &factors);
/// Whether the kernel on pieces, two or three of each factor that parts of some kind make whole, gives what it gives for all of it. Counts
/// the factors that were split.
std::string checkSplits(const OpCase &test, const OpFactors &factors, std::mt19937 &random, unsigned &splits);
/// Whether the op is as linear as they say.
std::string checkLinear(const OpCase &test, const OpFactors &factors, std::mt19937 &random);

} // namespace moai

#endif // MOAI_TESTS_UNIT_FACTORCHECK_H
