// What ops say about splitting them, against their kernels: on pieces, combined as stated, over random shapes. Numbers are drawn from fixed
// seeds, which failures name.
#include "FactorCases.h"
#include "FactorCheck.h"
#include "GradientCheck.h"
#include <map>

using namespace moai;
using ::testing::HasSubstr;
using ::testing::ValuesIn;

namespace {

constexpr unsigned kRepeats = 20;

/// What was tried of an op: how often, and how many factors were split.
struct Tried {
  unsigned cases = 0, splits = 0;
};
using Trials = std::map<std::string, Tried>;

// Every op of @step, run one by one.
std::string checkOps(mlir::ModuleOp module, const Executor::Values &arguments, std::mt19937 &random, Trials &trials) {
  auto step = module.lookupSymbol<mlir::func::FuncOp>("step");
  llvm::DenseMap<mlir::Value, std::shared_ptr<const Tensor>> values;
  for (auto [argument, tensor] : llvm::zip(step.getArguments(), arguments))
    values[argument] = tensor;
  for (mlir::Operation &op : step.getBody().front().without_terminator()) {
    OpCase test{&op, {}, getBinding(module)};
    for (mlir::Value operand : op.getOperands())
      test.operands.push_back(values[operand]);
    auto results = runAlone(test);
    if (!results.ok())
      return std::string(results.status().message());
    for (auto [result, tensor] : llvm::zip(op.getResults(), *results))
      values[result] = tensor;
    OpFactors factors = llvm::cast<FactorOpInterface>(op).getFactors();
    Tried &tried = trials[op.getName().getStringRef().str()];
    ++tried.cases;
    std::string wrong = checkForm(&op, factors);
    if (wrong.empty())
      wrong = checkSplits(test, factors, random, tried.splits);
    if (wrong.empty())
      wrong = checkLinear(test, factors, random);
    if (!wrong.empty())
      return describeOp(op) + " " + wrong;
  }
  return "";
}

std::string checkText(const std::string &text, const std::vector<Argument> &arguments, bool withGradients, unsigned seed, Trials &trials) {
  TestContext context;
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module)
    return "is no module: " + text;
  mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
  buildTrainingPipeline(manager);
  if (withGradients && mlir::failed(manager.run(*module)))
    return "has no gradients: " + text;
  std::mt19937 random(seed);
  Executor::Values values;
  for (const Argument &argument : arguments)
    values.push_back(randomTensor(argument, random));
  return checkOps(*module, values, random, trials);
}

std::string checkDrawn(const Drawer &drawer, bool withGradients, unsigned seed, Trials &trials) {
  Draw draw(seed);
  drawer(draw);
  std::vector<Argument> arguments = draw.drawn().arguments;
  arguments.push_back({draw.drawn().result, 0.5, 1.5});
  std::string wrong = checkText(moduleText(draw.drawn()), arguments, withGradients, seed, trials);
  return wrong.empty() ? "" : absl::StrCat("seed ", seed, ": ", wrong, "\n", moduleText(draw.drawn()));
}

std::vector<Family> familiesWithGradients() {
  std::vector<Family> all;
  for (const auto &families : {elementwiseFamilies(), reductionFamilies(), productFamilies(), viewFamilies(), indexFamilies()})
    all.insert(all.end(), families.begin(), families.end());
  return all;
}

void checkFamily(const Family &family, bool withGradients, unsigned repeats, Trials &trials) {
  for (const Drawer &drawer : family.drawers)
    for (unsigned seed = 1; seed <= repeats; ++seed)
      ASSERT_EQ(checkDrawn(drawer, withGradients, seed, trials), "");
}

class FactorsOf : public ::testing::TestWithParam<Family> {};
class FactorsWithoutGradient : public ::testing::TestWithParam<Family> {};

TEST_P(FactorsOf, AreWhatKernelsDo) {
  Trials trials;
  checkFamily(GetParam(), /*withGradients=*/true, kRepeats, trials);
}

TEST_P(FactorsWithoutGradient, AreWhatKernelsDo) {
  Trials trials;
  checkFamily(GetParam(), /*withGradients=*/false, kRepeats, trials);
}

std::string familyName(const ::testing::TestParamInfo<Family> &info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Drawn, FactorsOf, ValuesIn(familiesWithGradients()), familyName);
INSTANTIATE_TEST_SUITE_P(Drawn, FactorsWithoutGradient, ValuesIn(factorFamilies()), familyName);

//===----------------------------------------------------------------------===//
// Samples
//===----------------------------------------------------------------------===//

using SampleDrawer = SampleCase (*)(Draw &);

constexpr SampleDrawer kSampleDrawers[] = {drawSampledDropout, drawSampledNumbers, drawSampledAttention};

void checkSampled(SampleDrawer drawer, Trials &trials) {
  for (unsigned seed = 1; seed <= kRepeats; ++seed) {
    Draw draw(seed);
    SampleCase drawn = drawer(draw);
    ASSERT_EQ(checkText(drawn.text, drawn.arguments, /*withGradients=*/false, seed, trials), "") << "seed " << seed << ":\n" << drawn.text;
  }
}

TEST(Factors, PartsOfTheBatchDrawTheNumbersOfTheirSamples) {
  for (SampleDrawer drawer : kSampleDrawers) {
    Trials trials;
    checkSampled(drawer, trials);
    for (const auto &[op, tried] : trials)
      EXPECT_GE(tried.splits, kRepeats) << op;
  }
}

//===----------------------------------------------------------------------===//
// Every op
//===----------------------------------------------------------------------===//

// Opaque ops aren't understood; a repeat is what its block is; the others exist because something was split.
const std::set<std::string> kExempt = {"moai.opaque",        "moai.repeat",         "moai.send",      "moai.receive",
                                       "moai.gather_bucket", "moai.scatter_bucket", "moai.all_reduce"};
// Rows change places with those of other tokens, which a part doesn't have.
const std::set<std::string> kNeverSplit = {"moai.route"};

TEST(Factors, AreCheckedOfEveryOp) {
  Trials trials;
  for (const Family &family : familiesWithGradients())
    checkFamily(family, /*withGradients=*/true, /*repeats=*/5, trials);
  for (const Family &family : factorFamilies())
    checkFamily(family, /*withGradients=*/false, kRepeats, trials);
  for (SampleDrawer drawer : kSampleDrawers)
    checkSampled(drawer, trials);
  TestContext context;
  for (mlir::RegisteredOperationName name : context.getRegisteredOperations()) {
    std::string op = name.getStringRef().str();
    if (name.getDialectNamespace() != "moai" || kExempt.count(op))
      continue;
    EXPECT_TRUE(name.hasInterface<FactorOpInterface>()) << op << " doesn't say what splitting it means";
    EXPECT_GT(trials[op].cases, 0u) << op << " has no random case";
    EXPECT_TRUE(trials[op].splits > 0 || kNeverSplit.count(op)) << op << " is never split";
  }
}

TEST(Factors, FitTheTypesOfRealGraphs) {
  for (const char *graph : {"tiny-gpt2", "tiny-bert", "tiny-vit", "tiny-mixtral", "tiny-qwen2", "family-t5", "family-swin", "family-cnn",
                            "family-gemma2", "family-deepseek-v2", "family-gpt-oss", "small-losses", "small-reductions"}) {
    TestContext context;
    ImportedModel model = importTrainingGraph(graph, context);
    model.module->walk([&](FactorOpInterface op) { EXPECT_EQ(checkForm(op, op.getFactors()), "") << graph << ": " << describeOp(*op); });
  }
}

//===----------------------------------------------------------------------===//
// Wrong answers
//===----------------------------------------------------------------------===//

// What the checks say about an op (the first of @step) once its factors are changed.
std::string whyWrong(const Argument &argument, const std::string &op, const std::string &result,
                     const std::function<void(OpFactors &)> &change) {
  TestContext context;
  auto module = mlir::parseSourceString<mlir::ModuleOp>(absl::StrCat("func.func @step(%a0: ", typeText(argument.shape, "f64"), ") -> ",
                                                                     result, " {\n%y = moai.", op, " : (", typeText(argument.shape, "f64"),
                                                                     ") -> ", result, "\nreturn %y : ", result, "\n}\n"),
                                                        &context);
  EXPECT_TRUE(module);
  mlir::Operation &first = module->lookupSymbol<mlir::func::FuncOp>("step").getBody().front().front();
  std::mt19937 random(7);
  OpCase test{&first, {randomTensor(argument, random)}, {}};
  OpFactors factors = llvm::cast<FactorOpInterface>(first).getFactors();
  change(factors);
  unsigned splits = 0;
  std::string wrong = checkForm(&first, factors);
  wrong = wrong.empty() ? checkSplits(test, factors, random, splits) : wrong;
  return wrong.empty() ? checkLinear(test, factors, random) : wrong;
}

void claim(OpFactors &factors, FactorKind from, FactorKind to) {
  for (Factor &factor : factors.factors)
    factor.kind = factor.kind == from ? to : factor.kind;
}

TEST(Factors, WrongOnesAreFound) {
  auto reduce = [](const char *kind) {
    return absl::StrCat("reduce %a0 {dims = array<i64: 1>, keep_dims = false, kind = \"", kind, "\"}");
  };
  auto nothing = [](OpFactors &) {};
  std::string same = typeText({3, 4}, "f64"), rows = typeText({3}, "f64"), turned = typeText({3, 3}, "f64");
  Argument square{{3, 3}}, oblong{{3, 4}};
  EXPECT_EQ(whyWrong(oblong, reduce("mean"), rows, nothing), "");
  EXPECT_THAT(whyWrong(oblong, reduce("mean"), rows, [](OpFactors &f) { claim(f, FactorKind::Mean, FactorKind::Sum); }),
              HasSubstr("expected"));
  EXPECT_THAT(whyWrong(oblong, reduce("sum"), rows, [](OpFactors &f) { claim(f, FactorKind::Sum, FactorKind::Mean); }),
              HasSubstr("expected"));
  EXPECT_THAT(whyWrong(oblong, reduce("amax"), rows, [](OpFactors &f) { claim(f, FactorKind::Max, FactorKind::Min); }),
              HasSubstr("expected"));
  EXPECT_THAT(whyWrong(oblong, reduce("amax"), rows, [](OpFactors &f) { f.linear = {{0}}; }), HasSubstr("of a sum of operand 0"));
  EXPECT_THAT(whyWrong(oblong, "softmax %a0 {dim = 1 : i64, log = false}", same,
                       [](OpFactors &f) { claim(f, FactorKind::Whole, FactorKind::Map); }),
              HasSubstr("expected"));
  EXPECT_THAT(whyWrong(square, "transpose %a0 {permutation = array<i64: 1, 0>}", turned,
                       [](OpFactors &f) { std::swap(f.results[0][0], f.results[0][1]); }),
              HasSubstr("types don't fit"));
  EXPECT_THAT(whyWrong(oblong, "copy %a0", same, [](OpFactors &f) { f.results[0][1] = f.results[0][0]; }), HasSubstr("holds twice"));
}

} // namespace
