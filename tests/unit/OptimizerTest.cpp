// The optimizers' formulas against PyTorch's, and the spelling of policies.
#include "TestModel.h"
#include "mlir/Parser/Parser.h"
#include "moai/Execute/Executor.h"
#include "moai/Plan/OptimizerPolicy.h"
#include "llvm/Support/FormatVariadic.h"

using namespace moai;
using ::testing::HasSubstr;

namespace {

using Row = std::vector<double>;

Executor::Values tensorsOf(std::vector<Row> rows) {
  Executor::Values values;
  for (Row &row : rows) {
    auto tensor = std::make_shared<Tensor>(std::vector<int64_t>{static_cast<int64_t>(row.size())});
    tensor->values = std::move(row);
    values.push_back(std::move(tensor));
  }
  return values;
}

// A parameter of three numbers after three updates, in double.
Row updateThrice(const std::string &policy) {
  TestContext context;
  int64_t states = parseOptimizer(policy)->numStates();
  bool clips = parseOptimizer(policy)->maxGradientNorm > 0;
  const std::string row = "!moai.tensor<[3], f64>", scalar = "!moai.tensor<[], f32>";
  std::string arguments = "%g: " + row + ", %p: " + row, operands = "%g, %p", types = row + ", " + row;
  for (int64_t i = 0; i < states; ++i) {
    arguments += llvm::formatv(", %s{0}: {1}", i, row);
    operands += llvm::formatv(", %s{0}", i);
    types += ", " + row;
  }
  std::string norm;
  if (clips) {
    norm = "%n = moai.squared_norm %g : (" + row + ") -> " + scalar + "\n";
    operands += ", %n";
    types += ", " + scalar;
  }
  std::string results = row;
  for (int64_t i = 0; i < states; ++i)
    results += ", " + row;
  std::string text = "func.func @update(" + arguments + ") -> (" + results + ") {\n" + norm;
  text += llvm::formatv("%o:{0} = moai.optimizer {1} {{policy = #moai.optimizer<\"{2}\">, operandSegmentSizes = array<i32: 1, 1, {3}, "
                        "{4}>} : ({5}) -> ({6})\n",
                        1 + states, operands, policy, states, clips ? 1 : 0, types, results);
  text += "return %o#0";
  for (int64_t i = 1; i <= states; ++i)
    text += llvm::formatv(", %o#{0}", i);
  text += " : " + results + "\n}\n";
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  EXPECT_TRUE(module) << text;
  std::vector<Row> kept{{1, -2, 0.5}};
  kept.resize(1 + states, Row(3, 0.0));
  Executor::Values now = tensorsOf(kept);
  int64_t step = 0;
  for (const Row &gradient : {Row{0.5, -1, 0.25}, {-1, 0.125, 2}, {0.75, 0.5, -0.25}}) {
    ExecuteOptions options;
    options.float64 = true;
    options.step = ++step;
    Executor::Values given = tensorsOf({gradient});
    given.insert(given.end(), now.begin(), now.end());
    auto next = Executor(*module, options).run("update", given);
    EXPECT_TRUE(next.ok()) << next.status();
    now = *next;
  }
  return now.front()->values;
}

struct Case {
  const char *policy;
  Row parameter;
};

// torch 2.13, float64: torch.optim.AdamW, Adam and SGD on the same parameter and gradients; the last one with
// torch.nn.utils.clip_grad_norm_(1.0) ahead of each step.
TEST(Optimizer, UpdatesAsPyTorch) {
  const Case cases[] = {
      {"adamw,learning_rate=0.1,weight_decay=0.1", {0.8964285216270383, -1.774683414831702, 0.2506654185150312}},
      {"adamw,learning_rate=0.1,beta1=0.8,beta2=0.95,epsilon=1e-3", {0.9249932915956409, -1.838585987932261, 0.26177870785131474}},
      {"adam,learning_rate=0.1,weight_decay=0.1", {0.901627437293819, -1.7923639518570336, 0.25927916691037617}},
      {"sgd,learning_rate=0.1", {0.975, -1.9625, 0.3}},
      {"sgd,learning_rate=0.1,momentum=0.9,weight_decay=0.05", {0.952018625, -1.74872475, 0.0647593125}},
      {"sgd,learning_rate=0.1,max_gradient_norm=1", {0.9260080858851965, -1.9682943733256615, 0.41387497834962317}},
  };
  for (const Case &example : cases) {
    Row found = updateThrice(example.policy);
    for (size_t i = 0; i < 3; ++i)
      EXPECT_NEAR(found[i], example.parameter[i], 1e-14) << example.policy << ", element " << i;
  }
}

TEST(OptimizerPolicy, IsReadAsItIsWritten) {
  for (const char *text : {"adamw", "adam,beta1=0.8,epsilon=1e-06", "sgd,momentum=0.9,weight_decay=0.0001", "sgd",
                           "adamw,learning_rate=0.0003,max_gradient_norm=1,accumulation=f32,master=f32,state=bf16"}) {
    auto policy = parseOptimizer(text);
    ASSERT_TRUE(policy.ok()) << policy.status();
    auto again = parseOptimizer(toString(*policy));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(toString(*policy), toString(*again));
  }
  EXPECT_EQ(toString(*parseOptimizer("sgd,momentum=0.5")),
            "sgd,learning_rate=0.001,weight_decay=0,momentum=0.5,max_gradient_norm=0,parameter=exported,gradient=exported,"
            "accumulation=exported,master=exported,state=exported");
  EXPECT_EQ(parseOptimizer("adamw")->weightDecay, 0.01);
  EXPECT_EQ(parseOptimizer("sgd")->numStates(), 0);
  EXPECT_EQ(parseOptimizer("sgd,momentum=0.5")->numStates(), 1);
  EXPECT_EQ(parseOptimizer("adam")->numStates(), 2);
}

TEST(OptimizerPolicy, SaysWhatIsWrong) {
  auto message = [](const char *text) { return std::string(parseOptimizer(text).status().message()); };
  EXPECT_EQ(message("lion"), "'lion' is not known; expected adamw, adam or sgd");
  EXPECT_EQ(message("sgd,beta1=0.9"), "sgd has no beta1; leave it out");
  EXPECT_EQ(message("adamw,momentum=0.9"), "adamw has no momentum; leave it out");
  EXPECT_EQ(message("adamw,beta2=1"), "beta2 is '1', expected a number of 0 or more and less than 1");
  EXPECT_EQ(message("adamw,epsilon=nan"), "epsilon is 'nan', expected a number of 0 or more");
  EXPECT_EQ(message("adamw,beta1=0.5,beta1=0.6"), "beta1 is given twice; give it once");
  EXPECT_EQ(message("adamw,master=f8"), "master is 'f8', expected exported, f32, bf16 or f16");
  EXPECT_THAT(message("adamw,rate=1"), HasSubstr("'rate' is not known, expected one of learning_rate, beta1"));
}

TEST(Precision, HasNamesAndKeys) {
  EXPECT_EQ(parsePrecision("exported")->master, FloatKind::Exported);
  EXPECT_EQ(parsePrecision("mixed")->master, FloatKind::Float32);
  EXPECT_EQ(parsePrecision("mixed")->state, FloatKind::Float32);
  EXPECT_EQ(parsePrecision("mixed")->gradient, FloatKind::Exported);
  EXPECT_EQ(parsePrecision("mixed,accumulation=f32,state=bf16")->accumulation, FloatKind::Float32);
  EXPECT_EQ(parsePrecision("mixed,accumulation=f32,state=bf16")->state, FloatKind::BFloat16);
  EXPECT_EQ(std::string(parsePrecision("half").status().message()),
            "'half' is not known; expected exported or mixed, and perhaps key=type for the keys parameter, gradient, accumulation, "
            "master, state");
  EXPECT_EQ(std::string(parsePrecision("mixed,states=f32").status().message()),
            "'states' is not known, expected one of parameter, gradient, accumulation, master, state");
}

TEST(Precision, IsWrittenAsItIsRead) {
  for (const char *text : {"exported", "mixed", "mixed,parameter=bf16,gradient=f32", "exported,accumulation=f32,state=f16"}) {
    auto precision = parsePrecision(text);
    ASSERT_TRUE(precision.ok()) << precision.status();
    auto again = parsePrecision(toString(*precision));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(*again == *precision) << text;
  }
}

} // namespace
