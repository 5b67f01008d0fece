// What the executor refuses of modules that verify: shapes that only sizes tell apart.
#include "moai/Execute/Executor.h"
#include "TestModel.h"
#include "absl/strings/str_replace.h"
#include "mlir/Parser/Parser.h"

using namespace moai;

namespace {

/// The error of running a graph of one op on [3, 4] numbers and indices of the given shape, all 0; empty if there is none.
std::string errorOf(const char *op, const std::vector<int64_t> &indexShape) {
  TestContext context;
  std::string dims;
  for (int64_t size : indexShape)
    dims += (dims.empty() ? "" : ", ") + std::to_string(size);
  std::string text = absl::StrReplaceAll(R"(
    func.func @step(%x: !moai.tensor<[3, 4], f64>, %i: !moai.tensor<[INDEX], i64>) -> !moai.tensor<[RESULT], f64> {
      %y = OP -> !moai.tensor<[RESULT], f64>
      return %y : !moai.tensor<[RESULT], f64>
    })",
                                         {{"OP", op}, {"INDEX", dims}});
  text = absl::StrReplaceAll(text, {{"INDEX", dims}, {"RESULT", llvm::StringRef(op).contains("scatter") ? "3, 4" : "2, 4"}});
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  EXPECT_TRUE(module) << text;
  auto results =
      Executor(*module, {}).run("step", {std::make_shared<Tensor>(std::vector<int64_t>{3, 4}), std::make_shared<Tensor>(indexShape)});
  return std::string(results.status().message());
}

TEST(Executor, GathersWhatFitsItsResult) {
  const char *select =
      "moai.gather %x, %i {kind = \"index_select\", dims = array<i64: 0>} : (!moai.tensor<[3, 4], f64>, !moai.tensor<[INDEX], i64>)";
  const char *gather =
      "moai.gather %x, %i {kind = \"gather\", dims = array<i64: 0>} : (!moai.tensor<[3, 4], f64>, !moai.tensor<[INDEX], i64>)";
  const char *index =
      "moai.gather %x, %i {kind = \"index\", dims = array<i64: 0>} : (!moai.tensor<[3, 4], f64>, !moai.tensor<[INDEX], i64>)";
  EXPECT_EQ(errorOf(select, {2}), "");
  EXPECT_EQ(errorOf(gather, {2, 4}), "");
  EXPECT_EQ(errorOf(index, {2}), "");
  for (auto [op, shape] : {std::pair(select, std::vector<int64_t>{7}), {gather, {2, 5}}, {gather, {2}}, {index, {7}}, {index, {2, 2}}})
    EXPECT_THAT(errorOf(op, shape), testing::HasSubstr("has indices of a shape that its operand and its result don't fit"));
}

TEST(Executor, ScattersWhatFitsItsValues) {
  const char *scatter =
      "moai.scatter %x, %i, %x {kind = \"gather\", dims = array<i64: 0>, accumulate = true} : (!moai.tensor<[3, 4], f64>, "
      "!moai.tensor<[INDEX], i64>, !moai.tensor<[3, 4], f64>)";
  EXPECT_EQ(errorOf(scatter, {2, 3}), "");
  EXPECT_THAT(errorOf(scatter, {2, 5}), testing::HasSubstr("has indices of a shape that its operand and its values don't fit"));
  EXPECT_THAT(errorOf(scatter, {4, 4}), testing::HasSubstr("don't fit"));
}

} // namespace
