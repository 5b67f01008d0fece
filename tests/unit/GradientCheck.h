//===- GradientCheck.h - Gradients against central differences -------------===//
#ifndef MOAI_TESTS_UNIT_GRADIENTCHECK_H
#define MOAI_TESTS_UNIT_GRADIENTCHECK_H

#include "GradientCase.h"
#include "TestModel.h"
#include "mlir/Parser/Parser.h"
#include "moai/Execute/Executor.h"
#include <cmath>
#include <random>

namespace moai {

inline std::string replaceAll(std::string text, const std::string &from, const std::string &to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// The sum of the result's elements, each times a weight of its own, so that no gradient is uniform.
inline std::string moduleText(const Case &test) {
  std::vector<std::string> arguments, types;
  std::string body = test.body, resultType = typeText(test.result, "f64"), scalar = typeText({}, "f64");
  for (size_t i = 0; i < test.arguments.size(); ++i) {
    bool isInteger = test.arguments[i].isInteger();
    std::string type = typeText(test.arguments[i].shape, isInteger ? "i64" : "f64");
    arguments.push_back(
        absl::StrCat("%a", i, ": ", type, " {moai.name = \"a", i, "\", moai.role = \"", isInteger ? "input" : "parameter", "\"}"));
    body = replaceAll(body, absl::StrCat("T", i), type);
  }
  arguments.push_back(absl::StrCat("%weights: ", resultType, " {moai.name = \"weights\", moai.role = \"input\"}"));
  std::vector<int64_t> dims(test.result.size());
  for (size_t i = 0; i < dims.size(); ++i)
    dims[i] = static_cast<int64_t>(i);
  return absl::StrCat("func.func @step(", absl::StrJoin(arguments, ", "), ") -> ", scalar, " {\n", replaceAll(body, "TY", resultType),
                      "\n%weighted = moai.elementwise %y, %weights {kind = \"mul\"} : (", resultType, ", ", resultType, ") -> ", resultType,
                      "\n%loss = moai.reduce %weighted {dims = array<i64", dims.empty() ? "" : ": ", absl::StrJoin(dims, ", "),
                      ">, keep_dims = false, kind = \"sum\"} : (", resultType, ") -> ", scalar, "\nreturn %loss : ", scalar, "\n}\n");
}

inline std::shared_ptr<Tensor> randomTensor(const Argument &argument, std::mt19937 &random) {
  auto tensor = std::make_shared<Tensor>(argument.shape);
  if (!argument.given.empty()) {
    tensor->values = argument.given;
    return tensor;
  }
  for (double &value : tensor->values)
    value = argument.below ? std::uniform_int_distribution<int64_t>(0, argument.below - 1)(random)
                           : std::uniform_real_distribution<double>(argument.low, argument.high)(random);
  return tensor;
}

inline double lossOf(mlir::ModuleOp module, const Executor::Values &arguments) {
  auto results = Executor(module, {/*float64=*/true}).run("step", arguments);
  if (!results.ok()) {
    ADD_FAILURE() << results.status();
    return NAN;
  }
  return results->front()->values[0];
}

// Fails unless what the gradient rules and their kernels compute is the central difference of the forward kernels, for every element of
// every argument that is no integer.
inline void expectCentralDifference(const Case &test, unsigned seed) {
  TestContext context;
  auto forward = mlir::parseSourceString<mlir::ModuleOp>(moduleText(test), &context);
  ASSERT_TRUE(forward) << moduleText(test);
  mlir::OwningOpRef<mlir::ModuleOp> training = forward->clone();
  mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
  buildTrainingPipeline(manager);
  ASSERT_TRUE(mlir::succeeded(manager.run(*training))) << moduleText(test);

  std::mt19937 random(seed);
  Executor::Values values;
  for (const Argument &argument : test.arguments)
    values.push_back(randomTensor(argument, random));
  values.push_back(randomTensor({test.result, 0.5, 1.5}, random));
  auto results = Executor(*training, {/*float64=*/true}).run("step", values);
  ASSERT_TRUE(results.ok()) << results.status() << "\n" << moduleText(test);

  size_t next = 1;
  for (size_t number = 0; number < test.arguments.size(); ++number) {
    if (test.arguments[number].isInteger())
      continue;
    ASSERT_LT(next, results->size()) << "argument " << number << " has no gradient";
    const Tensor &gradient = *(*results)[next++];
    ASSERT_EQ(gradient.size(), values[number]->size());
    for (int64_t i = 0; i < gradient.size(); ++i) {
      constexpr double kStep = 1e-5;
      auto moved = std::make_shared<Tensor>(*values[number]);
      Executor::Values shifted = values;
      shifted[number] = moved;
      moved->values[i] += kStep;
      double above = lossOf(*forward, shifted);
      moved->values[i] -= 2 * kStep;
      double below = lossOf(*forward, shifted), expected = (above - below) / (2 * kStep);
      EXPECT_NEAR(gradient.values[i], expected, 1e-7 * std::max(1.0, std::abs(expected))) << "of argument " << number << " at " << i;
    }
  }
}

} // namespace moai

#endif // MOAI_TESTS_UNIT_GRADIENTCHECK_H
