//===- VirtualDevice.cpp - A program counter and a memory ------------------===//
#include "VirtualDevice.h"
#include "Collectives.h"
#include "absl/strings/str_cat.h"
#include "moai/Support/Bytes.h"
#include "llvm/Support/xxhash.h"
#include <cmath>

using namespace mlir;
using namespace moai;

Offsets moai::concreteShape(SymTensorType type, const DimBinding &binding) {
  Offsets shape = type.getDims().evaluate(binding);
  if (isa<ComplexType>(type.getElementType()))
    shape.push_back(2);
  return shape;
}

DeviceValue VirtualDevice::allocate(std::shared_ptr<const Tensor> tensor, Value like) {
  return {std::move(tensor), std::make_shared<Allocation>(memory, functions.bytes(like))};
}

absl::StatusOr<DeviceValue> VirtualDevice::place(std::shared_ptr<const Tensor> tensor, Value like, const std::string &what) {
  if (absl::Status status = checkRoom(what, functions.bytes(like)); !status.ok())
    return status;
  return allocate(std::move(tensor), like);
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

// What nothing reads is gone at once.
void VirtualDevice::define(Frame &frame, Value value, DeviceValue content) {
  auto uses = frame.facts->uses.find(value);
  if (uses == frame.facts->uses.end())
    return;
  frame.usesLeft[value] = uses->second;
  frame.values[value] = std::move(content);
}

void VirtualDevice::release(Frame &frame, Value value) {
  if (--frame.usesLeft[value] == 0)
    frame.values.erase(value);
}

void VirtualDevice::finishOp(Frame &frame, Operation &op, std::vector<DeviceValue> produced) {
  for (Value operand : op.getOperands())
    release(frame, operand);
  if (auto held = frame.facts->holds.find(&op); held != frame.facts->holds.end())
    release(frame, held->second);
  for (auto [result, value] : llvm::zip(op.getResults(), produced))
    define(frame, result, std::move(value));
  ++frame.next;
}

void VirtualDevice::beginStep(const ExecuteOptions &stepOptions) {
  options = stepOptions;
  memory.keepCurve = options.keepMemoryCurve;
  memory.curve.clear();
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

absl::Status VirtualDevice::start(func::FuncOp function, std::vector<DeviceValue> arguments, int64_t sample) {
  firstSample = sample;
  return push(function, std::move(arguments), mixKey(mixKey(0, options.seed), static_cast<uint64_t>(options.step)));
}

absl::Status VirtualDevice::push(func::FuncOp function, std::vector<DeviceValue> arguments, uint64_t randomKey) {
  for (auto [argument, value] : llvm::zip(function.getArguments(), arguments))
    if (concreteShape(tensorOf(argument), functions.bytes.getBinding()) != value.tensor->shape)
      return absl::InvalidArgumentError(
          absl::StrCat("argument ", argument.getArgNumber(), " of @", function.getName().str(), " has another shape than its type"));
  Frame &frame = frames.emplace_back();
  frame.function = function;
  frame.facts = &functions.of(function);
  frame.randomKey = randomKey;
  frame.next = function.getBody().front().begin();
  for (auto [argument, value] : llvm::zip(function.getArguments(), arguments))
    define(frame, argument, std::move(value));
  return absl::OkStatus();
}

// Operands that the caller no longer needs belong to the function alone.
absl::Status VirtualDevice::enter(func::CallOp call) {
  Frame &caller = frames.back();
  std::vector<DeviceValue> arguments;
  for (Value operand : call.getOperands())
    arguments.push_back(caller.values.find(operand)->second);
  for (Value operand : call.getOperands())
    release(caller, operand);
  // An instance of a block draws numbers of its own, and the same ones when it is run again.
  auto block = call->getAttrOfType<StringAttr>(attrs::kBlock);
  uint64_t randomKey = block ? mixKey(caller.randomKey, llvm::xxh3_64bits(block.getValue())) : caller.randomKey;
  return push(functions.callee(call), std::move(arguments), randomKey);
}

void VirtualDevice::leave(Operation &terminator) {
  std::vector<DeviceValue> returned;
  for (Value operand : terminator.getOperands())
    returned.push_back(frames.back().values.find(operand)->second);
  frames.pop_back();
  if (frames.empty()) {
    results = std::move(returned);
    return;
  }
  Frame &caller = frames.back();
  for (auto [result, value] : llvm::zip(caller.next->getResults(), returned))
    define(caller, result, std::move(value));
  ++caller.next;
}

absl::StatusOr<bool> VirtualDevice::run(Rendezvous &others) {
  while (!frames.empty()) {
    Operation &op = *frames.back().next;
    if (auto call = dyn_cast<func::CallOp>(op)) {
      if (absl::Status status = enter(call); !status.ok())
        return locate(status);
      continue;
    }
    if (op.hasTrait<OpTrait::IsTerminator>()) {
      leave(op);
      continue;
    }
    absl::StatusOr<bool> done = runOp(op, others);
    if (!done.ok())
      return locate(done.status());
    if (!*done)
      return false;
  }
  return true;
}

// `in LAYER: reason`, if the innermost function was called as a block.
absl::Status VirtualDevice::locate(const absl::Status &status) const {
  if (frames.size() > 1)
    if (auto block = frames[frames.size() - 2].next->getAttrOfType<StringAttr>(attrs::kBlock))
      return absl::Status(status.code(), absl::StrCat("in ", block.str(), ": ", status.message()));
  return status;
}

std::string VirtualDevice::describePosition() const {
  return absl::StrCat("device ", at.rank, frames.empty() ? " has nothing to do" : " waits at " + describeOp(*frames.back().next));
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

absl::StatusOr<bool> VirtualDevice::runOp(Operation &op, Rendezvous &others) {
  Frame &frame = frames.back();
  TensorList tensors;
  absl::StatusOr<bool> communicated = communicate(frame, op, others, tensors);
  if (!communicated.ok() || !*communicated)
    return communicated;
  bool isTransfer = isa<SendOp, ReceiveOp, GatherBucketOp, ScatterBucketOp, AllReduceOp>(op);
  if (absl::Status status = isTransfer ? absl::OkStatus() : compute(frame, op, tensors); !status.ok())
    return status;
  auto work = dyn_cast<WorkOpInterface>(op);
  int64_t temporary = work ? work.getTemporaryBytes(functions.bytes.getBinding()) : 0, added = temporary;
  for (Value result : op.getResults())
    if (!frame.facts->sharedWith.count(result))
      added += functions.bytes(result);
  if (absl::Status status = checkRoom(describeOp(op), added); !status.ok())
    return status;
  std::vector<DeviceValue> produced;
  for (auto [result, tensor] : llvm::zip(op.getResults(), tensors)) {
    auto shared = frame.facts->sharedWith.find(result);
    if (shared == frame.facts->sharedWith.end())
      produced.push_back(allocate(std::move(tensor), result));
    else
      produced.push_back({std::move(tensor), frame.values.find(shared->second)->second.storage});
  }
  memory.note(temporary);
  finishOp(frame, op, std::move(produced));
  ++numOps;
  return true;
}

absl::Status VirtualDevice::checkRoom(const std::string &what, int64_t added) const {
  int64_t over = memory.live + added - options.deviceMemoryBytes;
  if (options.deviceMemoryBytes == 0 || over <= 0)
    return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("device ", at.rank, " (stage ", at.stage(), ") is out of memory at ", what,
                                                   ", which needs ", formatBytes(over), " more than the ",
                                                   formatBytes(options.deviceMemoryBytes), " of the device"));
}

absl::Status VirtualDevice::check(Operation &op, Value result, Tensor &tensor) const {
  if (!options.float64)
    roundTo(tensorOf(result).getElementType(), tensor.values);
  if (options.stopAtNan && llvm::any_of(tensor.values, [](double value) { return std::isnan(value); }))
    return absl::InvalidArgumentError(absl::StrCat(describeOp(op), " is the first op with a NaN in its result"));
  return absl::OkStatus();
}

absl::Status VirtualDevice::compute(Frame &frame, Operation &op, TensorList &produced) {
  const KernelTable::Kernel *kernel = kernels.find(&op);
  if (!kernel)
    return absl::InvalidArgumentError(absl::StrCat(describeOp(op), " has no kernel, so the graph can't be executed"));
  KernelCall call;
  call.binding = functions.bytes.getBinding();
  call.float64 = options.float64;
  call.randomKey = frame.randomKey;
  call.firstSample = firstSample;
  call.step = options.step;
  call.learningRateFactor = options.learningRateFactor;
  call.isEvaluation = options.isEvaluation;
  for (Value operand : op.getOperands())
    call.operands[operand] = frame.values.find(operand)->second.tensor;
  for (Value result : op.getResults())
    call.results[result] = std::make_shared<Tensor>(concreteShape(tensorOf(result), call.binding));
  if (auto optimizer = dyn_cast<OptimizerOp>(op); optimizer && onUpdate) {
    TensorList gradients;
    for (Value gradient : optimizer.getGradients())
      gradients.push_back(call.operands[gradient]);
    onUpdate(optimizer, gradients);
  }
  (*kernel)(&op, call);
  if (!call.error.empty())
    return absl::InvalidArgumentError(absl::StrCat(describeOp(op), " ", call.error));
  for (Value result : op.getResults()) {
    std::shared_ptr<Tensor> tensor = call.results[result];
    if (absl::Status status = check(op, result, *tensor); !status.ok())
      return status;
    produced.push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

// Members must bring tensors of the same shapes to the same collective.
static absl::Status checkMeeting(const Meeting &meeting, size_t own, ArrayRef<int64_t> members) {
  auto shapesOf = [&](size_t member) {
    SmallVector<ArrayRef<int64_t>> shapes;
    for (const auto &tensor : meeting.contributions()[member])
      shapes.push_back(tensor->shape);
    return shapes;
  };
  auto opOf = [](StringRef name) { return name.split(' ').first; };
  for (size_t member = 0; member < members.size(); ++member)
    if (shapesOf(member) != shapesOf(own) || opOf(meeting.names()[member]) != opOf(meeting.names()[own]))
      return absl::InternalError(absl::StrCat("device ", members[own], "'s ", meeting.names()[own], " meets device ", members[member],
                                              "'s ", meeting.names()[member], ", with other tensors"));
  return absl::OkStatus();
}

// Transfers and collectives; true at once for any other op. False if others are missing.
absl::StatusOr<bool> VirtualDevice::communicate(Frame &frame, Operation &op, Rendezvous &others, TensorList &produced) {
  TensorList operands;
  for (Value operand : op.getOperands())
    operands.push_back(frame.values.find(operand)->second.tensor);
  if (auto send = dyn_cast<SendOp>(op)) {
    others.send(at.rank, at.peer(send.getPeer()), std::move(operands));
    return true;
  }
  if (auto receive = dyn_cast<ReceiveOp>(op)) {
    auto received = others.receive(at.peer(receive.getPeer()), at.rank);
    if (!received)
      return false;
    SmallVector<Offsets> expected, found;
    for (Value result : op.getResults())
      expected.push_back(concreteShape(tensorOf(result), functions.bytes.getBinding()));
    for (const auto &tensor : *received)
      found.push_back(tensor->shape);
    if (found != expected)
      return absl::InternalError(absl::StrCat(describeOp(op), " gets other tensors than it expects"));
    produced = std::move(*received);
    return true;
  }
  std::optional<Collective> collective = Collective::of(op);
  if (!collective)
    return true;
  SmallVector<int64_t> members = collective->membersAt(at.mesh, at.rank);
  std::shared_ptr<Meeting> meeting = others.meet(at.rank, toString(collective->axes), members, std::move(operands), describeOp(op));
  if (!meeting)
    return false;
  size_t own = llvm::find(members, at.rank) - members.begin();
  if (absl::Status status = checkMeeting(*meeting, own, members); !status.ok())
    return status;
  auto combine = [&]() -> absl::StatusOr<TensorList> {
    TensorList results;
    for (auto [result, tensor] :
         llvm::zip(op.getResults(), collective->combine(op, meeting->contributions(), own, functions.bytes.getBinding()))) {
      if (absl::Status status = check(op, result, tensor); !status.ok())
        return status;
      results.push_back(std::make_shared<Tensor>(std::move(tensor)));
    }
    return results;
  };
  absl::StatusOr<TensorList> results = Collective::isCommon(op) ? meeting->common(combine) : combine();
  if (!results.ok())
    return results.status();
  produced = std::move(*results);
  return true;
}
