//===- main.cpp - Uses moai's libraries from another project ----------------===//
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Execute/TrainingLoop.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Import.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Plan/ParallelConfig.h"
#include "moai/Planner/Planner.h"
#include <cstdio>

// Plans an imported model for eight devices, and trains it on them as virtual ones.
static absl::Status train(moai::ImportedModel &model, const char *text) {
  std::vector<moai::ModelInput> inputs = moai::describeInputs(*model.module);
  moai::PlanRequest request;
  request.accelerator = *moai::resolveAccelerator("xLarge.512GB");
  request.globalBatches = {8};
  request.generation = moai::MoaiGeneration::V24_5;
  request.log = false;
  auto plan = moai::planModel(*model.module, model.summary, request);
  if (!plan.ok())
    return plan.status();
  std::string reason;
  auto program = moai::compileCandidate(*model.module, plan->candidates[*plan->selected].config, request, reason);
  if (!program)
    return absl::InternalError(reason);
  moai::unrollBlocks(*program);
  moai::ModelTensors tensors(*model.module, model.tiedParameters);
  tensors.fillTheRest(/*seed=*/0, /*withInputs=*/false);
  auto run = moai::TrainingRun::create(tensors, *program, {});
  if (!run.ok())
    return run.status();
  auto data = moai::DataSource::open(text, std::nullopt, inputs);
  if (!data.ok())
    return data.status();
  moai::TrainingOptions options;
  options.numSteps = 6;
  std::vector<double> losses;
  moai::TrainingCallbacks callbacks;
  callbacks.onStep = [&](const moai::StepReport &report) { losses.push_back(report.loss); };
  auto outcome = moai::trainModel(*run, **data, inputs, options, std::nullopt, callbacks);
  std::printf("losses %zu, %s\n", losses.size(), losses.size() > 1 && losses.back() < losses.front() ? "falling" : "not falling");
  return outcome.status();
}

int main(int argc, char **argv) {
  auto config = moai::parseConfig("num_stages=2,num_micro_batches=16,data_parallel=16");
  if (!config.ok() || argc != 3)
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
  if (absl::Status status = train(*model, argv[2]); !status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
