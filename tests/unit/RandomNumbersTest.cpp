// Random numbers of executed graphs: their statistics, and who draws the same ones.
#include "TestModel.h"
#include "mlir/Parser/Parser.h"
#include "moai/Execute/Executor.h"
#include <cmath>

using namespace moai;

namespace {

using Values = std::vector<double>;

std::shared_ptr<Tensor> filled(llvm::ArrayRef<int64_t> shape, double value) {
  auto tensor = std::make_shared<Tensor>(shape);
  std::fill(tensor->values.begin(), tensor->values.end(), value);
  return tensor;
}

class RandomNumbers : public ::testing::Test {
protected:
  /// All results of @step in float64, with `b` samples.
  std::vector<Values> run(const char *text, Executor::Values arguments, ExecuteOptions options = {}, int64_t samples = 1) {
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    DimBinding binding;
    binding.values[kBatchSymbol] = samples;
    setBinding(*module, binding);
    options.float64 = true;
    auto results = Executor(*module, options).run("step", std::move(arguments));
    std::vector<Values> values;
    if (!results.ok())
      ADD_FAILURE() << results.status();
    else
      for (const auto &tensor : *results)
        values.push_back(tensor->values);
    return values;
  }
  TestContext context;
};

constexpr const char *kDropout = R"(
func.func @step(%x: !moai.tensor<[100000], f64>) -> (!moai.tensor<[100000], f64>, !moai.tensor<[100000], i1>) {
  %y, %m = moai.dropout %x {p = 0.3} : (!moai.tensor<[100000], f64>) -> (!moai.tensor<[100000], f64>, !moai.tensor<[100000], i1>)
  return %y, %m : !moai.tensor<[100000], f64>, !moai.tensor<[100000], i1>
})";

// As torch.nn.functional.dropout says: an element is zero with probability p, and otherwise divided by 1 - p.
TEST_F(RandomNumbers, DropoutKeepsTheExpectation) {
  std::vector<Values> results = run(kDropout, {filled({100000}, 2)});
  double kept = 0, sum = 0;
  for (auto [y, mask] : llvm::zip(results[0], results[1])) {
    EXPECT_EQ(y, mask != 0 ? 2 / 0.7 : 0);
    kept += mask;
    sum += y;
  }
  // Five standard deviations of the binomial distribution.
  EXPECT_NEAR(kept / 1e5, 0.7, 5 * std::sqrt(0.3 * 0.7 / 1e5));
  EXPECT_NEAR(sum / 1e5, 2, 5 * 2 / 0.7 * std::sqrt(0.3 * 0.7 / 1e5));
}

TEST_F(RandomNumbers, AreIndependentFromOneToTheNext) {
  std::vector<Values> results = run(kDropout, {filled({100000}, 1)});
  double both = 0;
  for (size_t i = 0; i + 1 < results[1].size(); ++i)
    both += results[1][i] * results[1][i + 1];
  EXPECT_NEAR(both / 1e5, 0.49, 5 * std::sqrt(0.49 * 0.51 / 1e5) * 2);
}

TEST_F(RandomNumbers, DependOnSeedAndStep) {
  Executor::Values x{filled({100000}, 1)};
  ExecuteOptions otherSeed, otherStep;
  otherSeed.seed = 1;
  otherStep.step = 2;
  Values first = run(kDropout, x)[1];
  EXPECT_EQ(first, run(kDropout, x)[1]);
  for (const ExecuteOptions &options : {otherSeed, otherStep}) {
    Values other = run(kDropout, x, options)[1];
    double same = 0;
    for (auto [a, b] : llvm::zip(first, other))
      same += a == b;
    // Equal by chance: 0.7 squared + 0.3 squared.
    EXPECT_NEAR(same / 1e5, 0.58, 5 * std::sqrt(0.58 * 0.42 / 1e5));
  }
}

// Queries and keys of 0 make every probability 1/4, and values that are a unit matrix hand the probabilities out.
TEST_F(RandomNumbers, AttentionDropsProbabilities) {
  const char *text = R"(
func.func @step(%q: !moai.tensor<[500, 2, 5, 1], f64>, %k: !moai.tensor<[500, 2, 4, 1], f64>, %v: !moai.tensor<[500, 2, 4, 4], f64>)
    -> (!moai.tensor<[500, 2, 5, 4], f64>, !moai.tensor<[500, 2, 5], f64>) {
  %y, %l = moai.attention %q, %k, %v {mask = "full", window = 0 : i64, scale = 1.0, dropout = 0.2} :
    (!moai.tensor<[500, 2, 5, 1], f64>, !moai.tensor<[500, 2, 4, 1], f64>, !moai.tensor<[500, 2, 4, 4], f64>) ->
    (!moai.tensor<[500, 2, 5, 4], f64>, !moai.tensor<[500, 2, 5], f64>)
  return %y, %l : !moai.tensor<[500, 2, 5, 4], f64>, !moai.tensor<[500, 2, 5], f64>
})";
  auto identity = filled({500, 2, 4, 4}, 0);
  for (size_t i = 0; i < identity->values.size(); ++i)
    identity->values[i] = i % 16 % 5 == 0;
  std::vector<Values> results = run(text, {filled({500, 2, 5, 1}, 0), filled({500, 2, 4, 1}, 0), identity});
  double kept = 0, count = static_cast<double>(results[0].size());
  for (double p : results[0]) {
    EXPECT_NEAR(p, p != 0 ? 0.25 / 0.8 : 0, 1e-12);
    kept += p != 0;
  }
  EXPECT_NEAR(kept / count, 0.8, 5 * std::sqrt(0.2 * 0.8 / count));
  // What is dropped out still counts in the softmax.
  for (double logsumexp : results[1])
    EXPECT_NEAR(logsumexp, std::log(4), 1e-12);
}

constexpr const char *kBlocks = R"(
func.func private @block(%x: !moai.tensor<[b, 8], f64>) -> !moai.tensor<[b, 8], f64> {
  %y, %m = moai.dropout %x {p = 0.5} : (!moai.tensor<[b, 8], f64>) -> (!moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], i1>)
  return %y : !moai.tensor<[b, 8], f64>
}
func.func private @copy(%x: !moai.tensor<[b, 8], f64>) -> !moai.tensor<[b, 8], f64> {
  %y, %m = moai.dropout %x {p = 0.5} : (!moai.tensor<[b, 8], f64>) -> (!moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], i1>)
  return %y : !moai.tensor<[b, 8], f64>
}
func.func @step(%x: !moai.tensor<[b, 8], f64>)
    -> (!moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], f64>) {
  %0 = call @block(%x) {moai.block = "layers.0"} : (!moai.tensor<[b, 8], f64>) -> !moai.tensor<[b, 8], f64>
  %1 = call @block(%x) {moai.block = "layers.1"} : (!moai.tensor<[b, 8], f64>) -> !moai.tensor<[b, 8], f64>
  %again = call @copy(%x) {moai.block = "layers.0"} : (!moai.tensor<[b, 8], f64>) -> !moai.tensor<[b, 8], f64>
  %other, %m = moai.dropout %x {p = 0.5, stream = 1} : (!moai.tensor<[b, 8], f64>) -> (!moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], i1>)
  return %0, %1, %again, %other : !moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], f64>, !moai.tensor<[b, 8], f64>
})";

TEST_F(RandomNumbers, BelongToTheBlockInstanceAndTheStream) {
  std::vector<Values> results = run(kBlocks, {filled({16, 8}, 1)}, {}, 16);
  EXPECT_NE(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
  EXPECT_NE(results[0], results[3]);
}

// Samples 0 to 5 at once, against 0 to 1 and 2 to 5.
TEST_F(RandomNumbers, BelongToTheSample) {
  const char *text = R"(
func.func @step(%x: !moai.tensor<[b, 4, 3, 2], f64>, %y: !moai.tensor<[3*b, 8], f64>)
    -> (!moai.tensor<[b, 4, 3, 2], f64>, !moai.tensor<[3*b, 8], f64>, !moai.tensor<[b], f64>, !moai.tensor<[7], f64>) {
  %a, %l = moai.attention %x, %x, %x {mask = "causal", window = 0 : i64, scale = 1.0, dropout = 0.5} :
    (!moai.tensor<[b, 4, 3, 2], f64>, !moai.tensor<[b, 4, 3, 2], f64>, !moai.tensor<[b, 4, 3, 2], f64>) ->
    (!moai.tensor<[b, 4, 3, 2], f64>, !moai.tensor<[b, 4, 3], f64>)
  %d, %m = moai.dropout %y {p = 0.5, stream = 1} : (!moai.tensor<[3*b, 8], f64>) -> (!moai.tensor<[3*b, 8], f64>, !moai.tensor<[3*b, 8], i1>)
  %r = moai.generate {kind = "random", stream = 2} : () -> !moai.tensor<[b], f64>
  %shared = moai.generate {kind = "random", stream = 3} : () -> !moai.tensor<[7], f64>
  return %a, %d, %r, %shared : !moai.tensor<[b, 4, 3, 2], f64>, !moai.tensor<[3*b, 8], f64>, !moai.tensor<[b], f64>, !moai.tensor<[7], f64>
})";
  auto part = [&](int64_t first, int64_t samples) {
    ExecuteOptions options;
    options.firstSample = first;
    return run(text, {filled({samples, 4, 3, 2}, 1), filled({3 * samples, 8}, 1)}, options, samples);
  };
  std::vector<Values> whole = part(0, 6), start = part(0, 2), end = part(2, 4);
  for (size_t i = 0; i < 3; ++i) {
    Values joined = start[i];
    joined.insert(joined.end(), end[i].begin(), end[i].end());
    EXPECT_EQ(whole[i], joined) << "of result " << i;
    EXPECT_NE(start[i], Values(end[i].begin(), end[i].begin() + start[i].size())) << "of result " << i;
  }
  EXPECT_EQ(whole[3], end[3]);
}

} // namespace
