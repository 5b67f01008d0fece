//===- TensorSource.cpp - Inputs out of .safetensors files -----------------===//
#include "DataFiles.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "moai/Execute/Safetensors.h"
#include "llvm/ADT/StringSet.h"

using namespace moai;

namespace {
/// An input and the tensor that holds it for all samples: `outer` times, for each sample, `inner` elements.
struct StoredInput {
  ModelInput input;
  std::string key;
  const SafetensorsFile::Entry *entry = nullptr;
  int64_t outer = 1, inner = 1;
  int64_t samples = 0; ///< 0 for an input that no sample extends

  /// `sample 3 of tensor 'input_ids'`
  std::string placeOf(int64_t element) const {
    return absl::StrCat(samples ? absl::StrCat("sample ", element / inner % samples, " of ") : "", "tensor '", key, "'");
  }
};

class TensorSource final : public DataSource {
public:
  static absl::StatusOr<std::unique_ptr<DataSource>> create(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path,
                                                            llvm::ArrayRef<ModelInput> inputs);

  int64_t numSamples() const override { return samples; }
  std::string describe() const override {
    return absl::StrCat(path, ": ", countOf(samples, "sample"), " of ", countOf(static_cast<int64_t>(inputs.size()), "tensor"),
                        " (safetensors)");
  }
  uint64_t fingerprint() const override { return hash; }
  Batch read(llvm::ArrayRef<int64_t> numbers) const override;

private:
  absl::Status find(const ModelInput &input);
  absl::Status countSamples();
  absl::Status checkKeys() const;
  absl::Status scan();

  std::unique_ptr<llvm::MemoryBuffer> buffer;
  std::string path;
  SafetensorsFile file;
  std::vector<StoredInput> inputs;
  int64_t samples = 0;
  uint64_t hash = 0;
};
} // namespace

//===----------------------------------------------------------------------===//
// What the file holds
//===----------------------------------------------------------------------===//

// `[samples, 16]`
static std::string expectedShape(const ModelInput &input) {
  std::vector<std::string> dims;
  for (auto [size, positions] : llvm::zip(input.shape, input.perSample))
    dims.push_back(positions == 0 ? absl::StrCat(size) : positions == 1 ? "samples" : absl::StrCat(positions, " * samples"));
  return absl::StrCat("[", absl::StrJoin(dims, ", "), "]");
}

// Lays out a tensor of that shape. False if it isn't the input's for any number of samples.
static bool layOut(StoredInput &stored) {
  llvm::ArrayRef<int64_t> shape = stored.entry->shape;
  const ModelInput &input = stored.input;
  if (shape.size() != input.shape.size())
    return false;
  for (auto [size, expected, positions] : llvm::zip(shape, input.shape, input.perSample)) {
    if (positions ? size % positions != 0 || size == 0 : size != expected)
      return false;
    if (positions) {
      stored.samples = size / positions;
      stored.outer = std::exchange(stored.inner, 1);
    }
    stored.inner *= positions ? positions : size;
  }
  return true;
}

absl::Status TensorSource::find(const ModelInput &input) {
  if (llvm::count_if(input.perSample, [](int64_t positions) { return positions != 0; }) > 1)
    return wrongData(path, "the model's input '", input.name, "' has samples along several dimensions, which can't be read from files");
  StoredInput stored;
  stored.input = input;
  stored.key = "input." + input.name;
  auto it = file.entries().find(stored.key);
  if (it == file.entries().end())
    it = file.entries().find(stored.key = input.name);
  if (it == file.entries().end() && input.use == InputUse::Unused)
    return absl::OkStatus();
  if (it == file.entries().end())
    return wrongData(path, "has no tensor 'input.", input.name, "', which the graph needs");
  stored.entry = &it->second;
  if (!layOut(stored))
    return wrongData(path, "tensor '", stored.key, "' has the shape [", absl::StrJoin(stored.entry->shape, ", "), "], expected ",
                     expectedShape(input));
  if (!mayStandFor(stored.entry->type, input.type))
    return wrongData(path, "tensor '", stored.key, "' is of type ", stored.entry->type, ", the graph takes ", input.type);
  inputs.push_back(std::move(stored));
  return absl::OkStatus();
}

absl::Status TensorSource::countSamples() {
  const StoredInput *first = nullptr;
  for (const StoredInput &stored : inputs) {
    if (!stored.samples)
      continue;
    if (first && stored.samples != first->samples)
      return wrongData(path, "tensor '", stored.key, "' holds ", countOf(stored.samples, "sample"), ", '", first->key, "' ",
                       first->samples);
    if (!first)
      first = &stored;
  }
  if (!first)
    return wrongData(path, "the model takes no input of samples");
  samples = first->samples;
  return absl::OkStatus();
}

absl::Status TensorSource::checkKeys() const {
  llvm::StringSet<> used;
  for (const StoredInput &stored : inputs)
    used.insert(stored.key);
  for (const auto &[key, entry] : file.entries())
    if (llvm::StringRef(key).starts_with("input.") && !used.contains(key))
      return wrongData(path, "the graph has no input for tensor '", key, "'");
  return absl::OkStatus();
}

absl::Status TensorSource::scan() {
  hash = samples;
  for (const StoredInput &stored : inputs) {
    NumberRange range;
    range.isChecked = stored.input.use == InputUse::Tokens || stored.input.use == InputUse::Targets;
    range.numIds = stored.input.numIds;
    if (stored.input.use == InputUse::Targets)
      range.ignored = stored.input.ignoredId;
    int64_t wrong = scanNumbers(*findStorage(stored.entry->type), stored.entry->bytes, range, hash);
    if (wrong < 0)
      continue;
    double id;
    SafetensorsFile::readElements(*stored.entry, wrong, 1, &id);
    return wrongData(path, stored.placeOf(wrong), " has the id ", absl::StrFormat("%.0f", id), " at position ", wrong % stored.inner,
                     ", expected less than ", range.numIds);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DataSource>> TensorSource::create(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path,
                                                                 llvm::ArrayRef<ModelInput> inputs) {
  auto file = SafetensorsFile::parse(buffer->getBuffer(), path);
  if (!file.ok())
    return file.status();
  auto source = std::make_unique<TensorSource>();
  source->buffer = std::move(buffer);
  source->path = path.str();
  source->file = std::move(*file);
  for (const ModelInput &input : inputs)
    if (absl::Status status = source->find(input); !status.ok())
      return status;
  if (absl::Status status = source->countSamples(); !status.ok())
    return status;
  if (absl::Status status = source->checkKeys(); !status.ok())
    return status;
  if (absl::Status status = source->scan(); !status.ok())
    return status;
  return source;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

Batch TensorSource::read(llvm::ArrayRef<int64_t> numbers) const {
  Batch batch;
  for (const StoredInput &stored : inputs) {
    if (!stored.samples) {
      batch[stored.input.name] = std::make_shared<Tensor>(SafetensorsFile::read(*stored.entry).tensor);
      continue;
    }
    llvm::SmallVector<int64_t, 4> shape = stored.input.shape;
    for (auto [size, positions] : llvm::zip(shape, stored.input.perSample))
      if (positions)
        size = positions * static_cast<int64_t>(numbers.size());
    auto tensor = std::make_shared<Tensor>(shape);
    double *to = tensor->values.data();
    for (int64_t i = 0; i < stored.outer; ++i)
      for (int64_t number : numbers) {
        SafetensorsFile::readElements(*stored.entry, (i * stored.samples + number) * stored.inner, stored.inner, to);
        to += stored.inner;
      }
    batch[stored.input.name] = std::move(tensor);
  }
  return batch;
}

absl::StatusOr<std::unique_ptr<DataSource>> moai::openTensors(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path,
                                                              llvm::ArrayRef<ModelInput> inputs) {
  return TensorSource::create(std::move(buffer), path, inputs);
}
