//===- DeviceGrid.cpp - A compiled candidate on virtual devices ------------===//
#include "moai/Execute/DeviceGrid.h"
#include "StageTasks.h"
#include "absl/strings/str_cat.h"
#include <cmath>

using namespace mlir;
using namespace moai;

struct DeviceGrid::State {
  State(ModuleOp program, const ExecuteOptions &options) : functions(program, getBinding(program)), options(options) {}

  FunctionTable functions;
  ExecuteOptions options;
  KernelTable kernels;
  ParallelConfig config;
  std::vector<StageFacts> stages;
  std::vector<std::unique_ptr<StageTasks>> devices;
  double lossShare = 1; ///< of one micro-batch's loss in the step's

  absl::StatusOr<double> runStep(const ExecuteOptions &stepOptions, const GradientSink &onGradient);
};

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
  if (state->config.numDevices() != state->config.numStages * state->config.dataParallel)
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
  for (int64_t device = 0; device < state->config.numDevices(); ++device) {
    DevicePlace place{device / state->config.dataParallel, device % state->config.dataParallel, state->config.dataParallel};
    state->devices.push_back(std::make_unique<StageTasks>(state->stages[place.stage], state->functions, state->kernels, options, place));
  }
  return std::unique_ptr<DeviceGrid>(new DeviceGrid(std::move(state)));
}

DeviceGrid::DeviceGrid(std::unique_ptr<State> state) : state(std::move(state)) {}
DeviceGrid::~DeviceGrid() = default;

const ParallelConfig &DeviceGrid::config() const { return state->config; }
llvm::ArrayRef<DeviceGrid::Argument> DeviceGrid::arguments(int64_t stage) const { return state->stages[stage].arguments; }

void DeviceGrid::set(int64_t device, size_t argument, TensorPtr tensor, int64_t microBatch) {
  state->devices[device]->set(argument, std::move(tensor), microBatch);
}

DeviceGrid::TensorPtr DeviceGrid::get(int64_t device, size_t argument) const { return state->devices[device]->get(argument); }
int64_t DeviceGrid::peakBytes(int64_t device) const { return state->devices[device]->device.memory.peak; }
llvm::ArrayRef<int64_t> DeviceGrid::memoryCurve(int64_t device) const { return state->devices[device]->device.memory.curve; }

bool DeviceGrid::computesInDouble() const { return state->options.float64; }

absl::StatusOr<double> DeviceGrid::State::runStep(const ExecuteOptions &stepOptions, const GradientSink &onGradient) {
  Rendezvous rendezvous;
  std::vector<StageTasks *> running;
  for (auto &device : devices) {
    device->beginStep(stepOptions, onGradient);
    running.push_back(device.get());
  }
  // As long as any device gets further, those that wait may be able to go on.
  while (!running.empty()) {
    std::vector<StageTasks *> waiting;
    bool moved = false;
    for (StageTasks *device : running) {
      size_t before = device->device.opsRun();
      auto progress = device->run(rendezvous);
      if (!progress.ok())
        return progress.status();
      moved |= device->device.opsRun() != before || *progress == StageTasks::Progress::Finished;
      if (*progress == StageTasks::Progress::Waiting)
        waiting.push_back(device);
    }
    if (!moved)
      return absl::InternalError(absl::StrCat("the devices wait for each other: ", waiting.front()->device.describePosition(), ", ",
                                              waiting.back()->device.describePosition()));
    running = std::move(waiting);
  }
  if (!rendezvous.isEmpty())
    return absl::InternalError("a message or a collective's result was left over at the end of the step");
  double loss = 0;
  for (auto &device : devices)
    for (double part : device->losses)
      loss += part * lossShare;
  return loss;
}

absl::StatusOr<double> DeviceGrid::runStep(int64_t step, const GradientSink &onGradient) {
  ExecuteOptions options = state->options;
  options.step = step;
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
