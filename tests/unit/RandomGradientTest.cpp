// Every op's gradients against central differences, over random shapes, broadcasts, dimensions and operands that are views.
// The numbers are drawn from fixed seeds, so that a failure comes back; the elements from seeds where none lies within a step of a kink.
#include "GradientCheck.h"
#include "RandomGraph.h"

using namespace moai;
using ::testing::ValuesIn;

namespace {

constexpr unsigned kRepeats = 20;

class RandomGradient : public ::testing::TestWithParam<Family> {};

// The first failure is told, with the case that makes it.
void expectGradients(const Drawer &drawer) {
  for (unsigned seed = 1; seed <= kRepeats && !::testing::Test::HasFailure(); ++seed) {
    Draw draw(seed);
    drawer(draw);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ":\n", draw.drawn().body));
    expectCentralDifference(draw.drawn(), kRepeats + seed);
  }
}

TEST_P(RandomGradient, IsTheCentralDifference) {
  for (const Drawer &drawer : GetParam().drawers)
    expectGradients(drawer);
}

std::string familyName(const ::testing::TestParamInfo<Family> &info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Elementwise, RandomGradient, ValuesIn(elementwiseFamilies()), familyName);
INSTANTIATE_TEST_SUITE_P(Reduction, RandomGradient, ValuesIn(reductionFamilies()), familyName);
INSTANTIATE_TEST_SUITE_P(Product, RandomGradient, ValuesIn(productFamilies()), familyName);
INSTANTIATE_TEST_SUITE_P(View, RandomGradient, ValuesIn(viewFamilies()), familyName);
INSTANTIATE_TEST_SUITE_P(Index, RandomGradient, ValuesIn(indexFamilies()), familyName);

// Ops, and kinds of elementwise ones, whose gradients the random cases check.
std::set<std::string> checkedAtRandom() {
  std::set<std::string> checked;
  for (const auto &families : {elementwiseFamilies(), reductionFamilies(), productFamilies(), viewFamilies(), indexFamilies()})
    for (const Family &family : families)
      for (const Drawer &drawer : family.drawers) {
        Draw draw(/*seed=*/1);
        drawer(draw);
        checked.insert(draw.checked().begin(), draw.checked().end());
      }
  return checked;
}

// An op that gets a gradient rule gets random cases. Ops that aren't understood have a rule for their cost alone, and elementwise ones are
// told apart below.
TEST(RandomGradients, AreCheckedOfEveryOp) {
  std::set<std::string> checked = checkedAtRandom();
  TestContext context;
  size_t count = 0;
  for (mlir::RegisteredOperationName name : context.getRegisteredOperations()) {
    std::string op = name.getStringRef().str();
    if (name.getDialectNamespace() != "moai" || !name.hasInterface<GradientOpInterface>() || op == "moai.opaque" ||
        op == "moai.elementwise")
      continue;
    EXPECT_TRUE(checked.count(op)) << op << " has a gradient rule, but no random case";
    ++count;
  }
  EXPECT_GE(count, 25u);
}

TEST(RandomGradients, AreCheckedOfEveryElementwiseKind) {
  std::set<std::string> checked = checkedAtRandom();
  for (const auto &[kind, operands] : differentiableElementwiseKinds())
    EXPECT_TRUE(checked.count(elementwiseLabel(kind, operands))) << kind << " of " << operands << " has a derivative, but no random case";
}

} // namespace
