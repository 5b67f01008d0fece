//===- moai-run.cpp - Executes training steps ------------------------------===//
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Execute/TrainingRun.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Import.h"
#include "moai/Import/Weights.h"
#include "moai/Passes/Differentiable.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Planner/Planner.h"
#include "moai/Support/CommandLine.h"
#include "moai/Support/Machine.h"
#include "llvm/Support/CommandLine.h"

using namespace moai;
namespace cl = llvm::cl;

namespace {

cl::OptionCategory category("Options");
cl::opt<std::string> model(cl::Positional, cl::desc("MODEL.pt2"), cl::cat(category));
cl::opt<std::string> accelerator("accelerator", cl::desc("none (default): the graph as it was exported, on one device"), cl::init("none"),
                                 cl::value_desc("NAME"), cl::cat(category));
cl::opt<std::string>
    weights("weights",
            cl::desc("Parameters, buffers and constants: a .safetensors file, the index.json of a sharded checkpoint, or a folder "
                     "with either; without, those of MODEL.pt2, or random ones"),
            cl::value_desc("PATH"), cl::cat(category));
cl::opt<std::string> inputs("inputs", cl::desc("One batch, for every step; without, a random one"), cl::value_desc("FILE.safetensors"),
                            cl::cat(category));
cl::opt<std::string> stepCount("steps", cl::desc("Training steps (default 1)"), cl::init("1"), cl::value_desc("N"), cl::cat(category));
cl::opt<std::string> seed("seed", cl::desc("Of all random numbers (default 0)"), cl::init("0"), cl::value_desc("N"), cl::cat(category));
cl::opt<std::string> globalBatch("global-batch", cl::desc("Samples of one step (default: as exported)"), cl::value_desc("N"),
                                 cl::cat(category));
cl::opt<std::string> configText("config",
                                cl::desc("Run the step split so over virtual devices, compiled as moai-plan compiles it: num_stages, "
                                         "num_micro_batches, data_parallel, zero, recomputation, ..."),
                                cl::value_desc("KEY=VALUE,..."), cl::cat(category));
cl::opt<std::string> optimizerText("optimizer",
                                   cl::desc("adamw (default), adam or sgd, and perhaps learning_rate=, beta1=, beta2=, epsilon=, "
                                            "weight_decay=, momentum=, max_gradient_norm="),
                                   cl::init("adamw"), cl::value_desc("NAME[,KEY=VALUE...]"), cl::cat(category));
cl::opt<std::string> precisionText("precision",
                                   cl::desc("Types of what belongs to a parameter: exported (default), or mixed for a float32 master "
                                            "and states; then perhaps parameter=, gradient=, accumulation=, master=, state="),
                                   cl::init("exported"), cl::value_desc("NAME[,KEY=TYPE...]"), cl::cat(category));
cl::opt<std::string> learningRate("learning-rate", cl::desc("Of the optimizer (default 0.001)"), cl::value_desc("X"), cl::cat(category));
cl::opt<std::string> weightDecay("weight-decay", cl::desc("Of the optimizer (default 0.01 for adamw, 0 for the others)"),
                                 cl::value_desc("X"), cl::cat(category));
cl::opt<std::string> dtype("dtype", cl::desc("exported (default), or float64 to compute every floating type in double"),
                           cl::init("exported"), cl::value_desc("TYPE"), cl::cat(category));
cl::opt<std::string> saveStep("save-step", cl::desc("Where to write loss, gradients and updated parameters of the last step"),
                              cl::value_desc("FILE.safetensors"), cl::cat(category));

const char *const kOverview =
    "moai-run: executes training steps of an exported model and prints the loss of each.\n\n"
    "  moai-run MODEL.pt2 --weights=FILE.safetensors --inputs=FILE.safetensors [--steps=N] [--save-step=FILE.safetensors]\n"
    "  moai-run MODEL.pt2 --config=num_stages=2,num_micro_batches=4,data_parallel=2,zero=1    # split over virtual devices\n\n"
    "Keys are param.NAME, buffer.NAME, constant.NAME and input.NAME, or plain names. Exit codes: 0 done, 1 the input can't be\n"
    "run, 2 wrong usage.\n";

} // namespace

namespace {
/// The command line, understood.
struct Request {
  ImportOptions import;
  ExecuteOptions execute;
  OptimizerPolicy optimizer;
  int64_t steps = 1;
};
} // namespace

// What every number takes as a double: parameters with a gradient and two states, and one activation, the largest.
static absl::Status checkMemory(mlir::ModuleOp trainingGraph, const ModelSummary &summary) {
  auto step = trainingGraph.lookupSymbol<mlir::func::FuncOp>("step");
  DimBinding binding = getBinding(trainingGraph);
  double numbers = static_cast<double>(summary.largestTensorBytes) * static_cast<double>(binding.values[kBatchSymbol]) / 4;
  for (mlir::BlockArgument argument : step.getArguments()) {
    auto role = step.getArgAttrOfType<mlir::StringAttr>(argument.getArgNumber(), attrs::kRole);
    numbers += (role && role == "parameter" ? 4.0 : 1.0) * static_cast<double>(tensorOf(argument).countElements(binding)) *
               static_cast<double>(countTensors(argument.getType()));
  }
  constexpr double kGiB = 1 << 30;
  double needed = numbers * sizeof(double) / kGiB;
  double present = mainMemoryBytes() / kGiB;
  if (needed <= present)
    return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("its step needs at least %.0f GiB to run, this machine has %.0f; take a smaller model "
                      "or --global-batch, or plan it with moai-plan, which needs no memory for it",
                      needed, present));
}

// Weights and inputs from their files, then from the archive, then random ones.
static absl::Status fillTensors(ModelTensors &tensors, uint64_t randomSeed) {
  if (!weights.empty()) {
    auto stored = CheckpointWeights::open(weights);
    if (!stored.ok())
      return stored.status();
    if (absl::Status status = tensors.takeWeights(*stored); !status.ok())
      return status;
  }
  if (!inputs.empty()) {
    auto stored = readSafetensors(inputs);
    if (!stored.ok())
      return stored.status();
    if (absl::Status status = tensors.takeInputs(*stored, inputs); !status.ok())
      return status;
  }
  auto archived = readPt2Tensors(model);
  if (!archived.ok())
    return archived.status();
  StoredTensors own;
  for (const ArchivedTensor &tensor : *archived) {
    auto decoded = decodeTensor(tensor.name, tensor.type, tensor.shape, tensor.strides, tensor.offset, tensor.bytes);
    if (!decoded.ok())
      return absl::InvalidArgumentError(absl::StrCat(model.getValue(), ": ", decoded.status().message()));
    own[tensor.name] = std::move(*decoded);
  }
  tensors.takeMissing(own);
  tensors.fillTheRest(randomSeed);
  return absl::OkStatus();
}

// The step as a program per stage; of one stage on one device without --config.
static absl::StatusOr<mlir::OwningOpRef<mlir::ModuleOp>> compile(mlir::ModuleOp trainingGraph, const OptimizerPolicy &optimizer) {
  auto given = parseConfig(configText);
  int64_t batch = getBinding(trainingGraph).values[kBatchSymbol];
  auto config = given.ok() ? deriveConfig(configText, given->numDevices(), batch) : given;
  if (!config.ok())
    return absl::InvalidArgumentError(absl::StrCat("--config=", configText.getValue(), ": ", config.status().message()));
  if (absl::Status status = checkSupported(*config); !status.ok())
    return absl::InvalidArgumentError(absl::StrCat("--config=", configText.getValue(), ": ", status.message()));
  PlanRequest request;
  // Only where stages are cut depends on it.
  auto device = resolveAccelerator(absl::StrCat("h100:", config->numDevices()));
  if (!device.ok())
    return device.status();
  request.accelerator = *device;
  request.optimizer = optimizer;
  request.precision = optimizer.precision;
  std::string reason;
  auto program = compileCandidate(trainingGraph, *config, request, reason);
  if (!program)
    return absl::InvalidArgumentError(absl::StrCat(model.getValue(), ": ", reason));
  unrollBlocks(*program);
  return program;
}

static absl::Status writeStep(const TrainingRun &training, TrainingRun::Step &last) {
  StoredTensors tensors = training.state();
  tensors.insert(last.gradients.begin(), last.gradients.end());
  StoredTensor &loss = tensors["loss"];
  loss.type = "F32";
  loss.tensor.values = {last.loss};
  return writeSafetensors(saveStep, tensors);
}

/// Returns only if something is wrong.
static int run(const Request &request) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<MoaiDialect, mlir::func::FuncDialect>();
  auto imported = importPt2(model, request.import, context);
  if (!imported.ok())
    return failInput(imported.status());
  if (!imported->summary.hasLoss)
    return failInput(absl::StrCat(model.getValue(), ": the graph returns no loss, so there is no training step to run"));
  if (absl::Status status = checkDifferentiable(*imported->module); !status.ok())
    return failInput(absl::StrCat(model.getValue(), ": ", status.message()));
  if (request.import.batch)
    setBinding(*imported->module, imported->summary.binding);
  if (absl::Status status = buildTrainingGraph(*imported->module); !status.ok())
    return failInput(absl::StrCat(model.getValue(), ": ", status.message()));
  if (absl::Status status = checkMemory(*imported->module, imported->summary); !status.ok())
    return failInput(absl::StrCat(model.getValue(), ": ", status.message()));
  ModelTensors tensors(*imported->module, imported->tiedParameters);
  if (absl::Status status = fillTensors(tensors, request.execute.seed); !status.ok())
    return failInput(status);
  auto program = compile(*imported->module, request.optimizer);
  if (!program.ok())
    return failInput(program.status());
  auto training = TrainingRun::create(tensors, **program, request.execute);
  if (!training.ok())
    return failInput(absl::StrCat(model.getValue(), ": ", training.status().message()));

  TrainingRun::Step last;
  for (int64_t i = 1; i <= request.steps; ++i) {
    auto step = training->run(/*keepGradients=*/i == request.steps && !saveStep.empty());
    if (!step.ok())
      return failInput(absl::StrCat(model.getValue(), ": step ", i, ": ", step.status().message()));
    llvm::outs() << absl::StrFormat("Loss: %.9g\n", step->loss);
    last = std::move(*step);
  }
  if (!saveStep.empty())
    if (absl::Status status = writeStep(*training, last); !status.ok())
      return failInput(status);
  finish();
}

// A returned sentence says what is wrong.
static std::optional<std::string> readFlags(Request &request) {
  if (model.empty())
    return "name a model, as in moai-run MODEL.pt2";
  if (accelerator != "none")
    return absl::StrCat("--accelerator=", accelerator.getValue(), " is not known; expected none");
  if (dtype != "exported" && dtype != "float64")
    return absl::StrCat("--dtype=", dtype.getValue(), " is not known; expected exported or float64");
  request.import.bufferUpdates = true;
  request.execute.float64 = dtype == "float64";
  if (!absl::SimpleAtoi(stepCount.getValue(), &request.steps) || request.steps < 1)
    return absl::StrCat("--steps=", stepCount.getValue(), ": expected a whole number of 1 or more");
  if (!absl::SimpleAtoi(seed.getValue(), &request.execute.seed))
    return absl::StrCat("--seed=", seed.getValue(), ": expected a whole number of 0 or more");
  if (int64_t batch = 0; globalBatch.getNumOccurrences()) {
    if (!absl::SimpleAtoi(globalBatch.getValue(), &batch) || batch < 1 || batch > (int64_t(1) << 40))
      return absl::StrCat("--global-batch=", globalBatch.getValue(), ": expected a whole number from 1 to 2^40");
    request.import.batch = batch;
  }
  auto policy = parseOptimizer(optimizerText.getValue());
  if (!policy.ok())
    return absl::StrCat("--optimizer=", optimizerText.getValue(), ": ", policy.status().message());
  request.optimizer = *policy;
  auto precision = parsePrecision(precisionText.getValue());
  if (!precision.ok())
    return absl::StrCat("--precision=", precisionText.getValue(), ": ", precision.status().message());
  request.optimizer.precision = *precision;
  for (auto [option, value] : {std::pair(&learningRate, &request.optimizer.learningRate), {&weightDecay, &request.optimizer.weightDecay}})
    if (option->getNumOccurrences() && (!absl::SimpleAtod(option->getValue(), value) || !(*value >= 0 && *value < 1e6)))
      return absl::StrCat("--", option->ArgStr.str(), "=", option->getValue(), ": expected a number of 0 or more");
  return std::nullopt;
}

int main(int argc, char **argv) {
  cl::HideUnrelatedOptions(category);
  if (!parseCommandLine(argc, argv, "moai-run", kOverview))
    return kUsageError;
  Request request;
  if (std::optional<std::string> wrong = readFlags(request))
    return failUsage(*wrong);
  return run(request);
}
