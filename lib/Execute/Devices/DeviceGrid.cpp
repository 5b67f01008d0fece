//===- DeviceGrid.cpp - A compiled candidate on virtual devices ------------===//
#include "moai/Execute/DeviceGrid.h"
#include "StageTasks.h"
#include "absl/strings/str_cat.h"
#include <chrono>
#include <cmath>
#include <mutex>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

using namespace mlir;
using namespace moai;
namespace tbb = oneapi::tbb;

struct DeviceGrid::State {
  State(ModuleOp program, const ExecuteOptions &options);
  ~State();

  FunctionTable functions;
  ExecuteOptions options;
  MLIRContext *context;
  bool guardsContext; ///< as long as this lives
  std::optional<tbb::global_control> allowedThreads;
  KernelTable kernels;
  ParallelConfig config;
  DeviceMesh mesh;
  std::vector<StageFacts> stages;
  std::vector<std::unique_ptr<StageTasks>> devices;
  double lossShare = 1; ///< of one micro-batch's loss in the step's
  std::atomic<int64_t> computingNanoseconds{0};

  absl::StatusOr<double> runStep(const ExecuteOptions &stepOptions, const GradientSink &onGradient);
};

// Ops make attributes of their own while they run (of what their defaults are), which a context guards only if it is told to.
DeviceGrid::State::State(ModuleOp program, const ExecuteOptions &options)
    : functions(program, getBinding(program)), options(options), context(program.getContext()),
      guardsContext(options.threads != 1 && !context->isMultithreadingEnabled()) {
  if (guardsContext)
    context->enableMultithreading();
  // More than cores, where that is asked for.
  if (options.threads > 1)
    allowedThreads.emplace(tbb::global_control::max_allowed_parallelism, options.threads);
}

DeviceGrid::State::~State() {
  if (guardsContext)
    context->disableMultithreading();
}

// The seed of the backward is what a micro-batch's loss contributes.
static double findLossShare(ModuleOp program) {
  double share = 1;
  program.walk([&](GenerateOp generate) {
    if (generate->hasAttr(attrs::kSeed))
      share = generate.getScalars()[0];
  });
  return share;
}

absl::StatusOr<std::unique_ptr<DeviceGrid>> DeviceGrid::create(ModuleOp program, const ExecuteOptions &options) {
  auto state = std::make_unique<State>(program, options);
  auto config = program->getAttrOfType<ConfigAttr>(attrs::kConfig);
  if (!config)
    return absl::InvalidArgumentError("the module has no moai.config, so it is no compiled candidate");
  state->config = *parseConfig(config.getText());
  state->mesh = DeviceMesh(state->config);
  if (state->mesh.size(~(AxisSet::data() | MeshAxis::Stage)) > 1)
    return absl::InvalidArgumentError("the configuration splits by other axes than stages and data, which devices can't run");
  addAllKernels(state->kernels);
  for (int64_t stage = 0; stage < state->config.numStages; ++stage) {
    auto function = program.lookupSymbol<func::FuncOp>(absl::StrCat("stage", stage));
    if (!function || !function->hasAttr(attrs::kSchedule))
      return absl::InvalidArgumentError(absl::StrCat("the module has no function @stage", stage, " with a schedule"));
    if (program.walk([](RepeatOp) { return WalkResult::interrupt(); }).wasInterrupted())
      return absl::InvalidArgumentError(
          "the module repeats blocks in one op, which devices can't run; unroll them first (moai-unroll-blocks)");
    auto facts = StageFacts::read(function, state->config, getBinding(program));
    if (!facts.ok())
      return facts.status();
    state->stages.push_back(std::move(*facts));
  }
  state->lossShare = findLossShare(program);
  state->functions.prepare();
  for (int64_t device = 0; device < state->mesh.numDevices(); ++device)
    state->devices.push_back(std::make_unique<StageTasks>(state->stages[state->mesh.stageOf(device)], state->functions, state->kernels,
                                                          options, DevicePlace{state->mesh, device}));
  return std::unique_ptr<DeviceGrid>(new DeviceGrid(std::move(state)));
}

DeviceGrid::DeviceGrid(std::unique_ptr<State> state) : state(std::move(state)) {}
DeviceGrid::~DeviceGrid() = default;

const ParallelConfig &DeviceGrid::config() const { return state->config; }
const DeviceMesh &DeviceGrid::mesh() const { return state->mesh; }
llvm::ArrayRef<DeviceGrid::Argument> DeviceGrid::arguments(int64_t stage) const { return state->stages[stage].arguments; }

absl::Status DeviceGrid::set(int64_t device, size_t argument, TensorPtr tensor, int64_t microBatch) {
  return state->devices[device]->set(argument, std::move(tensor), microBatch);
}

DeviceGrid::TensorPtr DeviceGrid::get(int64_t device, size_t argument) const { return state->devices[device]->get(argument); }
int64_t DeviceGrid::bytesInUse(int64_t device) const { return state->devices[device]->device.memory.live; }
int64_t DeviceGrid::peakBytes(int64_t device) const { return state->devices[device]->device.memory.peak; }
llvm::ArrayRef<int64_t> DeviceGrid::memoryCurve(int64_t device) const { return state->devices[device]->device.memory.curve; }
double DeviceGrid::busySeconds(int64_t device) const { return static_cast<double>(state->devices[device]->busyNanoseconds) * 1e-9; }

double DeviceGrid::computingSeconds() const { return static_cast<double>(state->computingNanoseconds) * 1e-9; }

bool DeviceGrid::computesInDouble() const { return state->options.float64; }

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

namespace {
/// Runs devices as tasks of oneTBB, each until it has to wait; whoever makes that it can go on hands it out again.
class DeviceTasks {
public:
  DeviceTasks(llvm::ArrayRef<std::unique_ptr<StageTasks>> devices, int threads)
      : devices(devices), places(devices.size()), arena(threads > 0 ? threads : tbb::task_arena::automatic),
        rendezvous([this](int64_t device) { wake(device); }) {}

  /// Until no device gets further.
  absl::Status run();

private:
  enum class Progress { Running, Waiting, Finished, Failed };
  struct Place {
    Progress progress = Progress::Running;
    bool isWoken = false; ///< while it ran
    absl::Status error;
  };

  void start(size_t device) {
    group.run([this, device] { runDevice(device); });
  }
  void wake(int64_t device);
  void runDevice(size_t device);
  /// Whether it is to be run again.
  bool settle(size_t device, const absl::StatusOr<StageTasks::Progress> &result);

  llvm::ArrayRef<std::unique_ptr<StageTasks>> devices;
  std::vector<Place> places;
  std::mutex mutex; ///< of the places
  tbb::task_arena arena;
  tbb::task_group group;
  Rendezvous rendezvous;
};
} // namespace

void DeviceTasks::wake(int64_t device) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    Place &place = places[device];
    place.isWoken = true;
    if (place.progress != Progress::Waiting)
      return;
    place.progress = Progress::Running;
  }
  start(device);
}

bool DeviceTasks::settle(size_t device, const absl::StatusOr<StageTasks::Progress> &result) {
  std::lock_guard<std::mutex> lock(mutex);
  Place &place = places[device];
  if (!result.ok()) {
    place.progress = Progress::Failed;
    place.error = result.status();
  } else if (*result == StageTasks::Progress::Finished) {
    place.progress = Progress::Finished;
  } else if (!place.isWoken) {
    place.progress = Progress::Waiting;
  }
  return place.progress == Progress::Running;
}

void DeviceTasks::runDevice(size_t device) {
  auto begin = std::chrono::steady_clock::now();
  do {
    {
      std::lock_guard<std::mutex> lock(mutex);
      places[device].isWoken = false;
    }
  } while (settle(device, devices[device]->run(rendezvous)));
  devices[device]->busyNanoseconds += (std::chrono::steady_clock::now() - begin).count();
}

// All that can still run do so after one has failed, and the first in order is told: the same on any number of threads.
absl::Status DeviceTasks::run() {
  arena.execute([&] {
    for (size_t device = 0; device < devices.size(); ++device)
      start(device);
    group.wait();
  });
  for (const Place &place : places)
    if (place.progress == Progress::Failed)
      return place.error;
  std::vector<size_t> waiting;
  for (size_t device = 0; device < devices.size(); ++device)
    if (places[device].progress == Progress::Waiting)
      waiting.push_back(device);
  if (!waiting.empty())
    return absl::InternalError(absl::StrCat("the devices wait for each other: ", devices[waiting.front()]->device.describePosition(), ", ",
                                            devices[waiting.back()]->device.describePosition()));
  if (!rendezvous.isEmpty())
    return absl::InternalError("a message or a collective's result was left over at the end of the step");
  return absl::OkStatus();
}

absl::StatusOr<double> DeviceGrid::State::runStep(const ExecuteOptions &stepOptions, const GradientSink &onGradient) {
  std::mutex mutex;
  GradientSink oneAtATime;
  if (onGradient)
    oneAtATime = [&](int64_t device, size_t argument, const Tensor &gradient) {
      std::lock_guard<std::mutex> lock(mutex);
      onGradient(device, argument, gradient);
    };
  for (auto &device : devices)
    device->beginStep(stepOptions, oneAtATime);
  auto begin = std::chrono::steady_clock::now();
  absl::Status status = DeviceTasks(devices, options.threads).run();
  computingNanoseconds += (std::chrono::steady_clock::now() - begin).count();
  if (!status.ok())
    return status;
  double loss = 0;
  for (auto &device : devices)
    for (double part : device->losses)
      loss += part * lossShare;
  return loss;
}

absl::StatusOr<double> DeviceGrid::runStep(int64_t step, double learningRateFactor, const GradientSink &onGradient) {
  ExecuteOptions options = state->options;
  options.step = step;
  options.learningRateFactor = learningRateFactor;
  std::vector<TensorList> before;
  for (auto &device : state->devices)
    before.push_back(device->snapshot());
  absl::StatusOr<double> loss = state->runStep(options, onGradient);
  auto holdsNan = [](const auto &device) { return device->holdsNan(); };
  if (!loss.ok() || (!std::isnan(*loss) && llvm::none_of(state->devices, holdsNan)))
    return loss;
  // Once more, to find where it comes from.
  for (auto [device, tensors] : llvm::zip(state->devices, before))
    device->restore(tensors);
  options.stopAtNan = true;
  return state->runStep(options, nullptr);
}

absl::StatusOr<double> DeviceGrid::evaluate() {
  ExecuteOptions options = state->options;
  options.isEvaluation = true;
  return state->runStep(options, nullptr);
}
