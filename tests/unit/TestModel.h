//===- TestModel.h - Imported test graphs ----------------------------------===//
#ifndef MOAI_TESTS_UNIT_TESTMODEL_H
#define MOAI_TESTS_UNIT_TESTMODEL_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Import.h"
#include "moai/Passes/Pipelines.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {

/// A context with the dialects that moai's modules use.
class TestContext : public mlir::MLIRContext {
public:
  TestContext() : mlir::MLIRContext(Threading::DISABLED) { loadDialect<MoaiDialect, mlir::func::FuncDialect>(); }
};

inline std::string testGraph(llvm::StringRef name) { return (MOAI_TEST_INPUTS "/graphs/" + name + ".pt2").str(); }

/// The graph of tests/Inputs/graphs, which must import.
inline ImportedModel importTestGraph(llvm::StringRef name, mlir::MLIRContext &context, const ImportOptions &options = {}) {
  auto model = importPt2(testGraph(name), options, context);
  if (!model.ok()) {
    ADD_FAILURE() << model.status();
    abort();
  }
  return std::move(*model);
}

/// The same as a training graph, with its backward.
inline ImportedModel importTrainingGraph(llvm::StringRef name, mlir::MLIRContext &context, const ImportOptions &options = {}) {
  ImportedModel model = importTestGraph(name, context, options);
  EXPECT_EQ(buildTrainingGraph(*model.module), absl::OkStatus());
  EXPECT_TRUE(mlir::succeeded(mlir::verify(*model.module)));
  return model;
}

} // namespace moai

#endif // MOAI_TESTS_UNIT_TESTMODEL_H
