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
#include "moai/Planner/Planner.h"
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

/// A candidate of a training graph, by its configuration (what it leaves out is derived from the graph's batch) and optimizer,
/// with repeated blocks in one op; it must compile and verify.
inline mlir::OwningOpRef<mlir::ModuleOp> compileRolled(mlir::ModuleOp trainingGraph, const std::string &configuration,
                                                       const std::string &optimizer = "adamw") {
  auto given = parseConfig(configuration);
  auto config = given.ok() ? deriveConfig(configuration, given->numDevices(), getBinding(trainingGraph).values[kBatchSymbol]) : given;
  auto policy = parseOptimizer(optimizer);
  EXPECT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(policy.ok()) << policy.status();
  PlanRequest request;
  request.accelerator = *resolveAccelerator("h100:8");
  request.optimizer = *policy;
  request.precision = policy->precision;
  request.allocationGranularity = 1;
  request.kernelWorkspaceBytes = 0;
  std::string reason;
  auto program = compileCandidate(trainingGraph, *config, request, reason);
  EXPECT_TRUE(program) << configuration << ": " << reason;
  EXPECT_TRUE(mlir::succeeded(mlir::verify(*program))) << configuration;
  return program;
}

/// The same with every call written out, to be executed.
inline mlir::OwningOpRef<mlir::ModuleOp> compileForTest(mlir::ModuleOp trainingGraph, const std::string &configuration,
                                                        const std::string &optimizer = "adamw") {
  auto program = compileRolled(trainingGraph, configuration, optimizer);
  unrollBlocks(*program);
  EXPECT_TRUE(mlir::succeeded(mlir::verify(*program))) << configuration;
  return program;
}

} // namespace moai

#endif // MOAI_TESTS_UNIT_TESTMODEL_H
