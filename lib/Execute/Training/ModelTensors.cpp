//===- ModelTensors.cpp - The numbers of a training graph ------------------===//
#include "moai/Execute/ModelTensors.h"
#include "GraphArguments.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Execute/Executor.h"
#include "moai/IR/Moai.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/xxhash.h"
#include <cmath>
#include <random>

using namespace mlir;
using namespace moai;

ModelTensors::ModelTensors(ModuleOp trainingGraph, const std::vector<std::pair<std::string, std::string>> &aliases)
    : module(trainingGraph) {
  auto step = module.lookupSymbol<func::FuncOp>("step");
  for (BlockArgument value : step.getArguments()) {
    auto role = step.getArgAttrOfType<StringAttr>(value.getArgNumber(), attrs::kRole);
    Attribute names = step.getArgAttr(value.getArgNumber(), attrs::kName);
    for (int64_t i = 0, e = countTensors(value.getType()); i < e; ++i) {
      ModelTensor argument;
      if (role)
        argument.role = role.str();
      auto list = dyn_cast_if_present<ArrayAttr>(names);
      if (auto name = dyn_cast_if_present<StringAttr>(list ? list[i] : names))
        argument.name = name.str();
      for (const auto &[alias, name] : aliases)
        if (name == argument.name)
          argument.aliases.push_back(alias);
      argument.elementType = tensorOf(value).getElementType();
      argument.type = storedTypeOf(argument.elementType);
      tensors.push_back(std::move(argument));
      values.push_back(value.getArgNumber());
    }
  }
}

SymTensorType ModelTensors::typeOf(const ModelTensor &tensor) const {
  return tensorOf(ModuleOp(module).lookupSymbol<func::FuncOp>("step").getArgument(values[&tensor - tensors.data()]));
}

const ModelTensor *ModelTensors::find(StringRef name) const {
  auto it = llvm::find_if(tensors, [&](const ModelTensor &tensor) { return tensor.name == name; });
  return it == tensors.end() ? nullptr : &*it;
}

int64_t ModelTensors::batch() const { return getBinding(module).values[kBatchSymbol]; }

//===----------------------------------------------------------------------===//
// Where the numbers come from
//===----------------------------------------------------------------------===//

absl::Status ModelTensors::check(const ModelTensor &argument, const std::string &key, const CheckpointWeights::Entry &stored,
                                 StringRef path) const {
  auto expected = typeOf(argument).getDims().evaluate(getBinding(module));
  if (stored.shape != ArrayRef<int64_t>(expected))
    return absl::InvalidArgumentError(absl::StrCat(path.str(), ": tensor '", key, "' has the shape [", absl::StrJoin(stored.shape, ", "),
                                                   "], the graph takes [", absl::StrJoin(expected, ", "), "]"));
  if (!mayStandFor(stored.type, argument.type))
    return absl::InvalidArgumentError(
        absl::StrCat(path.str(), ": tensor '", key, "' is of type ", stored.type.str(), ", the graph takes ", argument.type));
  return absl::OkStatus();
}

namespace {
/// Where a checkpoint's names differ from the graph's, for all alike.
struct Renaming {
  std::string added;   ///< what the graph's names have in front
  std::string removed; ///< what the checkpoint's names have in front

  /// The checkpoint's name for the graph's; nothing if it has none.
  std::optional<std::string> operator()(StringRef name) const {
    if (!name.consume_front(added))
      return std::nullopt;
    return removed + name.str();
  }
};
} // namespace

// Calls for each way to cut a name at a dot, with what is in front, the dot included, and what is behind.
static void cutAtDots(StringRef name, llvm::function_ref<void(StringRef, StringRef)> visit) {
  for (size_t dot = name.find('.'); dot != StringRef::npos; dot = name.find('.', dot + 1))
    visit(name.take_front(dot + 1), name.drop_front(dot + 1));
}

// The prefix with which most names are found, where the graph has them and where the checkpoint does.
static Renaming mostCommonRenaming(const llvm::StringSet<> &graph, const CheckpointWeights &weights) {
  std::map<std::pair<std::string, bool>, int64_t> found;
  for (const auto &entry : graph)
    cutAtDots(entry.first(), [&](StringRef front, StringRef behind) {
      if (weights.entries().count(behind.str()))
        ++found[{front.str(), true}];
    });
  for (const auto &[key, stored] : weights.entries())
    cutAtDots(key, [&, &key = key](StringRef front, StringRef behind) {
      if (graph.contains(behind))
        ++found[{front.str(), false}];
    });
  Renaming renaming;
  int64_t most = 0;
  for (const auto &[prefix, count] : found)
    if (count > most) {
      most = count;
      renaming = prefix.second ? Renaming{prefix.first, ""} : Renaming{"", prefix.first};
    }
  return renaming;
}

static bool isParameter(const ModelTensor &tensor) { return tensor.role == "parameter" || tensor.role == "frozen"; }

static llvm::SmallVector<std::string, 2> namesOf(const ModelTensor &tensor) {
  llvm::SmallVector<std::string, 2> names{tensor.name};
  names.append(tensor.aliases.begin(), tensor.aliases.end());
  return names;
}

// None if a parameter is there under its own name.
static Renaming findRenaming(ArrayRef<ModelTensor> tensors, const CheckpointWeights &weights) {
  llvm::StringSet<> names;
  for (const ModelTensor &tensor : tensors)
    if (isParameter(tensor))
      for (const std::string &name : namesOf(tensor)) {
        if (weights.entries().count(name) || weights.entries().count("param." + name))
          return {};
        names.insert(name);
      }
  return mostCommonRenaming(names, weights);
}

absl::Status ModelTensors::takeWeights(const CheckpointWeights &weights) {
  Renaming renaming = findRenaming(tensors, weights);
  llvm::StringSet<> used;
  for (ModelTensor &argument : tensors) {
    if (argument.role == "input")
      continue;
    bool isTaken = false;
    for (const std::string &name : namesOf(argument))
      for (const char *prefix : {"param.", "buffer.", "constant.", ""}) {
        std::optional<std::string> renamed = renaming(name);
        auto it = renamed ? weights.entries().find(prefix + *renamed) : weights.entries().end();
        if (it == weights.entries().end() || !used.insert(it->first).second)
          continue;
        if (absl::Status status = check(argument, it->first, it->second, weights.path()); !status.ok())
          return status;
        if (!std::exchange(isTaken, true))
          argument.tensor = std::make_shared<Tensor>(it->second.read());
      }
    if (!isTaken && isParameter(argument))
      return absl::InvalidArgumentError(absl::StrCat(weights.path(), ": has no tensor 'param.", argument.name, "', which the graph needs"));
  }
  // Buffers that were folded away may be left over; parameters may not.
  for (const auto &[key, stored] : weights.entries())
    if (StringRef(key).starts_with("param.") && !used.contains(key))
      return absl::InvalidArgumentError(absl::StrCat(weights.path(), ": the graph has no parameter for tensor '", key, "'"));
  return absl::OkStatus();
}

absl::Status ModelTensors::takeWeights(const StoredTensors &given, StringRef path) {
  return takeWeights(CheckpointWeights::of(given, path));
}

absl::Status ModelTensors::takeInputs(const StoredTensors &given, StringRef path) {
  CheckpointWeights inputs = CheckpointWeights::of(given, path);
  llvm::StringSet<> used;
  for (ModelTensor &argument : tensors) {
    if (argument.role != "input")
      continue;
    auto it = inputs.entries().find("input." + argument.name);
    if (it == inputs.entries().end())
      it = inputs.entries().find(argument.name);
    if (it == inputs.entries().end())
      return absl::InvalidArgumentError(absl::StrCat(path.str(), ": has no tensor 'input.", argument.name, "', which the graph needs"));
    used.insert(it->first);
    if (absl::Status status = check(argument, it->first, it->second, path); !status.ok())
      return status;
    argument.tensor = std::make_shared<Tensor>(it->second.read());
  }
  for (const auto &[key, stored] : given)
    if (StringRef(key).starts_with("input.") && !used.contains(key))
      return absl::InvalidArgumentError(absl::StrCat(path.str(), ": the graph has no input for tensor '", key, "'"));
  return absl::OkStatus();
}

void ModelTensors::takeMissing(const StoredTensors &given) {
  CheckpointWeights weights = CheckpointWeights::of(given, "");
  for (ModelTensor &argument : tensors)
    if (auto it = weights.entries().find(argument.name);
        !argument.tensor && it != weights.entries().end() && check(argument, it->first, it->second, "").ok())
      argument.tensor = std::make_shared<Tensor>(it->second.read());
}

absl::Status ModelTensors::takeFixed(const StoredTensors &state) {
  for (ModelTensor &argument : tensors) {
    auto found = state.find("fixed." + argument.name);
    // A table that is as long as the sequence is another one for another length.
    if (found != state.end() && found->second.tensor.shape == typeOf(argument).getDims().evaluate(getBinding(module)))
      argument.tensor = std::make_shared<Tensor>(found->second.tensor);
    else if (argument.role == "frozen")
      return absl::InvalidArgumentError(
          absl::StrCat("has no tensor 'fixed.", argument.name, "' of the model's shape, which this training needs"));
  }
  return absl::OkStatus();
}

// The least of what an integer tensor, or a value computed from it by integer ops, is used to index.
int64_t ModelTensors::indexLimit(const ModelTensor &tensor) {
  auto step = module.lookupSymbol<func::FuncOp>("step");
  std::optional<int64_t> limit;
  for (const IndexUse &use : findIndexUses(step.getArgument(values[&tensor - tensors.data()]), getBinding(module)))
    limit = std::min(limit.value_or(use.size), use.size);
  return std::max<int64_t>(1, limit.value_or(2));
}

void ModelTensors::fillTheRest(uint64_t seed, bool withInputs) {
  DimBinding binding = getBinding(module);
  for (ModelTensor &argument : tensors) {
    if (argument.tensor || (argument.role == "input" && !withInputs))
      continue;
    std::mt19937_64 random(seed * 1000003 + llvm::xxh3_64bits(argument.name));
    auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
    Tensor tensor(typeOf(argument).getDims().evaluate(binding));
    int64_t limit = argument.elementType.isInteger() ? indexLimit(argument) : 0;
    for (double &value : tensor.values)
      if (limit)
        value = std::floor(uniform() * static_cast<double>(limit));
      else if (argument.role == "input")
        value = 2 * uniform() - 1;
      else if (tensor.rank() == 1)
        value = StringRef(argument.name).ends_with("bias") ? 0 : 1;
      else
        value = 0.04 * std::sqrt(3.0) * (uniform() - 0.5);
    roundTo(argument.elementType, tensor.values);
    argument.tensor = std::make_shared<Tensor>(std::move(tensor));
  }
}
