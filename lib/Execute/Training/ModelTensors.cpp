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

absl::Status ModelTensors::take(ModelTensor &argument, const std::string &key, const StoredTensor &stored, StringRef path) {
  auto expected = typeOf(argument).getDims().evaluate(getBinding(module));
  if (stored.tensor.shape != expected)
    return absl::InvalidArgumentError(absl::StrCat(path.str(), ": tensor '", key, "' has the shape [",
                                                   absl::StrJoin(stored.tensor.shape, ", "), "], the graph takes [",
                                                   absl::StrJoin(expected, ", "), "]"));
  if (!mayStandFor(stored.type, argument.type))
    return absl::InvalidArgumentError(
        absl::StrCat(path.str(), ": tensor '", key, "' is of type ", stored.type, ", the graph takes ", argument.type));
  argument.tensor = std::make_shared<Tensor>(stored.tensor);
  return absl::OkStatus();
}

absl::Status ModelTensors::takeWeights(const StoredTensors &given, StringRef path) {
  llvm::StringSet<> used;
  for (ModelTensor &argument : tensors) {
    if (argument.role == "input")
      continue;
    llvm::SmallVector<std::string, 2> names{argument.name};
    names.append(argument.aliases.begin(), argument.aliases.end());
    for (const std::string &name : names)
      for (const char *prefix : {"param.", "buffer.", "constant.", ""}) {
        auto it = given.find(prefix + name);
        if (it == given.end() || !used.insert(it->first).second)
          continue;
        if (absl::Status status = take(argument, it->first, it->second, path); !status.ok())
          return status;
      }
    if (!argument.tensor && (argument.role == "parameter" || argument.role == "frozen"))
      return absl::InvalidArgumentError(absl::StrCat(path.str(), ": has no tensor 'param.", argument.name, "', which the graph needs"));
  }
  // Buffers that were folded away may be left over; parameters may not.
  for (const auto &[key, stored] : given)
    if (StringRef(key).starts_with("param.") && !used.contains(key))
      return absl::InvalidArgumentError(absl::StrCat(path.str(), ": the graph has no parameter for tensor '", key, "'"));
  return absl::OkStatus();
}

absl::Status ModelTensors::takeInputs(const StoredTensors &given, StringRef path) {
  llvm::StringSet<> used;
  for (ModelTensor &argument : tensors) {
    if (argument.role != "input")
      continue;
    auto it = given.find("input." + argument.name);
    if (it == given.end())
      it = given.find(argument.name);
    if (it == given.end())
      return absl::InvalidArgumentError(absl::StrCat(path.str(), ": has no tensor 'input.", argument.name, "', which the graph needs"));
    used.insert(it->first);
    if (absl::Status status = take(argument, it->first, it->second, path); !status.ok())
      return status;
  }
  for (const auto &[key, stored] : given)
    if (StringRef(key).starts_with("input.") && !used.contains(key))
      return absl::InvalidArgumentError(absl::StrCat(path.str(), ": the graph has no input for tensor '", key, "'"));
  return absl::OkStatus();
}

void ModelTensors::takeMissing(const StoredTensors &given) {
  for (ModelTensor &argument : tensors)
    if (auto it = given.find(argument.name); !argument.tensor && it != given.end())
      take(argument, it->first, it->second, "").IgnoreError();
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
