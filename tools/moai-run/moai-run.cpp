//===- moai-run.cpp - Executes training steps ------------------------------===//
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Execute/TrainingRun.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Import.h"
#include "moai/Import/Weights.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Support/CommandLine.h"
#include "llvm/Support/CommandLine.h"

using namespace moai;
namespace cl = llvm::cl;

namespace {

cl::OptionCategory category("Options");
cl::opt<std::string> model(cl::Positional, cl::desc("MODEL.pt2"), cl::cat(category));
cl::opt<std::string> accelerator("accelerator", cl::desc("none (default): the graph as it was exported, on one device"), cl::init("none"),
                                 cl::value_desc("NAME"), cl::cat(category));
cl::opt<std::string> weights("weights", cl::desc("Parameters, buffers and constants; without, those of MODEL.pt2, or random ones"),
                             cl::value_desc("FILE.safetensors"), cl::cat(category));
cl::opt<std::string> inputs("inputs", cl::desc("One batch, for every step; without, a random one"), cl::value_desc("FILE.safetensors"),
                            cl::cat(category));
cl::opt<std::string> stepCount("steps", cl::desc("Training steps (default 1)"), cl::init("1"), cl::value_desc("N"), cl::cat(category));
cl::opt<std::string> seed("seed", cl::desc("Of all random numbers (default 0)"), cl::init("0"), cl::value_desc("N"), cl::cat(category));
cl::opt<std::string> learningRate("learning-rate", cl::desc("Of AdamW (default 0.001)"), cl::init("0.001"), cl::value_desc("X"),
                                  cl::cat(category));
cl::opt<std::string> weightDecay("weight-decay", cl::desc("Of AdamW (default 0.01)"), cl::init("0.01"), cl::value_desc("X"),
                                 cl::cat(category));
cl::opt<std::string> dtype("dtype", cl::desc("exported (default), or float64 to compute every floating type in double"),
                           cl::init("exported"), cl::value_desc("TYPE"), cl::cat(category));
cl::opt<std::string> saveStep("save-step", cl::desc("Where to write loss, gradients and updated parameters of the last step"),
                              cl::value_desc("FILE.safetensors"), cl::cat(category));

const char *const kOverview =
    "moai-run: executes training steps of an exported model and prints the loss of each.\n\n"
    "  moai-run MODEL.pt2 --weights=FILE.safetensors --inputs=FILE.safetensors [--steps=N] [--save-step=FILE.safetensors]\n\n"
    "Keys are param.NAME, buffer.NAME, constant.NAME and input.NAME, or plain names. Exit codes: 0 done, 1 the input can't be\n"
    "run, 2 wrong usage.\n";

} // namespace

/// Returns only if something is wrong.
static int run(const ExecuteOptions &options, const AdamW &optimizer, int64_t steps) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<MoaiDialect, mlir::func::FuncDialect>();
  ImportOptions importOptions;
  importOptions.bufferUpdates = true;
  auto imported = importPt2(model, importOptions, context);
  if (!imported.ok())
    return failInput(imported.status());
  if (!imported->summary.hasLoss)
    return failInput(absl::StrCat(model.getValue(), ": the graph returns no loss, so there is no training step to run"));
  if (absl::Status status = buildTrainingGraph(*imported->module); !status.ok())
    return failInput(absl::StrCat(model.getValue(), ": ", status.message()));

  TrainingRun training(*imported->module, imported->tiedParameters, options);
  for (bool isWeights : {true, false}) {
    const std::string &path = isWeights ? weights : inputs;
    if (path.empty())
      continue;
    auto tensors = readSafetensors(path);
    if (!tensors.ok())
      return failInput(tensors.status());
    absl::Status status = isWeights ? training.takeWeights(*tensors, path) : training.takeInputs(*tensors, path);
    if (!status.ok())
      return failInput(status);
  }
  auto archived = readPt2Tensors(model);
  if (!archived.ok())
    return failInput(archived.status());
  StoredTensors own;
  for (const ArchivedTensor &tensor : *archived) {
    auto decoded = decodeTensor(tensor.name, tensor.type, tensor.shape, tensor.strides, tensor.offset, tensor.bytes);
    if (!decoded.ok())
      return failInput(absl::StrCat(model.getValue(), ": ", decoded.status().message()));
    own[tensor.name] = std::move(*decoded);
  }
  training.takeMissing(own);
  training.fillTheRest(options.seed);

  TrainingRun::Step last;
  for (int64_t i = 1; i <= steps; ++i) {
    auto step = training.run(optimizer, /*keepGradients=*/i == steps && !saveStep.empty());
    if (!step.ok())
      return failInput(absl::StrCat(model.getValue(), ": step ", i, ": ", step.status().message()));
    llvm::outs() << absl::StrFormat("Loss: %.9g\n", step->loss);
    last = std::move(*step);
  }
  if (!saveStep.empty()) {
    StoredTensors tensors = training.state();
    tensors.insert(last.gradients.begin(), last.gradients.end());
    StoredTensor &loss = tensors["loss"];
    loss.type = "F32";
    loss.tensor.values = {last.loss};
    if (absl::Status status = writeSafetensors(saveStep, tensors); !status.ok())
      return failInput(status);
  }
  finish();
}

int main(int argc, char **argv) {
  cl::HideUnrelatedOptions(category);
  if (!parseCommandLine(argc, argv, "moai-run", kOverview))
    return kUsageError;
  if (model.empty())
    return failUsage("name a model, as in moai-run MODEL.pt2");
  if (accelerator != "none")
    return failUsage(absl::StrCat("--accelerator=", accelerator.getValue(), " is not known; expected none"));
  if (dtype != "exported" && dtype != "float64")
    return failUsage(absl::StrCat("--dtype=", dtype.getValue(), " is not known; expected exported or float64"));
  ExecuteOptions options;
  options.float64 = dtype == "float64";
  AdamW optimizer;
  int64_t steps;
  if (!absl::SimpleAtoi(stepCount.getValue(), &steps) || steps < 1)
    return failUsage(absl::StrCat("--steps=", stepCount.getValue(), ": expected a whole number of 1 or more"));
  if (!absl::SimpleAtoi(seed.getValue(), &options.seed))
    return failUsage(absl::StrCat("--seed=", seed.getValue(), ": expected a whole number of 0 or more"));
  for (auto [text, value, flag] :
       {std::tuple(&learningRate, &optimizer.learningRate, "--learning-rate"), {&weightDecay, &optimizer.weightDecay, "--weight-decay"}})
    if (!absl::SimpleAtod(text->getValue(), value) || !(*value >= 0 && *value < 1e6))
      return failUsage(absl::StrCat(flag, "=", text->getValue(), ": expected a number of 0 or more"));
  return run(options, optimizer, steps);
}
