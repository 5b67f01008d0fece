//===- moai-opt.cpp - Runs passes on moai modules --------------------------===//
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Pipelines.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<moai::MoaiDialect, mlir::func::FuncDialect>();
  moai::registerMoaiPasses();
  moai::registerMoaiPipelines();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "moai pass driver\n", registry));
}
