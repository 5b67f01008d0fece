//===- moai-plan.cpp - Which way of splitting a training step is fastest ---===//
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Export/Report.h"
#include "moai/IR/Flops.h"
#include "moai/Import/Import.h"
#include "moai/Passes/MemoryTrace.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Passes/SavedTensors.h"
#include "moai/Planner/Planner.h"
#include "moai/Support/CommandLine.h"
#include "moai/Support/File.h"
#include "llvm/Support/CommandLine.h"
#include <chrono>

using namespace moai;
namespace cl = llvm::cl;

namespace {

cl::OptionCategory category("Options");
cl::opt<std::string> model(cl::Positional, cl::desc("MODEL.pt2"), cl::cat(category));
cl::opt<std::string>
    acceleratorSpec("accelerator",
                    cl::desc("What to plan for: a MoAI flavor (4xLarge.2048GB), a device and a count (h100:64), or a .json file"),
                    cl::value_desc("NAME"), cl::cat(category));
cl::opt<std::string> batchList("global-batch",
                               cl::desc("Samples of one step over all devices; several, as in 256,1, for a run that meets several"),
                               cl::value_desc("N[,N...]"), cl::cat(category));
cl::opt<std::string> space("space", cl::desc("Candidates to try: moai, the space MoAI Platform documents (default)"), cl::init("moai"),
                           cl::value_desc("NAME"), cl::cat(category));
cl::opt<std::string> generation("maf", cl::desc("Release of MoAI whose space it is: 24.2 (default), 24.4 or 24.5"), cl::init("24.2"),
                                cl::value_desc("RELEASE"), cl::cat(category));
cl::opt<std::string> configText("config",
                                cl::desc("Plan one configuration instead of a space, and report it even if it doesn't fit; what it leaves "
                                         "out is derived: num_stages, num_micro_batches, batch_per_device, data_parallel, zero, "
                                         "low_precision_params, recomputation, schedule"),
                                cl::value_desc("KEY=VALUE,..."), cl::cat(category));
cl::opt<std::string> optimizer("optimizer",
                               cl::desc("adamw (default), adam or sgd, and perhaps momentum=, max_gradient_norm= (clipping), "
                                        "learning_rate=, beta1=, beta2=, epsilon=, weight_decay="),
                               cl::init("adamw"), cl::value_desc("NAME[,KEY=VALUE...]"), cl::cat(category));
cl::opt<std::string>
    precision("precision",
              cl::desc("Types of what belongs to a parameter: exported (default of --config), or mixed for a float32 master and float32 "
                       "states (default of --space=moai); then perhaps parameter=, gradient=, accumulation=, master=, state="),
              cl::value_desc("NAME[,KEY=TYPE...]"), cl::cat(category));
cl::opt<std::string>
    memoryModel("memory-model",
                cl::desc("gpu (default), or pytorch-cpu: report what PyTorch allocates on a CPU for a --config of one device"),
                cl::init("gpu"), cl::value_desc("NAME"), cl::cat(category));
cl::opt<std::string> autocast("autocast",
                              cl::desc("Whose rules for types an autocast region follows: cuda (default), or cpu, as it was exported "
                                       "(default with --memory-model=pytorch-cpu)"),
                              cl::value_desc("DEVICE"), cl::cat(category));
cl::opt<std::string> implementation("optimizer-implementation",
                                    cl::desc("Of PyTorch's AdamW, for --memory-model=pytorch-cpu: foreach (default), forloop or fused"),
                                    cl::init("foreach"), cl::value_desc("NAME"), cl::cat(category));
cl::opt<std::string> granularityText("allocation-granularity",
                                     cl::desc("Bytes of which every tensor's memory is a multiple (default 512, as GPU allocators hand "
                                              "out; 1 for --memory-model=pytorch-cpu)"),
                                     cl::value_desc("BYTES"), cl::cat(category));
cl::opt<std::string> workspaceText("kernel-workspace",
                                   cl::desc("Bytes that kernel libraries hold (default: the accelerator's; 0 for "
                                            "--memory-model=pytorch-cpu)"),
                                   cl::value_desc("BYTES"), cl::cat(category));
cl::opt<std::string> memoryRatioText("memory-ratio", cl::desc("Part of a device's memory that a plan may use (default 0.8)"),
                                     cl::init("0.8"), cl::value_desc("R"), cl::cat(category));
cl::opt<std::string> imbalanceText("expert-imbalance", cl::desc("Rows of the busiest expert over the average (default 1: balanced)"),
                                   cl::init("1"), cl::value_desc("X"), cl::cat(category));
cl::opt<std::string> sequenceLength("seq-len", cl::desc("Sequence length to plan for, instead of the exported one"), cl::value_desc("N"),
                                    cl::cat(category));
cl::list<std::string> shapes("shape", cl::desc("Value for a dimension of a dynamic export, by the names --describe shows"),
                             cl::value_desc("NAME=N"), cl::cat(category));
cl::opt<bool> describe("describe", cl::desc("Print what was understood of the model, and plan nothing"), cl::cat(category));
cl::opt<bool> savedTensors("saved-tensors",
                           cl::desc("With --describe: list what the forward leaves in memory for the backward, storage by storage"),
                           cl::cat(category));
cl::opt<bool> strict("strict", cl::desc("Refuse models with ops that moai doesn't know"), cl::cat(category));
cl::opt<std::string> outputFolder("o", cl::desc("Folder for plan.json and the chosen candidate's IR"), cl::value_desc("DIR"),
                                  cl::cat(category));
cl::opt<bool>
    memoryTimeline("memory-timeline",
                   cl::desc("With -o: also write memory.json, every storage of a device of each stage through the step with its offset, "
                            "and the use at every op"),
                   cl::cat(category));
cl::opt<std::string> dumpFolder("dump-candidates", cl::desc("Folder for the IR of every candidate, for moai-opt"), cl::value_desc("DIR"),
                                cl::cat(category));
cl::opt<std::string> format("format",
                            cl::desc("Form of the result on standard output: text, tables (default), or json, the content of plan.json"),
                            cl::init("text"), cl::value_desc("FORM"), cl::cat(category));
cl::opt<bool> noTimes("no-times", cl::desc("Leave measured times out of the JSON, so that outputs can be compared"), cl::cat(category));
cl::opt<std::string> threads("threads", cl::desc("Threads that compile (default: one per core); the plan is the same on any number"),
                             cl::value_desc("N"), cl::cat(category));
cl::opt<bool> listThem("list-accelerators", cl::desc("Print the flavors and devices that --accelerator knows"), cl::cat(category));

const char *const kOverview =
    "moai-plan: finds the fastest way of splitting a model's training step over the devices of an accelerator.\n\n"
    "  moai-plan MODEL.pt2 --accelerator=4xLarge.2048GB --global-batch=256 [-o DIR]\n"
    "  moai-plan MODEL.pt2 --describe\n"
    "  moai-plan --list-accelerators\n\n"
    "MODEL.pt2 is what torch.export.save wrote of a module whose forward returns the loss; its weights are not read.\n"
    "The log goes to standard error, the result to standard output. Exit codes: 0 done, 1 the input can't be planned,\n"
    "2 wrong usage.\n";

} // namespace

static std::optional<int64_t> parsePositive(llvm::StringRef text) {
  int64_t number;
  if (text.getAsInteger(10, number) || number < 1)
    return std::nullopt;
  return number;
}

namespace {
/// The command line, understood.
struct Request {
  ImportOptions import;
  PlanRequest plan;
};
} // namespace

// Fills what doesn't need the accelerator's database; a returned sentence says what is wrong.
static std::optional<std::string> readFlags(Request &request) {
  if (model.empty())
    return "name a model, as in moai-plan MODEL.pt2 --accelerator=4xLarge.2048GB --global-batch=256";
  if (memoryTimeline && outputFolder.empty())
    return "--memory-timeline writes memory.json into the folder of -o; give that as well";
  if (describe)
    for (const auto &[given, flag] : {std::pair(acceleratorSpec.getNumOccurrences(), "--accelerator"),
                                      {outputFolder.getNumOccurrences(), "-o"},
                                      {dumpFolder.getNumOccurrences(), "--dump-candidates"}})
      if (given)
        return absl::StrCat("--describe plans nothing, so ", flag, " contradicts it; leave one of them out");
  if (savedTensors && !describe)
    return "--saved-tensors is for --describe; give that as well";
  if (!describe && acceleratorSpec.empty())
    return "--accelerator is missing: name one that --list-accelerators prints";
  if (!describe && batchList.empty())
    return "--global-batch is missing: name the samples of one step, as in --global-batch=256";
  llvm::SmallVector<llvm::StringRef> parts;
  if (!batchList.empty())
    llvm::StringRef(batchList).split(parts, ',');
  for (llvm::StringRef part : parts) {
    std::optional<int64_t> batch = parsePositive(part);
    if (!batch || *batch > (int64_t(1) << 40))
      return absl::StrCat("--global-batch=", batchList.getValue(),
                          ": expected one or more whole numbers from 1 to 2^40, separated by commas");
    request.plan.globalBatches.push_back(*batch);
  }
  if (!parts.empty())
    request.import.batch = *llvm::max_element(request.plan.globalBatches);
  if (space != "moai")
    return absl::StrCat("--space=", space.getValue(), " is not known; expected moai");
  auto release = parseGeneration(generation);
  if (!release.ok())
    return absl::StrCat("--maf=", generation.getValue(), ": ", std::string(release.status().message()));
  request.plan.generation = *release;
  auto policy = parseOptimizer(optimizer.getValue());
  if (!policy.ok())
    return absl::StrCat("--optimizer=", optimizer.getValue(), ": ", std::string(policy.status().message()));
  request.plan.optimizer = *policy;
  if (precision.getNumOccurrences()) {
    auto types = parsePrecision(precision.getValue());
    if (!types.ok())
      return absl::StrCat("--precision=", precision.getValue(), ": ", std::string(types.status().message()));
    request.plan.precision = *types;
  }
  if (memoryModel != "gpu" && memoryModel != "pytorch-cpu")
    return absl::StrCat("--memory-model=", memoryModel.getValue(), " is not known; expected gpu or pytorch-cpu");
  auto parsedImplementation = parseOptimizerImplementation(implementation.getValue());
  if (!parsedImplementation.ok())
    return absl::StrCat("--optimizer-implementation=", std::string(parsedImplementation.status().message()));
  if (!autocast.empty() && autocast != "cuda" && autocast != "cpu")
    return absl::StrCat("--autocast=", autocast.getValue(), " is not known; expected cuda or cpu");
  bool onGpu = autocast.empty() ? memoryModel == "gpu" : autocast == "cuda";
  request.import.autocast = onGpu ? AutocastDevice::Cuda : AutocastDevice::Cpu;
  if (memoryModel == "pytorch-cpu") {
    if (!configText.getNumOccurrences())
      return "--memory-model=pytorch-cpu is for one configuration; give --config as well";
    request.plan.pytorchStep = *parsedImplementation;
  } else if (implementation.getNumOccurrences()) {
    return "--optimizer-implementation is for --memory-model=pytorch-cpu; give that as well";
  }
  for (auto [option, value, least] :
       {std::tuple(&granularityText, &request.plan.allocationGranularity, 1), {&workspaceText, &request.plan.kernelWorkspaceBytes, 0}}) {
    if (!option->getNumOccurrences())
      continue;
    int64_t bytes;
    if (llvm::StringRef(option->getValue()).getAsInteger(10, bytes) || bytes < least || bytes > (int64_t(1) << 40))
      return absl::StrCat("--", option->ArgStr.str(), "=", option->getValue(), ": expected a whole number from ", least, " to 2^40");
    *value = bytes;
  }
  if (!absl::SimpleAtod(memoryRatioText, &request.plan.memoryRatio) || !(request.plan.memoryRatio > 0 && request.plan.memoryRatio <= 1))
    return absl::StrCat("--memory-ratio=", memoryRatioText.getValue(), ": expected a number of more than 0, and 1 at most");
  if (!absl::SimpleAtod(imbalanceText, &request.plan.expertImbalance) ||
      !(request.plan.expertImbalance >= 1 && request.plan.expertImbalance <= 1e6))
    return absl::StrCat("--expert-imbalance=", imbalanceText.getValue(), ": expected a number of 1 or more, and 1000000 at most");
  if (format != "text" && format != "json")
    return absl::StrCat("--format=", format.getValue(), " is not known; expected text or json");
  if (!sequenceLength.empty()) {
    request.import.sequenceLength = parsePositive(sequenceLength);
    if (!request.import.sequenceLength || *request.import.sequenceLength > (int64_t(1) << 32))
      return absl::StrCat("--seq-len=", sequenceLength.getValue(), ": expected a whole number from 1 to 2^32");
  }
  for (const std::string &shape : shapes) {
    auto [name, value] = llvm::StringRef(shape).split('=');
    std::optional<int64_t> size = parsePositive(value);
    if (name.empty() || !size || *size > (int64_t(1) << 32))
      return absl::StrCat("--shape=", shape, ": expected NAME=N with a whole number from 1 to 2^32");
    if (!request.import.shapes.try_emplace(name, *size).second)
      return absl::StrCat("--shape=", name.str(), " is given twice; give it once");
  }
  if (configText.getNumOccurrences() && (describe || space.getNumOccurrences() || generation.getNumOccurrences()))
    return absl::StrCat("--config plans one configuration, so ",
                        describe                    ? "--describe"
                        : space.getNumOccurrences() ? "--space"
                                                    : "--maf",
                        " contradicts it; leave one of them out");
  if (configText.getNumOccurrences() && request.plan.globalBatches.size() > 1)
    return "--config plans one batch size; give --global-batch one number";
  request.import.strict = strict;
  if (!threads.empty()) {
    std::optional<int64_t> count = parsePositive(threads);
    if (!count || *count > 1024)
      return absl::StrCat("--threads=", threads.getValue(), ": expected a whole number from 1 to 1024");
    request.plan.threads = static_cast<int>(*count);
  }
  request.plan.dumpDirectory = dumpFolder;
  return std::nullopt;
}

static std::string toText(llvm::json::Object object) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::formatv("{0:2}", llvm::json::Value(std::move(object))) << "\n";
  return text;
}

// What each stage's devices hold, op by op.
static absl::Status writeTimeline(mlir::ModuleOp candidate, const MemoryModel &model) {
  unrollBlocks(candidate);
  llvm::json::Array stages;
  for (auto stage : candidate.getOps<mlir::func::FuncOp>())
    if (stage->hasAttr(attrs::kSchedule)) {
      MemoryTimeline timeline = traceMemory(stage, model);
      if (absl::Status status = verify(timeline); !status.ok())
        return status;
      stages.push_back(toJSON(timeline));
    }
  return writeFile(outputFolder + "/memory.json", toText(llvm::json::Object{{"stages", std::move(stages)}}));
}

// plan.json and the chosen candidate, in the order that leaves no plan.json behind without its IR.
static absl::Status writePlan(const Plan &plan, mlir::ModuleOp trainingGraph, const PlanRequest &request) {
  if (absl::Status status = createFolder(outputFolder); !status.ok())
    return status;
  std::string reason, text;
  auto chosen = compileCandidate(trainingGraph, plan.candidates[*plan.selected].config, request, reason);
  if (!chosen)
    return absl::InternalError(absl::StrCat("the chosen candidate doesn't compile again: ", reason));
  llvm::raw_string_ostream stream(text);
  chosen->print(stream);
  stream << "\n";
  if (absl::Status status = writeFile(outputFolder + "/selected.mlir", stream.str()); !status.ok())
    return status;
  if (memoryTimeline)
    if (absl::Status status = writeTimeline(*chosen, request.memoryModel()); !status.ok())
      return status;
  return writeFile(outputFolder + "/plan.json", toText(toJSON(plan, !noTimes)));
}

static absl::Status describeModel(ImportedModel &imported) {
  ModelSummary &summary = imported.summary;
  absl::Status backward = absl::InvalidArgumentError("the graph returns no loss");
  if (summary.hasLoss)
    backward = buildTrainingGraph(*imported.module);
  // What has no backward can still be described, but for what that would read.
  if (savedTensors && !backward.ok())
    return absl::InvalidArgumentError(absl::StrCat(summary.path, ": no tensors are saved: ", backward.message()));
  if (backward.ok())
    summary.totalFlops = countFlops(imported.module->lookupSymbol<mlir::func::FuncOp>("step"), summary.binding);
  std::vector<SavedTensor> saved;
  if (savedTensors)
    saved = listSavedTensors(*imported.module, summary.binding);
  if (format == "json") {
    llvm::json::Object object{{"model", toJSON(summary)}};
    if (savedTensors)
      object["saved_tensors"] = toJSON(saved);
    llvm::outs() << toText(std::move(object));
    return absl::OkStatus();
  }
  printDescription(summary, llvm::outs());
  if (savedTensors)
    printSavedTensors(saved, llvm::outs());
  return absl::OkStatus();
}

/// Returns only if something is wrong.
static int run(Request &request, std::chrono::steady_clock::time_point start) {
  auto sinceStart = [&] { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(); };
  if (!describe) {
    auto accelerator = resolveAccelerator(acceleratorSpec);
    if (!accelerator.ok())
      return failInput(accelerator.status());
    request.plan.accelerator = *accelerator;
  }
  if (configText.getNumOccurrences()) {
    auto config = deriveConfig(configText, request.plan.accelerator.numDevices, request.plan.globalBatches.front());
    if (!config.ok())
      return failInput(absl::StrCat("--config=", configText.getValue(), ": ", std::string(config.status().message())));
    request.plan.config = *config;
  }
  for (const std::string *folder : {&outputFolder.getValue(), &dumpFolder.getValue()})
    if (!folder->empty())
      if (absl::Status status = checkWritableFolder(*folder); !status.ok())
        return failInput(status);

  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<MoaiDialect, mlir::func::FuncDialect>();
  double importStart = sinceStart();
  auto imported = importPt2(model, request.import, context);
  if (!imported.ok())
    return failInput(imported.status());
  double importMs = sinceStart() - importStart;
  for (const std::string &warning : imported->summary.warnings)
    llvm::errs() << "moai-plan: warning: " << imported->summary.path << ": " << warning << "\n";
  if (describe) {
    if (absl::Status status = describeModel(*imported); !status.ok())
      return failInput(status);
    finish();
  }

  if (!dumpFolder.empty())
    if (absl::Status status = createFolder(dumpFolder); !status.ok())
      return failInput(status);
  auto plan = planModel(*imported->module, imported->summary, request.plan);
  if (!plan.ok())
    return failInput(plan.status());
  plan->elapsed.importMs = importMs;
  plan->elapsed.totalMs = sinceStart();
  if (!outputFolder.empty())
    if (absl::Status status = writePlan(*plan, *imported->module, request.plan); !status.ok())
      return failInput(status);
  if (format == "json")
    llvm::outs() << toText(toJSON(*plan, !noTimes));
  else {
    printReport(*plan, llvm::outs());
    if (!outputFolder.empty())
      llvm::outs() << "\nWrote " << outputFolder << "/plan.json and " << outputFolder << "/selected.mlir\n";
  }
  finish();
}

int main(int argc, char **argv) {
  auto start = std::chrono::steady_clock::now();
  cl::HideUnrelatedOptions(category);
  if (!parseCommandLine(argc, argv, "moai-plan", kOverview))
    return kUsageError;
  if (listThem) {
    llvm::outs() << listAccelerators();
    finish();
  }
  Request request;
  if (std::optional<std::string> wrong = readFlags(request))
    return failUsage(*wrong);
  return run(request, start);
}
