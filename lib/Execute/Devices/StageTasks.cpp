//===- StageTasks.cpp - One device's way through a step --------------------===//
#include "StageTasks.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <cmath>

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// What a stage's function says
//===----------------------------------------------------------------------===//

static DeviceGrid::Argument readArgument(func::FuncOp stage, BlockArgument value, const DimBinding &binding) {
  DeviceGrid::Argument argument;
  unsigned number = value.getArgNumber();
  if (auto role = stage.getArgAttrOfType<StringAttr>(number, attrs::kRole))
    argument.role = role.str();
  Attribute name = stage.getArgAttr(number, attrs::kName);
  if (auto single = dyn_cast_if_present<StringAttr>(name))
    argument.names.push_back(single.str());
  if (auto several = dyn_cast_if_present<ArrayAttr>(name)) {
    argument.isShard = true;
    for (auto each : several.getAsRange<StringAttr>())
      argument.names.push_back(each.str());
  }
  SymTensorType type = tensorOf(value);
  argument.elementType = type.getElementType();
  argument.shape = concreteShape(type, binding);
  argument.batchMultiple.assign(argument.shape.size(), 0);
  for (auto [index, dim] : llvm::enumerate(type.getShape()))
    if (dim.degreeIn(kBatchSymbol))
      argument.batchMultiple[index] = argument.shape[index] / binding.values[kBatchSymbol];
  return argument;
}

// Results of the backward that are accumulators, one micro-batch further on.
static std::vector<std::pair<unsigned, unsigned>> findCarried(func::CallOp backward, func::FuncOp function) {
  std::vector<std::pair<unsigned, unsigned>> carried;
  for (auto [index, value] : llvm::enumerate(function.getBody().front().getTerminator()->getOperands()))
    if (auto accumulate = value.getDefiningOp<AccumulateOp>()) {
      auto accumulator = cast<BlockArgument>(accumulate.getUpdatedOperand(cast<OpResult>(value).getResultNumber()));
      carried.push_back({cast<BlockArgument>(backward.getOperand(accumulator.getArgNumber())).getArgNumber(), index});
    }
  return carried;
}

absl::StatusOr<StageFacts> StageFacts::read(func::FuncOp stage, const ParallelConfig &config, const DimBinding &binding) {
  StageFacts facts;
  facts.config = config;
  facts.function = stage;
  for (auto call : stage.getOps<func::CallOp>()) {
    StringRef part = call.getCallee().rsplit('.').second;
    func::CallOp *known = part == "load"       ? &facts.load
                          : part == "forward"  ? &facts.forward
                          : part == "backward" ? &facts.backward
                          : part == "update"   ? &facts.update
                                               : nullptr;
    if (!known)
      return absl::InvalidArgumentError(
          absl::StrCat("@", stage.getName().str(), " calls @", call.getCallee().str(), ", which is no part of a stage"));
    *known = call;
  }
  auto schedule = stage->getAttrOfType<DenseI64ArrayAttr>(attrs::kSchedule);
  facts.schedule.assign(schedule.asArrayRef().begin(), schedule.asArrayRef().end());
  for (BlockArgument argument : stage.getArguments())
    facts.arguments.push_back(readArgument(stage, argument, binding));
  if (facts.backward)
    facts.carried = findCarried(facts.backward, stage->getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(facts.backward.getCallee()));
  for (unsigned i = 0; i < stage.getNumResults(); ++i) {
    auto attribute = stage.getResultAttrOfType<IntegerAttr>(i, attrs::kUpdates);
    auto role = stage.getResultAttrOfType<StringAttr>(i, attrs::kRole);
    int64_t updated = attribute ? attribute.getInt() : -1;
    if (updated >= stage.getNumArguments() || (!attribute && !(role && role == "loss")))
      return absl::InvalidArgumentError(
          absl::StrCat("result ", i, " of @", stage.getName().str(), " is neither the loss nor the next value of an argument"));
    facts.updates.push_back(updated);
    if (updated >= 0)
      facts.arguments[updated].isUpdated = true;
  }
  return facts;
}

//===----------------------------------------------------------------------===//
// Arguments
//===----------------------------------------------------------------------===//

StageTasks::StageTasks(const StageFacts &facts, FunctionTable &functions, const KernelTable &kernels, const ExecuteOptions &options,
                       const DevicePlace &place)
    : device(functions, kernels, options, place), facts(facts), functions(functions), place(place), arguments(facts.arguments.size()),
      inputs(facts.arguments.size()) {
  for (size_t i = 0; i < arguments.size(); ++i)
    if (facts.arguments[i].role == "gradient_accumulator")
      arguments[i] = device.allocate(nullptr, facts.function.getArgument(i));
}

absl::Status StageTasks::set(size_t argument, std::shared_ptr<const Tensor> tensor, int64_t microBatch) {
  const DeviceGrid::Argument &described = facts.arguments[argument];
  DeviceValue *value = &arguments[argument];
  if (described.role == "input") {
    inputs[argument].resize(std::max<size_t>(inputs[argument].size(), microBatch + 1));
    value = &inputs[argument][microBatch];
  }
  *value = DeviceValue();
  absl::StatusOr<DeviceValue> placed = device.place(std::move(tensor), facts.function.getArgument(argument),
                                                    absl::StrCat(described.role, " ", absl::StrJoin(described.names, ", ")));
  if (!placed.ok())
    return placed.status();
  *value = std::move(*placed);
  return absl::OkStatus();
}

std::shared_ptr<const Tensor> StageTasks::get(size_t argument) const { return arguments[argument].tensor; }

TensorList StageTasks::snapshot() const {
  TensorList tensors;
  for (const DeviceValue &argument : arguments)
    tensors.push_back(argument.tensor);
  return tensors;
}

void StageTasks::restore(const TensorList &tensors) {
  for (auto [argument, tensor] : llvm::zip(arguments, tensors))
    argument.tensor = tensor;
}

bool StageTasks::holdsNan() const {
  for (auto [argument, described] : llvm::zip(arguments, facts.arguments))
    if (described.isUpdated && llvm::any_of(argument.tensor->values, [](double value) { return std::isnan(value); }))
      return true;
  return false;
}

//===----------------------------------------------------------------------===//
// A step
//===----------------------------------------------------------------------===//

void StageTasks::beginStep(const ExecuteOptions &options, const DeviceGrid::GradientSink &onGradient) {
  task = 0;
  isEvaluation = options.isEvaluation;
  isRunning = false;
  losses.clear();
  device.beginStep(options);
  for (size_t i = 0; i < arguments.size(); ++i)
    if (facts.arguments[i].role == "gradient_accumulator")
      arguments[i].tensor = std::make_shared<Tensor>(facts.arguments[i].shape);
  if (!onGradient) {
    device.onUpdate = nullptr;
    return;
  }
  device.onUpdate = [this, onGradient](OptimizerOp optimizer, const TensorList &gradients) {
    for (auto [parameter, gradient] : llvm::zip(optimizer.getParameters(), gradients)) {
      auto inUpdate = cast<BlockArgument>(parameter);
      onGradient(place.rank, cast<BlockArgument>(facts.update.getOperand(inUpdate.getArgNumber())).getArgNumber(), *gradient);
    }
  };
}

// Of an evaluation, forwards are all there is.
func::CallOp StageTasks::currentCall() const {
  if (task == 0)
    return facts.load;
  if (isEvaluation)
    return task <= facts.schedule.size() && facts.schedule[task - 1] > 0 ? facts.forward : func::CallOp();
  if (task > facts.schedule.size())
    return facts.update;
  return facts.schedule[task - 1] > 0 ? facts.forward : facts.backward;
}

int64_t StageTasks::currentMicroBatch() const {
  return task == 0 || task > facts.schedule.size() ? 0 : std::abs(facts.schedule[task - 1]) - 1;
}

// Replicas take contiguous parts of the batch, in micro-batches one after the other.
int64_t StageTasks::firstSample() const {
  return (place.mesh.replicaOf(place.rank) * facts.config.numMicroBatches + currentMicroBatch()) * facts.config.batchPerDevice;
}

DeviceValue StageTasks::lookUp(Value operand, int64_t microBatch) {
  if (auto argument = dyn_cast<BlockArgument>(operand)) {
    unsigned number = argument.getArgNumber();
    return facts.arguments[number].role == "input" ? inputs[number][microBatch] : arguments[number];
  }
  size_t number = cast<OpResult>(operand).getResultNumber();
  if (operand.getDefiningOp() == facts.load)
    return loaded[number];
  return operand.getDefiningOp() == facts.forward ? saved[microBatch][number] : lastBackward[number];
}

// What the forward left belongs to the backward alone from here on.
absl::Status StageTasks::startTask() {
  func::CallOp call = currentCall();
  std::vector<DeviceValue> operands;
  for (Value operand : call.getOperands())
    operands.push_back(lookUp(operand, currentMicroBatch()));
  if (call == facts.backward) {
    saved.erase(currentMicroBatch());
    lastBackward.clear();
  }
  return device.start(functions.callee(call), std::move(operands), firstSample());
}

// Next values of arguments, and the loss.
void StageTasks::keepResults(func::CallOp call, const std::vector<DeviceValue> &results) {
  for (auto [index, value] : llvm::enumerate(facts.function.getBody().front().getTerminator()->getOperands())) {
    if (value.getDefiningOp() != call)
      continue;
    const DeviceValue &result = results[cast<OpResult>(value).getResultNumber()];
    if (int64_t updated = facts.updates[index]; updated >= 0) {
      if (!isEvaluation)
        arguments[updated] = result;
    } else {
      losses.push_back(result.tensor->values[0]);
      keptLosses.push_back(result);
    }
  }
}

void StageTasks::finishTask() {
  func::CallOp call = currentCall();
  std::vector<DeviceValue> results = device.takeResults();
  keepResults(call, results);
  if (call == facts.load) {
    loaded = std::move(results);
  } else if (isEvaluation) {
    return;
  } else if (call == facts.forward) {
    for (auto [result, value] : llvm::zip(call.getResults(), results))
      if (llvm::none_of(result.getUsers(), [&](Operation *user) { return user == facts.backward; }))
        value = DeviceValue();
    saved[currentMicroBatch()] = std::move(results);
  } else if (call == facts.backward) {
    for (auto [argument, result] : facts.carried)
      arguments[argument] = results[result];
    lastBackward = std::move(results);
  }
}

void StageTasks::endStep() {
  loaded.clear();
  lastBackward.clear();
  keptLosses.clear();
  saved.clear();
}

absl::StatusOr<StageTasks::Progress> StageTasks::run(Rendezvous &others) {
  for (; task < facts.schedule.size() + 2; ++task) {
    if (!currentCall())
      continue;
    if (!isRunning)
      if (absl::Status status = startTask(); !status.ok())
        return status;
    absl::StatusOr<bool> ended = device.run(others);
    if (!ended.ok())
      return ended.status();
    isRunning = !*ended;
    if (isRunning)
      return Progress::Waiting;
    finishTask();
  }
  endStep();
  return Progress::Finished;
}
