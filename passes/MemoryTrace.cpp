//===- MemoryTrace.cpp - A stage's memory op by op -------------------------===//
#include "moai/Passes/MemoryTrace.h"
#include "moai/IR/Storage.h"
#include <map>

using namespace mlir;
using namespace moai;

namespace {

/// A storage ends with the last handle to it.
class Handle {
public:
  Handle(MemoryTimeline &timeline, int64_t &live, size_t index) : timeline(timeline), live(live), index(index) {}
  ~Handle() {
    timeline.storages[index].end = timeline.use.size();
    live -= timeline.storages[index].bytes;
  }
  Handle(const Handle &) = delete;
  Handle &operator=(const Handle &) = delete;

  StorageInterval &interval() const { return timeline.storages[index]; }

private:
  MemoryTimeline &timeline;
  int64_t &live;
  size_t index;
};
using Storage = std::shared_ptr<Handle>;
using Storages = std::vector<Storage>;

class Trace {
public:
  Trace(func::FuncOp stage, const MemoryModel &model)
      : stage(stage), functions(stage->getParentOfType<ModuleOp>(), getBinding(stage->getParentOp()), model.granularity) {
    timeline.workspaceBytes = model.workspaceBytes;
  }
  MemoryTimeline run();

private:
  Storage allocate(Value value, StringRef category, std::string name);
  Storages call(func::FuncOp function, Storages arguments, StringRef category, const std::string &inBlock);
  Storages runOp(Operation &op, const FunctionFacts &facts, DenseMap<Value, Storage> &values, StringRef category,
                 const std::string &inBlock);
  void allocateArguments(int64_t microBatches);
  Storage argument(unsigned number, int64_t microBatch) const;
  Storages task(func::CallOp part, const char *phase, int64_t microBatch, StringRef category);
  void keep(func::CallOp part, const Storages &results);

  func::FuncOp stage;
  FunctionTable functions;
  MemoryTimeline timeline;
  int64_t live = 0;

  std::vector<Storages> arguments;         ///< by number; inputs have one for each micro-batch
  std::map<Operation *, Storages> results; ///< of the load and of the last backward
  std::map<int64_t, Storages> saved;
  Storages losses;
};

} // namespace

Storage Trace::allocate(Value value, StringRef category, std::string name) {
  StorageInterval interval;
  interval.category = category.str();
  interval.name = std::move(name);
  interval.bytes = functions.bytes(value);
  interval.begin = timeline.use.size();
  timeline.storages.push_back(std::move(interval));
  live += timeline.storages.back().bytes;
  return std::make_shared<Handle>(timeline, live, timeline.storages.size() - 1);
}

static std::string describe(Operation &op, const std::string &inBlock) {
  // What stands beside a block's calls may belong to it.
  auto own = op.getAttrOfType<StringAttr>(attrs::kBlock);
  std::string block = own ? own.str() : inBlock;
  return (block.empty() ? "" : block + ": ") + describeOp(op);
}

Storages Trace::runOp(Operation &op, const FunctionFacts &facts, DenseMap<Value, Storage> &values, StringRef category,
                      const std::string &inBlock) {
  Storages produced;
  for (Value result : op.getResults()) {
    auto shared = facts.sharedWith.find(result);
    produced.push_back(shared == facts.sharedWith.end() ? allocate(result, category, describe(op, inBlock))
                                                        : values.find(shared->second)->second);
  }
  auto work = dyn_cast<WorkOpInterface>(op);
  timeline.use.push_back(live + (work ? work.getTemporaryBytes(functions.bytes.getBinding()) : 0));
  return produced;
}

// A value goes after its last use; what is handed to a function and needed no more is its alone.
Storages Trace::call(func::FuncOp function, Storages given, StringRef category, const std::string &inBlock) {
  const FunctionFacts &facts = functions.of(function);
  DenseMap<Value, Storage> values;
  DenseMap<Value, unsigned> usesLeft;
  auto define = [&](Value value, Storage storage) {
    if (auto uses = facts.uses.find(value); uses != facts.uses.end()) {
      usesLeft[value] = uses->second;
      values[value] = std::move(storage);
    }
  };
  auto release = [&](Value value) {
    if (--usesLeft[value] == 0)
      values.erase(value);
  };
  for (auto [parameter, storage] : llvm::zip(function.getArguments(), given))
    define(parameter, std::move(storage));
  given.clear();
  for (Operation &op : function.getBody().front()) {
    Storages produced;
    if (op.hasTrait<OpTrait::IsTerminator>()) {
      for (Value operand : op.getOperands())
        produced.push_back(values.find(operand)->second);
      return produced;
    }
    if (auto inner = dyn_cast<func::CallOp>(op)) {
      Storages operands;
      for (Value operand : op.getOperands())
        operands.push_back(values.find(operand)->second);
      for (Value operand : op.getOperands())
        release(operand);
      auto block = op.getAttrOfType<StringAttr>(attrs::kBlock);
      produced = call(functions.callee(inner), std::move(operands), category, block ? block.str() : inBlock);
    } else {
      produced = runOp(op, facts, values, category, inBlock);
      for (Value operand : op.getOperands())
        release(operand);
      if (auto held = facts.holds.find(&op); held != facts.holds.end())
        release(held->second);
    }
    for (auto [result, storage] : llvm::zip(op.getResults(), produced))
      define(result, std::move(storage));
  }
  return {};
}

static const char *categoryOf(StringRef role) {
  if (role == "parameter" || role == "frozen")
    return "parameters";
  if (role == "master_parameter" || role == "first_moment" || role == "second_moment")
    return "optimizer_states";
  if (role == "gradient_accumulator")
    return "gradients";
  return role == "input" ? "inputs" : "buffers";
}

void Trace::allocateArguments(int64_t microBatches) {
  for (BlockArgument value : stage.getArguments()) {
    auto role = stage.getArgAttrOfType<StringAttr>(value.getArgNumber(), attrs::kRole);
    auto name = stage.getArgAttrOfType<StringAttr>(value.getArgNumber(), attrs::kName);
    Storages &own = arguments.emplace_back();
    int64_t count = role && role == "input" ? microBatches : 1;
    for (int64_t i = 0; i < count; ++i)
      own.push_back(allocate(value, categoryOf(role ? role.getValue() : ""), name ? name.str() : ""));
  }
}

Storage Trace::argument(unsigned number, int64_t microBatch) const {
  const Storages &own = arguments[number];
  return own.size() == 1 ? own.front() : own[microBatch];
}

Storages Trace::task(func::CallOp part, const char *phase, int64_t microBatch, StringRef category) {
  timeline.tasks.push_back({phase, microBatch, timeline.use.size()});
  Storages operands;
  for (Value operand : part.getOperands()) {
    if (auto given = dyn_cast<BlockArgument>(operand)) {
      operands.push_back(argument(given.getArgNumber(), microBatch));
      continue;
    }
    unsigned number = cast<OpResult>(operand).getResultNumber();
    auto forward = saved.find(microBatch);
    bool isSaved = operand.getDefiningOp<func::CallOp>().getCallee().ends_with(".forward");
    operands.push_back(isSaved ? forward->second[number] : results[operand.getDefiningOp()][number]);
  }
  if (StringRef(phase) == "backward")
    saved.erase(microBatch);
  return call(functions.callee(part), std::move(operands), category, "");
}

// The loss stays to the end of the step; so do the results of `load` and `update`, and of the last backward.
void Trace::keep(func::CallOp part, const Storages &made) {
  for (auto [index, value] : llvm::enumerate(stage.getBody().front().getTerminator()->getOperands())) {
    if (value.getDefiningOp() != part)
      continue;
    const Storage &storage = made[cast<OpResult>(value).getResultNumber()];
    auto updated = stage.getResultAttrOfType<IntegerAttr>(index, attrs::kUpdates);
    if (!updated) {
      losses.push_back(storage);
      continue;
    }
    auto role = stage.getArgAttrOfType<StringAttr>(updated.getInt(), attrs::kRole);
    storage->interval().category = categoryOf(role ? role.getValue() : "");
    arguments[updated.getInt()] = {storage};
  }
}

MemoryTimeline Trace::run() {
  func::CallOp load, forward, backward, update;
  for (auto part : stage.getOps<func::CallOp>()) {
    StringRef name = part.getCallee().rsplit('.').second;
    (name == "load" ? load : name == "forward" ? forward : name == "backward" ? backward : update) = part;
  }
  ArrayRef<int64_t> tasks = stage->getAttrOfType<DenseI64ArrayAttr>(attrs::kSchedule).asArrayRef();
  allocateArguments(llvm::count_if(tasks, [](int64_t number) { return number > 0; }));
  if (load)
    results[load] = task(load, "load", 0, "parameters");
  for (int64_t number : tasks) {
    int64_t microBatch = std::abs(number) - 1;
    func::CallOp part = number > 0 ? forward : backward;
    if (!part)
      continue;
    if (number > 0) {
      Storages made = task(part, "forward", microBatch, "temporaries");
      keep(part, made);
      for (auto [result, storage] : llvm::zip(part.getResults(), made))
        if (llvm::is_contained(result.getUsers(), backward))
          storage->interval().category = storage->interval().category == "temporaries" ? "activations" : storage->interval().category;
        else
          storage = nullptr;
      saved[microBatch] = std::move(made);
    } else {
      results[part].clear();
      Storages made = task(part, "backward", microBatch, "temporaries");
      for (const Storage &storage : made)
        storage->interval().category = "gradients";
      results[part] = std::move(made);
    }
  }
  for (const Storage &storage : losses)
    storage->interval().category = "activations";
  if (update)
    keep(update, task(update, "optimizer", 0, "temporaries"));
  losses.clear();
  saved.clear();
  results.clear();
  arguments.clear();
  return std::move(timeline);
}

MemoryTimeline moai::traceMemory(func::FuncOp stage, const MemoryModel &model) {
  MemoryTimeline timeline = Trace(stage, model).run();
  assignOffsets(timeline);
  return timeline;
}
