//===- BareRun.cpp - Steps on one batch, split as told ---------------------===//
#include "Model.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Execute/TrainingLoop.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Passes/SplitLoss.h"
#include "moai/Planner/Planner.h"
#include "moai/Support/CommandLine.h"
#include "moai/Support/Log.h"

using namespace moai;

// What every number takes as a double: parameters with a gradient and two states, and one activation, the largest.
static double bytesToRun(mlir::ModuleOp trainingGraph, const ModelSummary &summary) {
  auto step = trainingGraph.lookupSymbol<mlir::func::FuncOp>("step");
  DimBinding binding = getBinding(trainingGraph);
  double numbers = static_cast<double>(summary.largestTensorBytes) * static_cast<double>(binding.values[kBatchSymbol]) / 4;
  for (mlir::BlockArgument argument : step.getArguments()) {
    auto role = step.getArgAttrOfType<mlir::StringAttr>(argument.getArgNumber(), attrs::kRole);
    numbers += (role && role == "parameter" ? 4.0 : 1.0) * static_cast<double>(tensorOf(argument).countElements(binding)) *
               static_cast<double>(countTensors(argument.getType()));
  }
  return numbers * sizeof(double);
}

// The step as a program per stage; of one stage on one device without --config.
static absl::StatusOr<mlir::OwningOpRef<mlir::ModuleOp>> compile(mlir::ModuleOp trainingGraph, const RunRequest &run) {
  auto given = parseConfig(run.config);
  int64_t batch = getBinding(trainingGraph).values[kBatchSymbol];
  auto config = given.ok() ? deriveConfig(run.config, given->numDevices(), batch) : given;
  if (!config.ok())
    return absl::InvalidArgumentError(absl::StrCat("--config=", run.config, ": ", config.status().message()));
  if (absl::Status status = checkSupported(*config); !status.ok())
    return absl::InvalidArgumentError(absl::StrCat("--config=", run.config, ": ", status.message()));
  PlanRequest request;
  // Only where stages are cut depends on it.
  auto device = resolveAccelerator(absl::StrCat("h100:", config->numDevices()));
  if (!device.ok())
    return device.status();
  request.accelerator = *device;
  request.optimizer = run.optimizer;
  request.precision = run.precision.value_or(PrecisionPolicy());
  std::string reason;
  auto program = compileCandidate(trainingGraph, *config, request, reason);
  if (!program)
    return absl::InvalidArgumentError(absl::StrCat(run.model, ": ", reason));
  unrollBlocks(*program);
  return program;
}

static absl::Status writeStep(const std::string &path, const TrainingRun &training, TrainingRun::Step &last) {
  StoredTensors tensors = training.state();
  tensors.insert(last.gradients.begin(), last.gradients.end());
  StoredTensor &loss = tensors["loss"];
  loss.type = "F32";
  loss.tensor.values = {last.loss};
  return writeSafetensors(path, tensors);
}

// One line for each reason for which a split step is not exactly that of the whole batch.
static void warnOfInexactSplit(const std::string &ofLoss, const std::vector<ModelInput> &inputs, const ModelTensors &tensors,
                               const ParallelConfig &config) {
  int64_t parts = config.numMicroBatches * config.dataParallel;
  if (parts == 1)
    return;
  if (!ofLoss.empty())
    logWarning(absl::StrCat(ofLoss, ", so this split step is not exactly the step of the whole batch"));
  Batch batch;
  for (const ModelInput &input : inputs)
    batch[input.name] = tensors.find(input.name)->tensor;
  if (std::string ofLabels = describeUnequalParts(inputs, batch, parts); !ofLabels.empty())
    logWarning(ofLabels);
}

static absl::Status runSteps(const RunRequest &request) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  auto model = loadModel(request, context);
  if (!model.ok())
    return model.status();
  auto ofModel = [&](const absl::Status &status) {
    return absl::Status(status.code(), absl::StrCat(request.model, ": ", status.message()));
  };
  mlir::ModuleOp graph = *model->module;
  std::string inexactLoss = describeInexactSplit(graph);
  std::vector<ModelInput> inputs = describeInputs(graph);
  if (absl::Status status = buildTrainingGraph(graph); !status.ok())
    return ofModel(status);
  if (absl::Status status =
          checkMainMemory(request.model, bytesToRun(graph, model->summary),
                          "take a smaller model or --global-batch, or plan it with moai-plan, which needs no memory for it");
      !status.ok())
    return status;
  ModelTensors tensors(graph, model->tiedParameters);
  if (absl::Status status = fillTensors(tensors, request, /*withInputs=*/true); !status.ok())
    return status;
  auto program = compile(graph, request);
  if (!program.ok())
    return program.status();
  ExecuteOptions options = request.execute;
  options.deviceMemoryBytes = request.deviceMemory.value_or(0);
  auto training = TrainingRun::create(tensors, **program, options);
  if (!training.ok())
    return ofModel(training.status());
  warnOfInexactSplit(inexactLoss, inputs, tensors, training->devices().config());

  TrainingRun::Step last;
  int64_t steps = request.steps.value_or(1);
  for (int64_t i = 1; i <= steps; ++i) {
    auto step = training->run(/*keepGradients=*/i == steps && !request.saveStep.empty());
    if (!step.ok())
      return absl::Status(step.status().code(), absl::StrCat(request.model, ": step ", i, ": ", step.status().message()));
    llvm::outs() << absl::StrFormat("Loss: %.9g\n", step->loss);
    last = std::move(*step);
  }
  return request.saveStep.empty() ? absl::OkStatus() : writeStep(request.saveStep, *training, last);
}

int moai::runBareGraph(const RunRequest &request) {
  if (absl::Status status = runSteps(request); !status.ok())
    return failInput(status);
  finish();
}
