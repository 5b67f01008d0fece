//===- SavedTensors.cpp - Storages that live from forward to backward ------===//
#include "moai/Passes/SavedTensors.h"
#include "OpLabels.h"
#include "moai/IR/Storage.h"
#include "moai/Passes/Pipelines.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace moai;

namespace {
/// What a call of a block's forward leaves, by result: an argument's storage, or one that the block makes.
struct ForwardFacts {
  SmallVector<Value> roots; ///< in the block's function: an argument, or the result of the op that makes the storage
  SmallVector<Value> made;  ///< of those, what ops make, each once, in the order of the ops
};

class SavedTensorLister {
public:
  SavedTensorLister(ModuleOp module, const DimBinding &binding) : module(module), binding(binding), storage(binding) {}
  std::vector<SavedTensor> list();

private:
  void addArguments(func::FuncOp step);
  void addCall(func::CallOp call);
  void addOp(Operation &op);
  void readBy(func::CallOp backward);
  unsigned add(Value root, SavedTensorUser maker);
  unsigned storageOf(Value value) { return numbers.lookup(storage.rootOf(value)); }
  void hold(Value value, SavedTensorUser holder);
  const ForwardFacts &factsOf(func::FuncOp function);
  func::FuncOp calleeOf(func::CallOp call) { return module.lookupSymbol<func::FuncOp>(call.getCallee()); }

  ModuleOp module;
  DimBinding binding;
  StorageAnalysis storage;
  llvm::DenseMap<Value, unsigned> numbers; ///< of the storages that values of @step are the roots of
  std::vector<SavedTensor> tensors;
  llvm::DenseMap<Operation *, ForwardFacts> facts;
};
} // namespace

// BuildBackward gives the ops of a gradient rule the place of their forward op: its module, and what it is.
static SavedTensorUser holderOf(Operation &reader, StringRef block) {
  SavedTensorUser holder;
  auto place = dyn_cast<NameLoc>(reader.getLoc());
  StringRef path = place ? place.getName().getValue() : "";
  holder.module = block.empty() || path.empty() ? (block + path).str() : (block + "." + path).str();
  if (auto op = place ? dyn_cast<NameLoc>(place.getChildLoc()) : NameLoc())
    holder.op = op.getName().str();
  return holder;
}

static SavedTensorUser makerOf(Operation &op, StringRef block) {
  SavedTensorUser maker = holderOf(op, block);
  maker.op = describeKind(op);
  return maker;
}

unsigned SavedTensorLister::add(Value root, SavedTensorUser maker) {
  SavedTensor tensor;
  SymTensorType type = tensorOf(root);
  tensor.role = "activation";
  llvm::raw_string_ostream(tensor.type) << type.getElementType();
  auto shape = type.getDims().evaluate(binding);
  tensor.shape.assign(shape.begin(), shape.end());
  tensor.bytes = type.countBytes(binding);
  tensor.maker = std::move(maker);
  tensor.maker.shape = tensor.shape;
  tensors.push_back(std::move(tensor));
  return tensors.size() - 1;
}

void SavedTensorLister::addArguments(func::FuncOp step) {
  for (BlockArgument argument : step.getArguments()) {
    SavedTensor &tensor = tensors[numbers[argument] = add(argument, {})];
    if (auto role = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole))
      tensor.role = role.str();
    if (auto name = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kName))
      tensor.name = name.str();
  }
}

const ForwardFacts &SavedTensorLister::factsOf(func::FuncOp function) {
  auto [it, isNew] = facts.try_emplace(function);
  if (!isNew)
    return it->second;
  StorageAnalysis inside(binding);
  for (Operation &op : function.getBody().front())
    if (auto end = dyn_cast<func::ReturnOp>(op))
      for (Value result : end.getOperands())
        it->second.roots.push_back(inside.rootOf(result));
    else
      inside.visit(op);
  llvm::SetVector<Value> made;
  for (Value root : it->second.roots)
    if (root.getDefiningOp())
      made.insert(root);
  it->second.made = made.takeVector();
  llvm::stable_sort(it->second.made, [](Value a, Value b) {
    return a.getDefiningOp() != b.getDefiningOp() && a.getDefiningOp()->isBeforeInBlock(b.getDefiningOp());
  });
  return it->second;
}

void SavedTensorLister::addCall(func::CallOp call) {
  auto block = call->getAttrOfType<StringAttr>(attrs::kBlock);
  const ForwardFacts &callee = factsOf(calleeOf(call));
  llvm::DenseMap<Value, unsigned> made;
  for (Value root : callee.made)
    made[root] = add(root, makerOf(*root.getDefiningOp(), block ? block.getValue() : ""));
  for (auto [result, root] : llvm::zip(call.getResults(), callee.roots)) {
    auto argument = dyn_cast<BlockArgument>(root);
    numbers[result] = argument ? storageOf(call.getOperand(argument.getArgNumber())) : made.lookup(root);
  }
}

void SavedTensorLister::addOp(Operation &op) {
  storage.visit(op);
  for (Value result : op.getResults())
    if (storage.rootOf(result) == result)
      numbers[result] = add(result, makerOf(op, ""));
}

void SavedTensorLister::hold(Value value, SavedTensorUser holder) {
  auto shape = tensorOf(value).getDims().evaluate(binding);
  holder.shape.assign(shape.begin(), shape.end());
  auto &holders = tensors[storageOf(value)].holders;
  if (!llvm::is_contained(holders, holder))
    holders.push_back(std::move(holder));
}

void SavedTensorLister::readBy(func::CallOp backward) {
  auto block = backward->getAttrOfType<StringAttr>(attrs::kBlock);
  func::FuncOp callee = calleeOf(backward);
  for (auto [operand, argument] : llvm::zip(backward.getOperands(), callee.getArguments()))
    if (numbers.count(storage.rootOf(operand)))
      for (Operation *reader : argument.getUsers())
        if (!isa<func::ReturnOp>(reader))
          hold(operand, holderOf(*reader, block ? block.getValue() : ""));
}

std::vector<SavedTensor> SavedTensorLister::list() {
  auto step = module.lookupSymbol<func::FuncOp>("step");
  OpLabels labels(module.getContext());
  addArguments(step);
  for (Operation &op : step.getBody().front().without_terminator()) {
    auto call = dyn_cast<func::CallOp>(op);
    if (!labels.isBackward(&op)) {
      call ? addCall(call) : addOp(op);
      continue;
    }
    if (call) {
      readBy(call);
      continue;
    }
    // Gradients are no storages that are numbered.
    for (Value operand : op.getOperands())
      if (numbers.count(storage.rootOf(operand)))
        hold(operand, holderOf(op, ""));
  }
  llvm::erase_if(tensors, [](const SavedTensor &tensor) { return tensor.holders.empty(); });
  return std::move(tensors);
}

std::vector<SavedTensor> moai::listSavedTensors(ModuleOp trainingGraph, const DimBinding &binding) {
  OwningOpRef<ModuleOp> unrolled = trainingGraph.clone();
  unrollBlocks(*unrolled);
  return SavedTensorLister(*unrolled, binding).list();
}
