//===- TrainingRun.cpp - Training steps on virtual devices -----------------===//
#include "moai/Execute/TrainingRun.h"
#include "Devices/Collectives.h"
#include "GraphArguments.h"
#include "Kernels/Kernels.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
  if (absl::Status status = run.place(); !status.ok())
    return status;
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

absl::Status TrainingRun::placeInput(int64_t device, size_t number, const Tensor &whole) {
  const ParallelConfig &config = grid->config();
  const DeviceGrid::Argument &argument = grid->arguments(grid->mesh().stageOf(device))[number];
  for (int64_t microBatch = 0; microBatch < config.numMicroBatches; ++microBatch) {
    int64_t sample = (grid->mesh().replicaOf(device) * config.numMicroBatches + microBatch) * config.batchPerDevice;
    SmallVector<int64_t> begin;
    for (int64_t multiple : argument.batchMultiple)
      begin.push_back(sample * multiple);
    if (absl::Status status = grid->set(device, number, std::make_shared<Tensor>(slice(whole, begin, argument.shape)), microBatch);
        !status.ok())
      return status;
  }
  return absl::OkStatus();
}

Tensor TrainingRun::initialTensor(const DeviceGrid::Argument &argument, int64_t replica) const {
  if (StringRef(argument.role).ends_with("_moment"))
    return Tensor(argument.shape);
  TensorList whole;
  for (const std::string &name : argument.names)
    whole.push_back(model->find(name)->tensor);
  Tensor tensor = argument.isShard ? shardOf(whole, grid->mesh().numReplicas(), replica) : *whole.front();
  roundTo(argument.elementType, tensor.values);
  return tensor;
}

absl::Status TrainingRun::place() {
  for (int64_t device = 0; device < grid->numDevices(); ++device)
    for (auto [number, argument] : llvm::enumerate(grid->arguments(grid->mesh().stageOf(device)))) {
      absl::Status status;
      if (argument.role == "gradient_accumulator")
        continue;
      if (argument.role != "input")
        status = grid->set(device, number, std::make_shared<Tensor>(initialTensor(argument, grid->mesh().replicaOf(device))));
      else if (const ModelTensor *input = model->find(argument.names.front()); input->tensor)
        status = placeInput(device, number, *input->tensor);
      if (!status.ok())
        return status;
    }
  return absl::OkStatus();
}

absl::Status TrainingRun::setBatch(const Batch &batch) {
  for (int64_t device = 0; device < grid->numDevices(); ++device)
    for (auto [number, argument] : llvm::enumerate(grid->arguments(grid->mesh().stageOf(device)))) {
      if (argument.role != "input")
        continue;
      auto given = batch.find(argument.names.front());
      if (given == batch.end())
        return absl::InvalidArgumentError(absl::StrCat("the batch has no input '", argument.names.front(), "', which the graph takes"));
      if (absl::Status status = placeInput(device, number, *given->second); !status.ok())
        return status;
    }
  return absl::OkStatus();
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

std::vector<std::pair<const ModelTensor *, TensorView>> TrainingRun::view(int64_t stage, size_t number) const {
  const DeviceGrid::Argument &argument = grid->arguments(stage)[number];
  std::string type = grid->computesInDouble() ? "F64" : storedTypeOf(argument.elementType);
  int64_t first = grid->mesh().firstOfStage(stage), at = 0;
  std::vector<std::pair<const ModelTensor *, TensorView>> views;
  for (const std::string &name : argument.names) {
    const ModelTensor *tensor = model->find(name);
    TensorView view{type, tensor->tensor->shape, {}};
    if (!argument.isShard)
      view.pieces.push_back({grid->get(first, number), 0, tensor->tensor->size()});
    // All tensors lie one after the other in the shards.
    for (int64_t end = at + tensor->tensor->size(); argument.isShard && at < end;) {
      int64_t length = argument.shape.front(), begin = at % length, count = std::min(end - at, length - begin);
      int64_t holder = grid->mesh().memberAt(first, AxisSet::data(), at / length);
      view.pieces.push_back({grid->get(holder, number), begin, count});
      at += count;
    }
    views.push_back({tensor, std::move(view)});
  }
  return views;
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

absl::StatusOr<TrainingRun::Step> TrainingRun::run(bool keepGradients, double learningRateFactor) {
  // By stage and argument, then by replica.
  llvm::MapVector<std::pair<int64_t, size_t>, Parts> gradients;
  DeviceGrid::GradientSink sink;
  if (keepGradients)
    sink = [&](int64_t device, size_t argument, const Tensor &gradient) {
      Parts &parts = gradients[{grid->mesh().stageOf(device), argument}];
      parts.resize(grid->mesh().numReplicas());
      parts[grid->mesh().replicaOf(device)] = std::make_shared<Tensor>(gradient);
    };
  absl::StatusOr<double> loss = grid->runStep(++numSteps, learningRateFactor, sink);
  if (!loss.ok())
    return loss.status();
  Step step;
  step.loss = *loss;
  for (auto &[place, parts] : gradients)
    for (auto &[tensor, gradient] : join(grid->arguments(place.first)[place.second], parts))
      store(step.gradients, "grad.", *tensor, std::move(gradient));
  return step;
}

//===----------------------------------------------------------------------===//
// What steps leave
//===----------------------------------------------------------------------===//

static bool isChangedBuffer(const DeviceGrid::Argument &argument) { return argument.role == "buffer" && argument.isUpdated; }

StoredTensors TrainingRun::state() const {
  StoredTensors tensors;
  for (int64_t stage = 0; stage < grid->config().numStages; ++stage)
    for (auto [number, argument] : llvm::enumerate(grid->arguments(stage)))
      if (isChangedBuffer(argument) || (isParameter(argument) && argument.isUpdated))
        for (auto &[tensor, content] : view(stage, number))
          store(tensors, isChangedBuffer(argument) ? "updated_buffer." : "updated.", *tensor, content.read().tensor);
  return tensors;
}

TensorViews TrainingRun::weights() const {
  TensorViews views;
  auto add = [&](const ModelTensor &tensor, TensorView view) {
    if (!grid->computesInDouble())
      view.type = tensor.type;
    for (const std::string &alias : tensor.aliases)
      views[alias] = view;
    views[tensor.name] = std::move(view);
  };
  for (const ModelTensor &tensor : model->all())
    if (tensor.role == "frozen")
      add(tensor, {tensor.type, tensor.tensor->shape, {{tensor.tensor, 0, tensor.tensor->size()}}});
  for (int64_t stage = 0; stage < grid->config().numStages; ++stage)
    for (auto [number, argument] : llvm::enumerate(grid->arguments(stage)))
      if (isChangedBuffer(argument) || (isParameter(argument) && argument.isUpdated))
        for (auto &[tensor, content] : view(stage, number))
          add(*tensor, std::move(content));
  return views;
}

StringRef TrainingRun::statePrefix(const DeviceGrid::Argument &argument) {
  if (!argument.isUpdated || argument.role == "gradient_accumulator")
    return "";
  return argument.role == "master_parameter" ? "parameter" : StringRef(argument.role);
}

// A parameter beside its master is that, rounded; a tied one is the same on all its stages.
TensorViews TrainingRun::trainingState() const {
  TensorViews views;
  for (bool isMaster : {true, false})
    for (int64_t stage = 0; stage < grid->config().numStages; ++stage)
      for (auto [number, argument] : llvm::enumerate(grid->arguments(stage))) {
        StringRef prefix = statePrefix(argument);
        if (prefix.empty() || isMaster != (argument.role == "master_parameter"))
          continue;
        for (auto &[tensor, content] : view(stage, number))
          views.try_emplace(absl::StrCat(prefix.str(), ".", tensor->name), std::move(content));
      }
  for (const ModelTensor &tensor : model->all())
    if (tensor.role != "input" && !views.count("parameter." + tensor.name) && !views.count("buffer." + tensor.name))
      views["fixed." + tensor.name] = {tensor.type, tensor.tensor->shape, {{tensor.tensor, 0, tensor.tensor->size()}}};
  return views;
}

absl::Status TrainingRun::restore(const StoredTensors &state, int64_t steps) {
  std::vector<std::tuple<int64_t, size_t, std::shared_ptr<Tensor>>> restored;
  for (int64_t device = 0; device < grid->numDevices(); ++device)
    for (auto [number, argument] : llvm::enumerate(grid->arguments(grid->mesh().stageOf(device)))) {
      StringRef prefix = statePrefix(argument);
      if (prefix.empty())
        continue;
      TensorList whole;
      for (const std::string &name : argument.names) {
        auto found = state.find(absl::StrCat(prefix.str(), ".", name));
        if (found == state.end())
          return absl::InvalidArgumentError(absl::StrCat("has no tensor '", prefix.str(), ".", name, "', which this training needs"));
        const Tensor &tensor = found->second.tensor;
        if (const Tensor &expected = *model->find(name)->tensor; tensor.shape != expected.shape)
          return absl::InvalidArgumentError(absl::StrCat("tensor '", found->first, "' has the shape [", absl::StrJoin(tensor.shape, ", "),
                                                         "], the model has [", absl::StrJoin(expected.shape, ", "), "]"));
        // Not owned: the state outlives this.
        whole.push_back(std::shared_ptr<const Tensor>(std::shared_ptr<const Tensor>(), &tensor));
      }
      Tensor tensor = argument.isShard ? shardOf(whole, grid->mesh().numReplicas(), grid->mesh().replicaOf(device)) : *whole.front();
      if (!grid->computesInDouble())
        roundTo(argument.elementType, tensor.values);
      restored.push_back({device, number, std::make_shared<Tensor>(std::move(tensor))});
    }
  for (auto &[device, number, tensor] : restored)
    if (absl::Status status = grid->set(device, number, std::move(tensor)); !status.ok())
      return status;
  numSteps = steps;
  return absl::OkStatus();
}
