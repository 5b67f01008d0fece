//===- LearningRate.h - How the learning rate changes over a training ------===//
#ifndef MOAI_PLAN_LEARNINGRATE_H
#define MOAI_PLAN_LEARNINGRATE_H

#include "absl/status/statusor.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>

namespace moai {

enum class LearningRateShape : uint8_t { Constant, Linear, Cosine };

/// `constant`, `linear`, `cosine`.
absl::StatusOr<LearningRateShape> parseLearningRateShape(llvm::StringRef text);
llvm::StringRef toString(LearningRateShape shape);

/// Formulas are those of get_{constant,linear,cosine}_schedule_with_warmup of Transformers (optimization.py): up from 0 over the warm-up,
/// then constant, down to 0 in a line, or down to 0 in half a cosine.
struct LearningRateSchedule {
  LearningRateShape shape = LearningRateShape::Constant;
  int64_t warmupSteps = 0;

  /// What the optimizer's learning rate is multiplied by in a step, from 1, of a training of so many.
  double factor(int64_t step, int64_t numSteps) const;
};

} // namespace moai

#endif // MOAI_PLAN_LEARNINGRATE_H
