//===- DimTest.cpp - Polynomials of the step's symbols ----------------------===//
#include "moai/Plan/Dim.h"
#include "gtest/gtest.h"
#include <limits>

using namespace moai;

namespace {
const Dim b = Dim::symbol(0), s = Dim::symbol(1), t = Dim::symbol(2);

TEST(Dim, PrintsAndParses) {
  struct Case {
    Dim dim;
    const char *text;
  } cases[] = {
      {Dim(0), "0"},          {Dim(4096), "4096"},    {Dim(-3), "-3"},           {b, "b"},
      {b * s, "b*s"},         {b * s - b, "b*s - b"}, {Dim(2) * s * s, "2*s*s"}, {s + 1, "s + 1"},
      {b * t - 7, "b*t - 7"},
  };
  for (const Case &c : cases) {
    EXPECT_EQ(c.dim.str(), c.text);
    std::optional<Dim> parsed = Dim::parse(c.text);
    ASSERT_TRUE(parsed.has_value()) << c.text;
    EXPECT_EQ(*parsed, c.dim) << c.text;
  }
  EXPECT_EQ(*Dim::parse(" s*b+ 2 *3 "), b * s + 6);
  for (const char *bad : {"", "x", "b*", "b +", "b s", "3 4", "99999999999999999999", "9223372036854775807 + 1"})
    EXPECT_FALSE(Dim::parse(bad).has_value()) << bad;
}

TEST(Dim, ArithmeticIsCanonical) {
  EXPECT_EQ(b * s, s * b);
  EXPECT_EQ((b + s) * (b - s), b * b - s * s);
  EXPECT_EQ(b + s - s, b);
  EXPECT_TRUE((b - b).isConstant(0));
  EXPECT_TRUE((Dim(6) * Dim(7)).isConstant(42));
  EXPECT_FALSE(b.isConstant());
  EXPECT_EQ((b * s + 5).constant(), 5);
  EXPECT_EQ((b * s * s + b).degreeIn(kSequenceSymbol), 2u);
  EXPECT_EQ((b * s * s + b).degreeIn(2), 0u);
}

TEST(Dim, Divides) {
  EXPECT_EQ(*(Dim(32) * b * s).dividedBy(Dim(8) * s), Dim(4) * b);
  EXPECT_EQ(*(b * s + b).dividedBy(b), s + 1);
  EXPECT_EQ(*(b + s).dividedBy(b + s), Dim(1));
  EXPECT_FALSE((b * s + 1).dividedBy(b).has_value());
  EXPECT_FALSE((Dim(6) * b).dividedBy(Dim(4)).has_value());
}

TEST(Dim, EvaluatesAndSaturates) {
  DimBinding binding;
  binding.values = {4, 2048, 3, 5};
  EXPECT_EQ((b * s - b + 2).evaluate(binding), 4 * 2048 - 4 + 2);
  constexpr int64_t max = std::numeric_limits<int64_t>::max();
  binding.values[1] = int64_t(1) << 40;
  EXPECT_EQ((s * s).evaluate(binding), max);
  EXPECT_EQ(saturatingMultiply(int64_t(1) << 32, int64_t(1) << 31), max);
  EXPECT_EQ(saturatingMultiply(int64_t(1) << 31, int64_t(1) << 31), int64_t(1) << 62);
  EXPECT_TRUE((Dim(max) * Dim(2)).isOverflow());
  EXPECT_TRUE((Dim(max) + Dim(1)).isOverflow());
}
// The least integer has no negative: it counts as an overflow, and nothing that is computed from it is undefined.
TEST(Dim, TheLeastIntegerIsAnOverflow) {
  Dim least(INT64_MIN);
  EXPECT_TRUE(least.isOverflow());
  EXPECT_TRUE((Dim(0) - least).isOverflow());
  EXPECT_TRUE((Dim(INT64_MIN / 2) * Dim(2)).isOverflow());
  EXPECT_TRUE((Dim(-INT64_MAX) + Dim(-1)).isOverflow());
  EXPECT_EQ(least.str(), "-9223372036854775807");
  EXPECT_EQ(Dim(-INT64_MAX).dividedBy(Dim(-1)), Dim(INT64_MAX));
}

} // namespace
