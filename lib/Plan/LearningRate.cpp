//===- LearningRate.cpp - How the learning rate changes over a training ----===//
#include "moai/Plan/LearningRate.h"
#include "absl/strings/str_cat.h"
#include <algorithm>
#include <cmath>

using namespace moai;

absl::StatusOr<LearningRateShape> moai::parseLearningRateShape(llvm::StringRef text) {
  for (LearningRateShape shape : {LearningRateShape::Constant, LearningRateShape::Linear, LearningRateShape::Cosine})
    if (text == toString(shape))
      return shape;
  return absl::InvalidArgumentError(absl::StrCat("'", text.str(), "' is not known; expected constant, linear or cosine"));
}

llvm::StringRef moai::toString(LearningRateShape shape) {
  switch (shape) {
  case LearningRateShape::Constant:
    return "constant";
  case LearningRateShape::Linear:
    return "linear";
  case LearningRateShape::Cosine:
    break;
  }
  return "cosine";
}

double LearningRateSchedule::factor(int64_t step, int64_t numSteps) const {
  constexpr double kPi = 3.14159265358979323846;
  int64_t done = step - 1;
  if (done < warmupSteps)
    return static_cast<double>(done) / static_cast<double>(warmupSteps);
  double part = static_cast<double>(done - warmupSteps) / static_cast<double>(std::max<int64_t>(1, numSteps - warmupSteps));
  switch (shape) {
  case LearningRateShape::Constant:
    return 1;
  case LearningRateShape::Linear:
    return std::max(0.0, 1 - part);
  case LearningRateShape::Cosine:
    break;
  }
  return std::max(0.0, 0.5 * (1 + std::cos(kPi * part)));
}
