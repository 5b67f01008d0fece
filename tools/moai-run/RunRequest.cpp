//===- RunRequest.cpp - The command line of moai-run, understood -----------===//
#include "RunRequest.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "moai/Accelerator/Job.h"
#include "moai/Support/Bytes.h"
#include "moai/Support/CommandLine.h"
#include "llvm/Support/CommandLine.h"

using namespace moai;
namespace cl = llvm::cl;

namespace {

cl::OptionCategory category("Options");

/// An option with a text as its value.
struct Text : cl::opt<std::string> {
  Text(const char *name, const char *value, const char *description)
      : cl::opt<std::string>(llvm::StringRef(name), cl::desc(description), cl::value_desc(value), cl::cat(category)) {}
  bool isGiven() const { return getNumOccurrences() > 0; }
};

cl::opt<std::string> model(cl::Positional, cl::desc("MODEL.pt2"), cl::cat(category));

Text accelerator("accelerator", "NAME",
                 "Where to train: a MoAI flavor, a device and a count, or a file (default: what moai-switch-model has chosen, or "
                 "MOAI_ACCELERATOR); none for one plain device");
Text configText("config", "KEY=VALUE,...",
                "Run the step split so, over the devices that it names unless --accelerator is given: num_stages, num_micro_batches, "
                "data_parallel, zero, recomputation, ...");
Text space("space", "NAME", "Candidates to try: moai, the space MoAI Platform documents (default)");
Text generation("maf", "RELEASE", "Release of MoAI whose space it is: 24.2, 24.4 or 24.5 (default)");
Text memoryRatio("memory-ratio", "R", "Part of a device's memory that a plan may use (default 0.8)");
Text deviceMemory("device-memory", "SIZE", "Memory of each virtual device, as in 64MiB, instead of the accelerator's");

Text data("data", "FILE",
          "Train on its samples: a text (a token per byte), token ids (a sample per line, .npy or .bin), or .safetensors of inputs");
Text dataFormat("data-format", "NAME",
                "What --data and --eval-data are: text, ids, npy, bin16, bin32 or safetensors (default: as they look)");
Text stepCount("steps", "N", "Training steps, those before a --load included (default: an epoch of --data; 1 without)");
Text epochCount("epochs", "N", "Or so many times through --data");
Text globalBatch("global-batch", "N", "Samples of one step (default: as exported)");
Text sequenceLength("seq-len", "N", "Sequence length, instead of the exported one");
Text seed("seed", "N", "Of all random numbers and of the order of samples (default 0, or that of --load)");
cl::opt<bool> noShuffle("no-shuffle", cl::desc("Take the samples in the order of the file"), cl::cat(category));
Text evaluationData("eval-data", "FILE", "Print the loss of its samples every so often");
Text evaluateEvery("eval-every", "N", "Steps between (default: a tenth of all)");

Text optimizerText("optimizer", "NAME[,KEY=VALUE...]",
                   "adamw (default), adam or sgd, and perhaps learning_rate=, beta1=, beta2=, epsilon=, weight_decay=, momentum=, "
                   "max_gradient_norm=");
Text precisionText(
    "precision", "NAME[,KEY=TYPE...]",
    "Types of what belongs to a parameter: exported (default of --config and of the bare graph), or mixed for a float32 master "
    "and states (default of MoAI's space); then perhaps parameter=, gradient=, accumulation=, master=, state=");
Text learningRate("learning-rate", "X", "Of the optimizer (default 0.001)");
Text weightDecay("weight-decay", "X", "Of the optimizer (default 0.01 for adamw, 0 for the others)");
Text learningRateSchedule("lr-schedule", "NAME", "How it changes: constant (default), linear or cosine, down to 0 at the last step");
Text warmupSteps("warmup-steps", "N", "Steps in which it comes up from 0 (default 0)");

Text weights(
    "weights", "PATH",
    "Parameters, buffers and constants: a .safetensors file, the index.json of a sharded checkpoint, or a folder with either; without, "
    "those of MODEL.pt2, or random ones");
Text inputs("inputs", "FILE.safetensors", "One batch, for every step of a run without --data; without, a random one");
Text save("save", "DIR", "Where to leave the trained weights, model.safetensors, and what --load needs beside them");
Text load("load", "DIR", "Go on from what --save left, also on another accelerator");
Text checkpointEvery("checkpoint-every", "N", "Steps after which to --save as well (default: at the end alone)");
Text saveStep("save-step", "FILE.safetensors",
              "Where to write loss, gradients and updated parameters of the last step of a run without --data");

Text logEvery("log-every", "N", "Steps of which one is printed (default 1)");
Text metrics("metrics", "FILE.csv", "Where to write a line for each step");
Text plot("plot", "FILE.svg", "Where to draw the losses");
Text threads("threads", "N", "Threads that run the virtual devices (default: one per core); numbers are the same on any number");
Text dtype("dtype", "TYPE", "exported (default), or float64 to compute every floating type in double");

cl::opt<bool> dryRun("dry-run",
                     cl::desc("Rehearse a training that is too large for this machine: plan it and play its schedule in simulated time"),
                     cl::cat(category));
Text speed("speed", "X", "Of --dry-run: simulated seconds in one second (default 1)");

const char *const kOverview =
    "moai-run: trains an exported model on the virtual devices of an accelerator.\n\n"
    "  moai-run MODEL.pt2 --data=FILE --steps=N --global-batch=N [--save=DIR]     # on the current accelerator\n"
    "  moai-run MODEL.pt2 --weights=FILE.safetensors --inputs=FILE.safetensors [--steps=N] [--save-step=FILE.safetensors]\n"
    "  moai-run MODEL.pt2 --config=num_stages=2,num_micro_batches=4,data_parallel=2,zero=1    # one batch, split over virtual devices\n"
    "  moai-run MODEL.pt2 --dry-run --global-batch=256 --steps=10 --speed=60      # what a large training would look like\n\n"
    "The log goes to standard error, steps to standard output. Exit codes: 0 done, 1 the input can't be run, 2 wrong usage, 130 stopped\n"
    "by Ctrl-C after the step at hand.\n";

/// Reads numbers of options; the first that is wrong is told.
struct NumberReader {
  template <typename T> void whole(const Text &option, int64_t least, int64_t most, const char *range, T &value) {
    if (!option.isGiven() || wrong)
      return;
    int64_t number;
    if (!absl::SimpleAtoi(option.getValue(), &number) || number < least || number > most)
      wrong = absl::StrCat("--", option.ArgStr.str(), "=", option.getValue(), ": expected a whole number ", range);
    else
      value = static_cast<T>(number);
  }
  void real(const Text &option, double least, double most, const char *range, double &value) {
    if (!option.isGiven() || wrong)
      return;
    if (!absl::SimpleAtod(option.getValue(), &value) || !(value >= least && value <= most))
      wrong = absl::StrCat("--", option.ArgStr.str(), "=", option.getValue(), ": expected a number ", range);
  }
  std::optional<std::string> wrong;
};

} // namespace

// A returned sentence says what is wrong; so do those below.
static std::optional<std::string> readNumbers(RunRequest &request) {
  constexpr int64_t kMany = int64_t(1) << 40;
  NumberReader read;
  read.whole(stepCount, 1, kMany, "of 1 or more", request.steps);
  read.whole(epochCount, 1, kMany, "of 1 or more", request.epochs);
  read.whole(globalBatch, 1, kMany, "from 1 to 2^40", request.import.batch);
  read.whole(sequenceLength, 1, int64_t(1) << 32, "from 1 to 2^32", request.import.sequenceLength);
  read.whole(evaluateEvery, 1, kMany, "of 1 or more", request.evaluateEvery);
  read.whole(checkpointEvery, 1, kMany, "of 1 or more", request.checkpointEvery);
  read.whole(logEvery, 1, kMany, "of 1 or more", request.logEvery);
  read.whole(warmupSteps, 0, kMany, "of 0 or more", request.schedule.warmupSteps);
  read.whole(threads, 1, 1024, "from 1 to 1024", request.execute.threads);
  read.real(speed, 1e-6, 1e9, "from 0.000001 to 1000000000", request.speed);
  read.real(learningRate, 0, 1e6, "of 0 or more", request.optimizer.learningRate);
  read.real(weightDecay, 0, 1e6, "of 0 or more", request.optimizer.weightDecay);
  read.real(memoryRatio, 1e-6, 1, "of more than 0, and 1 at most", request.memoryRatio);
  if (uint64_t number = 0; seed.isGiven() && !read.wrong) {
    if (!absl::SimpleAtoi(seed.getValue(), &number) || number > INT64_MAX)
      return absl::StrCat("--seed=", seed.getValue(), ": expected a whole number of 0 or more");
    request.seed = static_cast<int64_t>(number);
    request.execute.seed = number;
  }
  return read.wrong;
}

static std::optional<std::string> readNames(RunRequest &request) {
  auto wrong = [](const Text &option, absl::string_view reason) {
    return absl::StrCat("--", option.ArgStr.str(), "=", option.getValue(), ": ", reason);
  };
  if (dtype.isGiven() && dtype != "exported" && dtype != "float64")
    return absl::StrCat("--dtype=", dtype.getValue(), " is not known; expected exported or float64");
  request.execute.float64 = dtype == "float64";
  if (space.isGiven() && space != "moai")
    return absl::StrCat("--space=", space.getValue(), " is not known; expected moai");
  if (generation.isGiven()) {
    auto release = parseGeneration(generation);
    if (!release.ok())
      return wrong(generation, release.status().message());
    request.generation = *release;
  }
  auto policy = parseOptimizer(optimizerText.isGiven() ? optimizerText.getValue() : "adamw");
  if (!policy.ok())
    return wrong(optimizerText, policy.status().message());
  request.optimizer = *policy;
  if (precisionText.isGiven()) {
    auto precision = parsePrecision(precisionText.getValue());
    if (!precision.ok())
      return wrong(precisionText, precision.status().message());
    request.precision = *precision;
  }
  if (dataFormat.isGiven()) {
    auto format = parseDataFormat(dataFormat.getValue());
    if (!format.ok())
      return wrong(dataFormat, format.status().message());
    request.format = *format;
  }
  if (learningRateSchedule.isGiven()) {
    auto shape = parseLearningRateShape(learningRateSchedule.getValue());
    if (!shape.ok())
      return wrong(learningRateSchedule, shape.status().message());
    request.schedule.shape = *shape;
  }
  if (deviceMemory.isGiven()) {
    request.deviceMemory = parseBytes(deviceMemory.getValue());
    if (!request.deviceMemory)
      return wrong(deviceMemory, "expected an amount of memory, as in 64MiB");
  }
  return std::nullopt;
}

// Options that only one of the ways to run has a use for.
static std::optional<std::string> findContradiction() {
  if (dryRun)
    for (const Text *option : {&data, &dataFormat, &epochCount, &evaluationData, &evaluateEvery, &save, &load, &checkpointEvery, &metrics,
                               &plot, &inputs, &weights, &saveStep})
      if (option->isGiven())
        return absl::StrCat("--dry-run trains nothing, so --", option->ArgStr.str(), " contradicts it; leave one of them out");
  if (speed.isGiven() && !dryRun)
    return "--speed is for --dry-run; give that as well";
  if (accelerator == "none" && (dryRun || configText.isGiven()))
    return absl::StrCat("--accelerator=none is one plain device, so --", dryRun ? "dry-run" : "config",
                        " contradicts it; leave one of them out");
  if (configText.isGiven() && (space.isGiven() || generation.isGiven()))
    return absl::StrCat("--config runs one configuration, so --", space.isGiven() ? "space" : "maf",
                        " contradicts it; leave one of them out");
  if (data.isGiven()) {
    for (const Text *option : {&inputs, &saveStep})
      if (option->isGiven())
        return absl::StrCat("--data gives every step another batch, so --", option->ArgStr.str(), " contradicts it; leave one of them out");
    if (stepCount.isGiven() && epochCount.isGiven())
      return "--steps and --epochs contradict each other; give one of them";
    if (load.isGiven() && weights.isGiven())
      return "--load has weights of its own, so --weights contradicts it; leave one of them out";
    if (checkpointEvery.isGiven() && !save.isGiven())
      return "--checkpoint-every needs a folder to write to; give --save as well";
    if (evaluateEvery.isGiven() && !evaluationData.isGiven())
      return "--eval-every needs samples; give --eval-data as well";
    return std::nullopt;
  }
  if (dryRun)
    return std::nullopt;
  if (accelerator.isGiven() && accelerator != "none")
    return absl::StrCat("--accelerator=", accelerator.getValue(),
                        " is for training on --data, or for --dry-run; give one of them, or none to run the graph as it was exported");
  for (const Text *option : {&dataFormat, &epochCount, &evaluationData, &evaluateEvery, &learningRateSchedule, &warmupSteps, &save, &load,
                             &checkpointEvery, &logEvery, &metrics, &plot, &space, &generation, &memoryRatio})
    if (option->isGiven())
      return absl::StrCat("--", option->ArgStr.str(), " is for training on --data; give that as well");
  return std::nullopt;
}

std::optional<int> moai::readRequest(int argc, char **argv, RunRequest &request) {
  cl::HideUnrelatedOptions(category);
  if (!parseCommandLine(argc, argv, "moai-run", kOverview))
    return kUsageError;
  if (model.empty())
    return failUsage("name a model, as in moai-run MODEL.pt2");
  request.command = describeCommand(argc, argv);
  request.import.bufferUpdates = true;
  request.execute.threads = 0;
  std::optional<std::string> wrong = readNames(request);
  if (!wrong)
    wrong = readNumbers(request);
  if (!wrong)
    wrong = findContradiction();
  if (wrong)
    return failUsage(*wrong);
  request.model = model;
  request.config = configText;
  request.shuffle = !noShuffle;
  request.dryRun = dryRun;
  if (accelerator.isGiven())
    request.accelerator = accelerator.getValue();
  for (auto [option, value] : {std::pair(&weights, &request.weights),
                               {&inputs, &request.inputs},
                               {&saveStep, &request.saveStep},
                               {&data, &request.data},
                               {&evaluationData, &request.evaluationData},
                               {&save, &request.save},
                               {&load, &request.load},
                               {&metrics, &request.metrics},
                               {&plot, &request.plot}}) {
    if (option->isGiven() && option->empty())
      return failUsage(absl::StrCat("--", option->ArgStr.str(), " names nothing; leave it out, or give it a value"));
    *value = option->getValue();
  }
  return std::nullopt;
}
