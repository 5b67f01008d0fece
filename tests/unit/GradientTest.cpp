// Every op's gradient rule and kernels against central differences of its forward kernel, in double.
#include "GradientCheck.h"

using namespace moai;
using ::testing::ValuesIn;

namespace {

class Gradient : public ::testing::TestWithParam<Case> {};

TEST_P(Gradient, IsTheCentralDifference) { expectCentralDifference(GetParam(), /*seed=*/7); }

std::string caseName(const ::testing::TestParamInfo<Case> &info) { return info.param.name; }

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

Case unary(const std::string &kind, double low = -2, double high = 2, std::vector<double> scalars = {}) {
  std::string given = scalars.empty() ? ""
                                      : absl::StrCat(", scalars = array<f64: ",
                                                     absl::StrJoin(scalars, ", ",
                                                                   [](std::string *out, double x) {
                                                                     absl::StrAppend(out, absl::StrCat(x).find('.') == std::string::npos
                                                                                              ? absl::StrCat(x, ".0")
                                                                                              : absl::StrCat(x));
                                                                   }),
                                                     ">");
  return {kind + (scalars.empty() ? "" : absl::StrCat("_of_", scalars.size())),
          {{{3, 4}, low, high}},
          absl::StrCat("%y = moai.elementwise %a0 {kind = \"", kind, "\"", given, "} : (T0) -> TY"),
          {3, 4}};
}

// The second operand is broadcast along one dimension, and lacks another.
Case binary(const std::string &kind, double low = -2, double high = 2) {
  return {kind + "_of_two",
          {{{2, 3, 4}, low, high}, {{3, 1}, low, high}},
          absl::StrCat("%y = moai.elementwise %a0, %a1 {kind = \"", kind, "\"} : (T0, T1) -> TY"),
          {2, 3, 4}};
}

std::vector<Case> elementwiseCases() {
  std::vector<Case> cases;
  for (const char *kind : {"neg",  "abs",  "square",  "exp",         "exp2", "expm1",    "sin",       "cos",       "atan", "sinh",
                           "cosh", "tanh", "sigmoid", "log_sigmoid", "silu", "gelu",     "gelu_tanh", "erf",       "relu", "leaky_relu",
                           "elu",  "celu", "selu",    "hardtanh",    "mish", "softplus", "softsign",  "tanhshrink"})
    cases.push_back(unary(kind));
  for (const char *kind : {"sqrt", "rsqrt", "reciprocal", "log", "log1p", "log2"})
    cases.push_back(unary(kind, 0.5, 3));
  for (const char *kind : {"asin", "acos", "tan"})
    cases.push_back(unary(kind, -0.8, 0.8));
  for (const char *kind : {"relu6", "hardsigmoid", "hardswish"})
    cases.push_back(unary(kind, -5, 8));
  cases.push_back(unary("logit", 0.2, 0.8));
  cases.push_back(unary("pow", 0.5, 2, {2.5}));
  cases.push_back(unary("leaky_relu", -2, 2, {0.3}));
  cases.push_back(unary("elu", -2, 2, {0.7}));
  cases.push_back(unary("celu", -2, 2, {0.7}));
  cases.push_back(unary("softplus", -2, 2, {2, 3}));
  cases.push_back(unary("hardtanh", -2, 2, {-0.5, 1.5}));
  cases.push_back(unary("clamp", -2, 2, {-0.5, 1.5}));
  for (const char *kind : {"clamp_min", "clamp_max", "add", "sub", "rsub", "mul", "div", "remainder", "fmod"})
    cases.push_back(unary(kind, -2, 2, {0.75}));
  for (const char *kind : {"tril", "triu"})
    cases.push_back(unary(kind, -2, 2, {1}));
  for (const char *kind :
       {"add", "sub", "rsub", "mul", "maximum", "minimum", "squared_difference", "l1_loss", "binary_cross_entropy_with_logits"})
    cases.push_back(binary(kind));
  for (const char *kind : {"div", "pow", "atan2", "xlogy"})
    cases.push_back(binary(kind, 0.5, 2));
  for (const char *kind : {"addcmul", "addcdiv", "lerp"})
    cases.push_back({std::string(kind) + "_of_three",
                     {{{3, 4}, 0.5, 2}, {{4}, 0.5, 2}, {{3, 1}, 0.5, 2}},
                     absl::StrCat("%y = moai.elementwise %a0, %a1, %a2 {kind = \"", kind, "\"} : (T0, T1, T2) -> TY"),
                     {3, 4}});
  cases.push_back({"where",
                   {{{3, 4}}, {{4}}},
                   "%c = moai.elementwise %a0 {kind = \"gt\", scalars = array<f64: 0.0>} : (T0) -> !moai.tensor<[3, 4], i1>\n"
                   "%y = moai.elementwise %c, %a0, %a1 {kind = \"where\"} : (!moai.tensor<[3, 4], i1>, T0, T1) -> TY",
                   {3, 4}});
  cases.push_back(
      {"masked_fill",
       {{{3, 4}}},
       "%c = moai.elementwise %a0 {kind = \"gt\", scalars = array<f64: 0.0>} : (T0) -> !moai.tensor<[3, 4], i1>\n"
       "%y = moai.elementwise %a0, %c {kind = \"masked_fill\", scalars = array<f64: 3.0>} : (T0, !moai.tensor<[3, 4], i1>) -> TY",
       {3, 4}});
  cases.push_back({"used_twice",
                   {{{3}}},
                   "%z = moai.elementwise %a0 {kind = \"exp\"} : (T0) -> TY\n"
                   "%y = moai.elementwise %z, %a0 {kind = \"mul\"} : (TY, T0) -> TY",
                   {3}});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Elementwise, Gradient, ValuesIn(elementwiseCases()), caseName);

//===----------------------------------------------------------------------===//
// Reductions, norms, losses
//===----------------------------------------------------------------------===//

std::vector<Case> reductionCases() {
  std::vector<Case> cases;
  for (const char *kind : {"sum", "mean", "amax", "amin", "prod", "norm", "logsumexp", "var", "std"}) {
    cases.push_back({std::string(kind) + "_kept",
                     {{{2, 3, 4}}},
                     absl::StrCat("%y = moai.reduce %a0 {kind = \"", kind, "\", dims = array<i64: 0, 2>, keep_dims = true} : (T0) -> TY"),
                     {1, 3, 1}});
    cases.push_back({std::string(kind) + "_all",
                     {{{2, 3}}},
                     absl::StrCat("%y = moai.reduce %a0 {kind = \"", kind, "\", dims = array<i64: 0, 1>, keep_dims = false} : (T0) -> TY"),
                     {}});
  }
  auto norm = [](const char *kind, Shape input, Shape parameter, int64_t axes, Shape statistics, bool bias) {
    std::vector<Argument> arguments{{input}, {parameter}};
    if (bias)
      arguments.push_back({parameter});
    return Case{kind, arguments,
                absl::StrCat("%y, %s = moai.normalize %a0, %a1", bias ? ", %a2" : "", " {kind = \"", kind, "\", axes = ", axes,
                             " : i64, eps = 1.0e-3, operandSegmentSizes = array<i32: 1, 1, ", bias ? 1 : 0, ">} : (T0, T1",
                             bias ? ", T2" : "", ") -> (TY, ", typeText(statistics, "f64"), ")"),
                input};
  };
  for (const char *kind : {"max", "avg"})
    for (const char *countPadding : {"true", "false"})
      cases.push_back({absl::StrCat("pool_", kind, "_", countPadding),
                       {{{2, 3, 5, 6}}},
                       absl::StrCat("%y = moai.pool %a0 {kind = \"", kind,
                                    "\", window = array<i64: 3, 2>, strides = array<i64: 2, 2>, padding = array<i64: 1, 0>, "
                                    "dilation = array<i64: 1, 1>, count_padding = ",
                                    countPadding, "} : (T0) -> TY"),
                       {2, 3, 3, 3}});
  cases.push_back(norm("layer_norm", {3, 2, 4}, {2, 4}, 2, {3, 2}, true));
  cases.push_back(norm("rms_norm", {3, 5}, {5}, 1, {3, 1}, false));
  cases.push_back(norm("group_norm", {2, 4, 3}, {4}, 2, {2, 2, 2}, true));
  cases.push_back(norm("batch_norm", {4, 3, 2}, {3}, 1, {3, 2}, true));
  for (const char *log : {"false", "true"})
    cases.push_back({std::string("softmax_log_") + log,
                     {{{2, 4, 3}}},
                     absl::StrCat("%y = moai.softmax %a0 {dim = 1 : i64, log = ", log, "} : (T0) -> TY"),
                     {2, 4, 3}});
  for (const char *reduction : {"mean", "sum", "none"})
    for (double smoothing : {0.0, 0.1})
      cases.push_back({absl::StrCat("cross_entropy_", reduction, smoothing > 0 ? "_smoothed" : ""),
                       {{{5, 4}}, {{5}, 0, 0, 4}},
                       absl::StrCat("%y, %p, %n = moai.cross_entropy %a0, %a1 {reduction = \"", reduction,
                                    "\", ignore_index = 1 : i64, label_smoothing = ", smoothing > 0 ? "0.1" : "0.0",
                                    "} : (T0, T1) -> (TY, T0, !moai.tensor<[], f64>)"),
                       reduction == std::string("none") ? Shape{5} : Shape{}});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Reduction, Gradient, ValuesIn(reductionCases()), caseName);

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

std::vector<Case> productCases() {
  std::vector<Case> cases{
      {"linear",
       {{{2, 3, 4}}, {{5, 4}}, {{5}}},
       "%y = moai.contract %a0, %a1, %a2 {equation = \"abk,nk->abn\"} : (T0, T1, T2) -> TY",
       {2, 3, 5}},
      {"batched_matmul",
       {{{2, 3, 4}}, {{2, 4, 5}}},
       "%y = moai.contract %a0, %a1 {equation = \"amk,akn->amn\"} : (T0, T1) -> TY",
       {2, 3, 5}},
      {"einsum_in_another_order",
       {{{2, 3, 4}}, {{4, 5, 2}}},
       "%y = moai.contract %a0, %a1 {equation = \"bmk,knb->nbm\"} : (T0, T1) -> TY",
       {5, 2, 3}},
      {"outer_product", {{{3}}, {{4}}}, "%y = moai.contract %a0, %a1 {equation = \"m,n->mn\"} : (T0, T1) -> TY", {3, 4}},
      {"convolution",
       {{{2, 4, 5, 6}}, {{6, 2, 3, 2}}, {{6}}},
       "%y = moai.convolution %a0, %a1, %a2 {strides = array<i64: 2, 1>, padding = array<i64: 1, 0>, dilation = array<i64: 1, 2>, groups = "
       "2 : i64} : (T0, T1, T2) -> TY",
       {2, 6, 3, 4}},
      {"convolution_of_patches",
       {{{2, 3, 4, 4}}, {{5, 3, 2, 2}}},
       "%y = moai.convolution %a0, %a1 {strides = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : "
       "i64} : (T0, T1) -> TY",
       {2, 5, 2, 2}},
      {"experts",
       {{{6, 3}}, {{4, 3, 2}}, {{3, 2}, 0, 0, 4}, {{3, 3}}},
       "%o, %i, %e = moai.route %a2 : (T2) -> (!moai.tensor<[6], i64>, !moai.tensor<[6], i64>, !moai.tensor<[4], i32>)\n"
       "%d = moai.dispatch %a3, %o, %i {choices = 2 : i64} : (T3, !moai.tensor<[6], i64>, !moai.tensor<[6], i64>) -> T0\n"
       "%x = moai.elementwise %d, %a0 {kind = \"mul\"} : (T0, T0) -> T0\n"
       "%m = moai.expert_matmul %x, %a1, %e {transposed = false} : (T0, T1, !moai.tensor<[4], i32>) -> !moai.tensor<[6, 2], f64>\n"
       "%y = moai.combine %m, %o, %i {choices = 2 : i64} : (!moai.tensor<[6, 2], f64>, !moai.tensor<[6], i64>, !moai.tensor<[6], i64>) -> "
       "TY",
       {3, 2}},
      {"experts_transposed",
       {{{6, 3}}, {{4, 2, 3}}, {{3, 2}, 0, 0, 4}},
       "%o, %i, %e = moai.route %a2 : (T2) -> (!moai.tensor<[6], i64>, !moai.tensor<[6], i64>, !moai.tensor<[4], i32>)\n"
       "%y = moai.expert_matmul %a0, %a1, %e {transposed = true} : (T0, T1, !moai.tensor<[4], i32>) -> TY",
       {6, 2}},
  };
  auto attention = [](const char *name, const char *mask, int64_t window, Shape query, Shape key, Shape value, std::optional<Shape> bias,
                      const char *dropout = "0.0") {
    std::vector<Argument> arguments{{query}, {key}, {value}};
    if (bias)
      arguments.push_back({*bias});
    Shape logsumexp(query.begin(), query.end() - 1), result = query;
    result[3] = value[3];
    return Case{std::string("attention_") + name, arguments,
                absl::StrCat("%y, %l = moai.attention %a0, %a1, %a2", bias ? ", %a3" : "", " {mask = \"", mask, "\", window = ", window,
                             " : i64, scale = 0.7, dropout = ", dropout, "} : (T0, T1, T2", bias ? ", T3" : "", ") -> (TY, ",
                             typeText(logsumexp, "f64"), ")"),
                result};
  };
  cases.push_back(attention("causal", "causal", 0, {2, 4, 3, 2}, {2, 4, 3, 2}, {2, 4, 3, 2}, std::nullopt));
  cases.push_back(attention("of_grouped_heads", "causal", 0, {2, 4, 3, 2}, {2, 2, 3, 2}, {2, 2, 3, 5}, std::nullopt));
  cases.push_back(attention("in_a_window", "sliding_window", 2, {1, 2, 5, 2}, {1, 1, 5, 2}, {1, 1, 5, 2}, std::nullopt));
  cases.push_back(attention("across", "full", 0, {2, 2, 3, 2}, {2, 2, 4, 2}, {2, 2, 4, 2}, std::nullopt));
  cases.push_back(attention("with_bias", "bias", 0, {2, 2, 3, 2}, {2, 2, 4, 2}, {2, 2, 4, 2}, Shape{2, 3, 4}));
  cases.push_back(attention("dropped", "causal", 0, {2, 4, 5, 2}, {2, 2, 5, 2}, {2, 2, 5, 3}, std::nullopt, "0.4"));
  cases.push_back(attention("dropped_with_bias", "bias", 0, {2, 2, 3, 2}, {2, 2, 4, 2}, {2, 2, 4, 2}, Shape{2, 3, 4}, "0.25"));
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Product, Gradient, ValuesIn(productCases()), caseName);

//===----------------------------------------------------------------------===//
// Views and indices
//===----------------------------------------------------------------------===//

std::vector<Case> viewCases() {
  return {
      {"reshape", {{{2, 6}}}, "%y = moai.reshape %a0 : (T0) -> TY", {3, 4}},
      {"complex_product",
       {{{3, 2, 2}}, {{2, 2}}},
       "%c = moai.complex_view %a0 : (T0) -> !moai.tensor<[3, 2], complex<f64>>\n%d = moai.complex_view %a1 : (T1) -> !moai.tensor<[2], "
       "complex<f64>>\n"
       "%p = moai.elementwise %c, %d {kind = \"mul\"} : (!moai.tensor<[3, 2], complex<f64>>, !moai.tensor<[2], complex<f64>>) -> "
       "!moai.tensor<[3, 2], complex<f64>>\n"
       "%t = moai.transpose %p {permutation = array<i64: 1, 0>} : (!moai.tensor<[3, 2], complex<f64>>) -> !moai.tensor<[2, 3], "
       "complex<f64>>\n"
       "%y = moai.complex_view %t : (!moai.tensor<[2, 3], complex<f64>>) -> TY",
       {2, 3, 2}},
      {"transpose", {{{2, 3, 4}}}, "%y = moai.transpose %a0 {permutation = array<i64: 2, 0, 1>} : (T0) -> TY", {4, 2, 3}},
      {"expand", {{{3, 1}}}, "%y = moai.expand %a0 : (T0) -> TY", {2, 3, 4}},
      {"slice", {{{2, 7}}}, "%y = moai.slice %a0 {dim = 1 : i64, start = \"1\", step = 2 : i64} : (T0) -> TY", {2, 3}},
      {"insert_slice",
       {{{2, 7}}, {{2, 3}}},
       "%y = moai.insert_slice %a0, %a1 {dim = 1 : i64, start = \"1\", step = 2 : i64} : (T0, T1) -> TY",
       {2, 7}},
      {"pad", {{{2, 3}}}, "%y = moai.pad %a0 {dim = 1 : i64, start = \"1\", step = 2 : i64} : (T0) -> TY", {2, 7}},
      {"cumsum", {{{2, 3, 4}}}, "%y = moai.scan %a0 {kind = \"cumsum\", dim = 1 : i64} : (T0) -> TY", {2, 3, 4}},
      {"concat", {{{2, 3}}, {{2, 4}}}, "%y = moai.concat %a0, %a1 {dim = 1 : i64} : (T0, T1) -> TY", {2, 7}},
      // In double nothing is rounded, so a cast's gradient is exact.
      {"cast",
       {{{2, 3}}},
       "%c = moai.cast %a0 : (T0) -> !moai.tensor<[2, 3], f32>\n%y = moai.cast %c : (!moai.tensor<[2, 3], f32>) -> TY",
       {2, 3}},
      {"dropout", {{{4, 5}}}, "%y, %m = moai.dropout %a0 {p = 0.4} : (T0) -> (TY, !moai.tensor<[4, 5], i1>)", {4, 5}},
      {"copy", {{{2, 3}}}, "%y = moai.copy %a0 : (T0) -> TY", {2, 3}},
      {"embedding", {{{5, 3}}, {{2, 4}, 0, 0, 5}}, "%y = moai.embedding %a0, %a1 {padding_index = -1 : i64} : (T0, T1) -> TY", {2, 4, 3}},
      {"gather",
       {{{4, 3}}, {{2, 3}, 0, 0, 4}},
       "%y = moai.gather %a0, %a1 {kind = \"gather\", dims = array<i64: 0>} : (T0, T1) -> TY",
       {2, 3}},
      {"index_select",
       {{{4, 3}}, {{5}, 0, 0, 3}},
       "%y = moai.gather %a0, %a1 {kind = \"index_select\", dims = array<i64: 1>} : (T0, T1) -> TY",
       {4, 5}},
      {"index_by_one",
       {{{4, 3, 2}}, {{5, 2}, 0, 0, 3}},
       "%y = moai.gather %a0, %a1 {kind = \"index\", dims = array<i64: 1>} : (T0, T1) -> TY",
       {4, 5, 2, 2}},
      {"index_by_two",
       {{{4, 3, 2}}, {{5, 1}, 0, 0, 4}, {{2}, 0, 0, 2}},
       "%y = moai.gather %a0, %a1, %a2 {kind = \"index\", dims = array<i64: 0, 2>} : (T0, T1, T2) -> TY",
       {5, 2, 3}},
      {"scatter_add",
       {{{4, 3}}, {{2, 3}, 0, 0, 4}, {{2, 3}}},
       "%y = moai.scatter %a0, %a1, %a2 {kind = \"gather\", dims = array<i64: 0>, accumulate = true} : (T0, T1, T2) -> TY",
       {4, 3}},
      {"sort",
       {{{3, 5}}},
       "%y, %i = moai.sort %a0 {dim = 1 : i64, k = 0 : i64, descending = false} : (T0) -> (TY, !moai.tensor<[3, 5], i64>)",
       {3, 5}},
      {"topk",
       {{{3, 5}}},
       "%y, %i = moai.sort %a0 {dim = 1 : i64, k = 2 : i64, descending = true} : (T0) -> (TY, !moai.tensor<[3, 2], i64>)",
       {3, 2}},
  };
}

INSTANTIATE_TEST_SUITE_P(View, Gradient, ValuesIn(viewCases()), caseName);

// A product with one zero has a gradient at the zero alone, one with two has none: the product of all others.
TEST(Gradient, OfAProductWithZeros) {
  TestContext context;
  Case test{"", {{{3, 3}}}, "%y = moai.reduce %a0 {kind = \"prod\", dims = array<i64: 1>, keep_dims = false} : (T0) -> TY", {3}};
  auto module = mlir::parseSourceString<mlir::ModuleOp>(moduleText(test), &context);
  mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
  buildTrainingPipeline(manager);
  ASSERT_TRUE(mlir::succeeded(manager.run(*module)));
  auto input = std::make_shared<Tensor>(Shape{3, 3}), weights = std::make_shared<Tensor>(Shape{3});
  input->values = {2, 3, 5, 2, 0, 5, 0, 3, 0};
  weights->values = {1, 1, 1};
  auto results = Executor(*module, {/*float64=*/true}).run("step", {input, weights});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[1]->values, (std::vector<double>{15, 10, 6, 0, 10, 0, 0, 0, 0}));
}

TEST(Gradient, OfThePaddingRowIsZero) {
  TestContext context;
  Case test{"", {{{3, 2}}, {{4}, 0, 0, 3}}, "%y = moai.embedding %a0, %a1 {padding_index = 1 : i64} : (T0, T1) -> TY", {4, 2}};
  auto module = mlir::parseSourceString<mlir::ModuleOp>(moduleText(test), &context);
  mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
  buildTrainingPipeline(manager);
  ASSERT_TRUE(mlir::succeeded(manager.run(*module)));
  auto table = std::make_shared<Tensor>(Shape{3, 2}), rows = std::make_shared<Tensor>(Shape{4}),
       weights = std::make_shared<Tensor>(Shape{4, 2});
  rows->values = {0, 1, 1, 2};
  weights->values = {1, 2, 3, 4, 5, 6, 7, 8};
  auto results = Executor(*module, {/*float64=*/true}).run("step", {table, rows, weights});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[1]->values, (std::vector<double>{1, 2, 0, 0, 7, 8}));
}

} // namespace
