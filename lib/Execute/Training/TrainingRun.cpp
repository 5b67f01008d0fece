//===- TrainingRun.cpp - Training steps on virtual devices -----------------===//
#include "moai/Execute/TrainingRun.h"
#include "Devices/Collectives.h"
#include "Kernels/Kernels.h"
#include "absl/strings/str_cat.h"
#include "llvm/ADT/MapVector.h"
#include <cmath>

using namespace mlir;
using namespace moai;

absl::StatusOr<TrainingRun> TrainingRun::create(const ModelTensors &model, ModuleOp program, const ExecuteOptions &options) {
  auto grid = DeviceGrid::create(program, options);
  if (!grid.ok())
    return grid.status();
  if ((*grid)->config().globalBatch() != model.batch())
    return absl::InvalidArgumentError(absl::StrCat("the configuration is for a batch of ", (*grid)->config().globalBatch(),
                                                   ", the inputs hold ", model.batch(), " samples"));
  TrainingRun run(model, std::move(*grid));
  run.place();
  return run;
}

//===----------------------------------------------------------------------===//
// Tensors to devices and back
//===----------------------------------------------------------------------===//

static bool isParameter(const DeviceGrid::Argument &argument) {
  return argument.role == "parameter" || argument.role == "master_parameter";
}

// Positions [begin, begin + shape) of a tensor.
static Tensor slice(const Tensor &whole, ArrayRef<int64_t> begin, ArrayRef<int64_t> shape) {
  Tensor part{shape};
  Offsets strides = rowMajorStrides(whole.shape);
  int64_t first = 0;
  for (size_t i = 0; i < begin.size(); ++i)
    first += begin[i] * strides[i];
  size_t next = 0;
  walk<1>(shape, {strides}, [&](auto at) { part.values[next++] = whole.values[first + at[0]]; });
  return part;
}

void TrainingRun::placeInput(int64_t device, size_t number, const Tensor &whole) {
  const ParallelConfig &config = grid->config();
  const DeviceGrid::Argument &argument = grid->arguments(grid->stageOf(device))[number];
  for (int64_t microBatch = 0; microBatch < config.numMicroBatches; ++microBatch) {
    int64_t sample = (grid->replicaOf(device) * config.numMicroBatches + microBatch) * config.batchPerDevice;
    SmallVector<int64_t> begin;
    for (int64_t multiple : argument.batchMultiple)
      begin.push_back(sample * multiple);
    grid->set(device, number, std::make_shared<Tensor>(slice(whole, begin, argument.shape)), microBatch);
  }
}

void TrainingRun::place() {
  for (int64_t device = 0; device < grid->numDevices(); ++device)
    for (auto [number, argument] : llvm::enumerate(grid->arguments(grid->stageOf(device)))) {
      if (argument.role == "gradient_accumulator")
        continue;
      Tensor tensor(argument.shape);
      if (!StringRef(argument.role).ends_with("_moment")) {
        TensorList whole;
        for (const std::string &name : argument.names)
          whole.push_back(model->find(name)->tensor);
        if (argument.role == "input") {
          placeInput(device, number, *whole.front());
          continue;
        }
        tensor = argument.isShard ? shardOf(whole, grid->config().dataParallel, grid->replicaOf(device)) : *whole.front();
        roundTo(argument.elementType, tensor.values);
      }
      grid->set(device, number, std::make_shared<Tensor>(std::move(tensor)));
    }
}

std::vector<std::pair<const ModelTensor *, Tensor>> TrainingRun::join(const DeviceGrid::Argument &argument, const Parts &parts) const {
  std::vector<std::pair<const ModelTensor *, Tensor>> whole;
  if (!argument.isShard)
    return {{model->find(argument.names.front()), *parts.front()}};
  SmallVector<SmallVector<int64_t, 4>> shapes;
  for (const std::string &name : argument.names)
    shapes.push_back(model->find(name)->tensor->shape);
  for (auto [name, tensor] : llvm::zip(argument.names, joinShards(parts, shapes)))
    whole.push_back({model->find(name), std::move(tensor)});
  return whole;
}

void TrainingRun::store(StoredTensors &into, StringRef prefix, const ModelTensor &tensor, Tensor content) const {
  if (!grid->computesInDouble())
    roundTo(tensor.elementType, content.values);
  for (const std::string &alias : tensor.aliases)
    into[(prefix + alias).str()] = {tensor.type, content};
  into[(prefix + tensor.name).str()] = {tensor.type, std::move(content)};
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

absl::StatusOr<TrainingRun::Step> TrainingRun::run(bool keepGradients) {
  // By stage and argument, then by replica.
  llvm::MapVector<std::pair<int64_t, size_t>, Parts> gradients;
  DeviceGrid::GradientSink sink;
  if (keepGradients)
    sink = [&](int64_t device, size_t argument, const Tensor &gradient) {
      Parts &parts = gradients[{grid->stageOf(device), argument}];
      parts.resize(grid->config().dataParallel);
      parts[grid->replicaOf(device)] = std::make_shared<Tensor>(gradient);
    };
  absl::StatusOr<double> loss = grid->runStep(++steps, sink);
  if (!loss.ok())
    return loss.status();
  Step step;
  step.loss = *loss;
  for (auto &[place, parts] : gradients)
    for (auto &[tensor, gradient] : join(grid->arguments(place.first)[place.second], parts))
      store(step.gradients, "grad.", *tensor, std::move(gradient));
  return step;
}

StoredTensors TrainingRun::state() const {
  StoredTensors tensors;
  for (int64_t stage = 0; stage < grid->config().numStages; ++stage)
    for (auto [number, argument] : llvm::enumerate(grid->arguments(stage))) {
      bool isBuffer = argument.role == "buffer" && argument.isUpdated;
      if (!isBuffer && !(isParameter(argument) && argument.isUpdated))
        continue;
      Parts parts;
      for (int64_t replica = 0; replica < grid->config().dataParallel; ++replica)
        parts.push_back(grid->get(stage * grid->config().dataParallel + replica, number));
      for (auto &[tensor, content] : join(argument, parts))
        store(tensors, isBuffer ? "updated_buffer." : "updated.", *tensor, std::move(content));
    }
  return tensors;
}
