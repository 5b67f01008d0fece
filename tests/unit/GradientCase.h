//===- GradientCase.h - A function whose gradients are checked --------------===//
#ifndef MOAI_TESTS_UNIT_GRADIENTCASE_H
#define MOAI_TESTS_UNIT_GRADIENTCASE_H

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <cstdint>
#include <string>
#include <vector>

namespace moai {

using Shape = std::vector<int64_t>;

/// An argument of the function that is differentiated: doubles from a range, or whole numbers, either below a limit or given.
struct Argument {
  Shape shape;
  double low = -2, high = 2;
  int64_t below = 0; ///< for whole numbers
  std::vector<double> given = {};

  bool isInteger() const { return below > 0 || !given.empty(); }
};

struct Case {
  std::string name;
  std::vector<Argument> arguments; ///< %a0, %a1, ...
  std::string body;                ///< computes %y; T0, T1, ... stand for the arguments' types and TY for the result's
  Shape result;
};

inline std::string typeText(const Shape &shape, const char *element) {
  return absl::StrCat("!moai.tensor<[", absl::StrJoin(shape, ", "), "], ", element, ">");
}

} // namespace moai

#endif // MOAI_TESTS_UNIT_GRADIENTCASE_H
