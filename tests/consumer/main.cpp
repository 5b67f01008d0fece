//===- main.cpp - Uses moai's libraries from another project ----------------===//
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Import.h"
#include "moai/Plan/ParallelConfig.h"
#include "moai/Planner/Enumerate.h"
#include <cstdio>

int main(int argc, char **argv) {
  auto config = moai::parseConfig("num_stages=2,num_micro_batches=16,data_parallel=16");
  if (!config.ok() || argc != 2)
    return 2;
  std::printf("devices %lld, global batch %lld\n", static_cast<long long>(config->numDevices()),
              static_cast<long long>(config->globalBatch()));

  auto candidates = moai::enumerateMoaiSpace({32, 4, {256}, moai::MoaiGeneration::V24_2});
  std::printf("candidates %zu\n", candidates.ok() ? candidates->size() : 0);

  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<moai::MoaiDialect, mlir::func::FuncDialect>();
  auto model = moai::importPt2(argv[1], {}, context);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", std::string(model.status().message()).c_str());
    return 1;
  }
  std::printf("parameters %lld\n", static_cast<long long>(model->summary.parameters));
  return 0;
}
