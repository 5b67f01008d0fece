//===- CheckpointWeights.cpp - A model's weights in files ------------------===//
#include "moai/Execute/CheckpointWeights.h"
#include "absl/strings/str_cat.h"
#include "moai/Support/Json.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"

using namespace moai;
namespace json = llvm::json;
namespace path = llvm::sys::path;

static CheckpointWeights::Entry entryOf(const SafetensorsFile::Entry &stored) { return {stored.type, stored.shape, &stored, nullptr}; }

absl::Status CheckpointWeights::openFile(llvm::StringRef file) {
  auto opened = SafetensorsFile::open(file);
  if (!opened.ok())
    return opened.status();
  files.push_back(std::move(*opened));
  for (const auto &[name, stored] : files.back().entries())
    tensors[name] = entryOf(stored);
  return absl::OkStatus();
}

//===----------------------------------------------------------------------===//
// Sharded checkpoints
//===----------------------------------------------------------------------===//

using NamesByShard = std::map<std::string, std::vector<std::string>>;

static absl::StatusOr<NamesByShard> parseIndex(llvm::StringRef text, llvm::StringRef index) {
  auto wrong = [&](auto... what) { return absl::InvalidArgumentError(absl::StrCat(index.str(), ": ", what...)); };
  absl::StatusOr<json::Value> parsed = parseJson(text);
  if (!parsed.ok())
    return wrong("is not JSON; expected the index of a checkpoint");
  const json::Object *object = parsed->getAsObject();
  const json::Object *map = object ? object->getObject("weight_map") : nullptr;
  if (!map)
    return wrong("has no weight_map; expected the index of a checkpoint");
  NamesByShard shards;
  for (const auto &[name, value] : *map) {
    llvm::StringRef shard = value.getAsString().value_or("");
    if (shard.empty() || shard == "." || shard == ".." || shard.contains('/'))
      return wrong("puts tensor '", name.str(), "' into '", shard.str(), "'; expected a file beside it");
    shards[shard.str()].push_back(name.str());
  }
  return shards;
}

absl::Status CheckpointWeights::openIndex(llvm::StringRef index) {
  auto buffer = llvm::MemoryBuffer::getFile(index);
  if (!buffer)
    return absl::NotFoundError(absl::StrCat(index.str(), ": can't be read (", buffer.getError().message(), ")"));
  auto shards = parseIndex((*buffer)->getBuffer(), index);
  if (!shards.ok())
    return shards.status();
  for (const auto &[shard, names] : *shards) {
    llvm::SmallString<256> file(path::parent_path(index));
    path::append(file, shard);
    auto opened = SafetensorsFile::open(file);
    if (!opened.ok())
      return absl::Status(opened.status().code(), absl::StrCat(opened.status().message(), ", and ", index.str(), " names it"));
    files.push_back(std::move(*opened));
    for (const std::string &name : names) {
      auto stored = files.back().entries().find(name);
      if (stored == files.back().entries().end())
        return absl::InvalidArgumentError(
            absl::StrCat(index.str(), ": puts tensor '", name, "' into '", shard, "', which doesn't have it"));
      tensors[name] = entryOf(stored->second);
    }
  }
  return absl::OkStatus();
}

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

absl::StatusOr<CheckpointWeights> CheckpointWeights::open(llvm::StringRef given) {
  CheckpointWeights weights;
  weights.from = given.str();
  llvm::SmallString<256> file(given);
  if (llvm::sys::fs::is_directory(given)) {
    path::append(file, "model.safetensors");
    if (!llvm::sys::fs::exists(file))
      file += ".index.json";
    if (!llvm::sys::fs::exists(file))
      return absl::NotFoundError(absl::StrCat(given.str(), ": holds neither model.safetensors nor model.safetensors.index.json"));
  }
  absl::Status status = file.ends_with(".json") ? weights.openIndex(file) : weights.openFile(file);
  if (!status.ok())
    return status;
  return weights;
}

CheckpointWeights CheckpointWeights::of(const StoredTensors &tensors, llvm::StringRef path) {
  CheckpointWeights weights;
  weights.from = path.str();
  for (const auto &[name, stored] : tensors)
    weights.tensors[name] = {stored.type, stored.tensor.shape, nullptr, &stored.tensor};
  return weights;
}
