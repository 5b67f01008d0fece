//===- TokenSource.cpp - Inputs made of tokens -----------------------------===//
#include "DataFiles.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include <numeric>

using namespace moai;

//===----------------------------------------------------------------------===//
// What the model needs
//===----------------------------------------------------------------------===//

std::string TokenDemand::str() const {
  return lastMayLack ? absl::StrCat(perSample, " (or ", perSample - 1, ")") : absl::StrCat(perSample);
}

static int64_t elementsPerSample(const ModelInput &input) {
  int64_t count = 1;
  for (auto [size, positions] : llvm::zip(input.shape, input.perSample))
    count *= positions ? positions : size;
  return count;
}

// A sequence for each sample, in rows or one after the other.
static bool isSequence(const ModelInput &input) {
  llvm::ArrayRef<int64_t> perSample = input.perSample;
  return perSample == llvm::ArrayRef<int64_t>{1, 0} || (perSample.size() == 1 && perSample.front() > 1);
}

static bool isIds(const ModelInput &input) { return input.use == InputUse::Tokens || input.use == InputUse::Targets; }

static absl::StatusOr<TokenDemand> demandOf(llvm::ArrayRef<ModelInput> inputs, llvm::StringRef path) {
  static constexpr const char *kInstead = "give a .safetensors file with all inputs";
  TokenDemand demand;
  int64_t longest = 0;
  for (const ModelInput &input : inputs) {
    if (input.use == InputUse::Unused)
      continue;
    if (input.use == InputUse::Other || !isSequence(input))
      return wrongData(path, "the model takes the input '", input.name, "' of shape [", absl::StrJoin(input.shape, ", "),
                       "], which tokens don't tell; ", kInstead);
    if (!isIds(input))
      continue;
    int64_t length = elementsPerSample(input);
    longest = std::max(longest, length);
    demand.perSample = std::max(demand.perSample, length + input.takesNextToken);
    demand.numIds = demand.numIds ? std::min(demand.numIds, input.numIds) : input.numIds;
  }
  if (!demand.perSample)
    return wrongData(path, "the model takes no token ids; ", kInstead);
  demand.lastMayLack = longest < demand.perSample;
  return demand;
}

//===----------------------------------------------------------------------===//
// The source
//===----------------------------------------------------------------------===//

namespace {
class TokenSource final : public DataSource {
public:
  TokenSource(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path, TokenArray array, int64_t perSample,
              llvm::ArrayRef<ModelInput> inputs)
      : buffer(std::move(buffer)), path(path), tokens(std::move(array)), perSample(perSample), samples(tokens.size() / perSample),
        inputs(inputs) {}

  /// Whether the model has all ids.
  absl::Status scan(int64_t numIds);

  int64_t numSamples() const override { return samples; }
  std::string describe() const override {
    return absl::StrCat(path, ": ", countOf(samples, "sample"), " of ", countOf(perSample, "token"), " (", tokens.description, ")");
  }
  uint64_t fingerprint() const override { return hash; }
  Batch read(llvm::ArrayRef<int64_t> numbers) const override;

private:
  void load(int64_t sample, double *to) const {
    tokens.storage->load(tokens.bytes.data() + sample * perSample * static_cast<int64_t>(tokens.storage->width), 1, to, perSample);
  }
  void fill(const ModelInput &input, llvm::ArrayRef<double> sample, llvm::MutableArrayRef<double> to) const;

  std::unique_ptr<llvm::MemoryBuffer> buffer;
  std::string path;
  TokenArray tokens;
  int64_t perSample; ///< in the file
  int64_t samples;
  std::vector<ModelInput> inputs;
  uint64_t hash = 0;
};
} // namespace

absl::Status TokenSource::scan(int64_t numIds) {
  hash = perSample;
  llvm::StringRef used = tokens.bytes.take_front(samples * perSample * tokens.storage->width);
  int64_t wrong = scanNumbers(*tokens.storage, used, {/*isChecked=*/true, numIds, std::nullopt}, hash);
  if (wrong < 0)
    return absl::OkStatus();
  double id;
  tokens.storage->load(used.data() + wrong * static_cast<int64_t>(tokens.storage->width), 1, &id, 1);
  std::string what = tokens.isText ? absl::StrFormat("byte 0x%02X", static_cast<int>(id)) : absl::StrFormat("token %.0f", id);
  return wrongData(path, "sample ", wrong / perSample, " has the ", what, " at position ", wrong % perSample,
                   ", the model's vocabulary has ", numIds, " ids");
}

void TokenSource::fill(const ModelInput &input, llvm::ArrayRef<double> sample, llvm::MutableArrayRef<double> to) const {
  switch (input.use) {
  case InputUse::Tokens:
  case InputUse::Targets:
    sample = sample.drop_front(input.takesNextToken).take_front(to.size());
    // A sample without a token more has nothing to follow its last.
    std::fill(llvm::copy(sample, to.begin()), to.end(), static_cast<double>(input.ignoredId));
    return;
  case InputUse::Mask:
    std::fill(to.begin(), to.end(), 1);
    return;
  case InputUse::Positions:
    std::iota(to.begin(), to.end(), 0);
    return;
  case InputUse::Segments:
  case InputUse::Unused:
  case InputUse::Other:
    std::fill(to.begin(), to.end(), 0);
    return;
  }
}

Batch TokenSource::read(llvm::ArrayRef<int64_t> numbers) const {
  std::vector<double> all(numbers.size() * perSample);
  for (auto [i, number] : llvm::enumerate(numbers))
    load(number, &all[i * perSample]);
  Batch batch;
  for (const ModelInput &input : inputs) {
    if (input.use == InputUse::Unused)
      continue;
    llvm::SmallVector<int64_t, 4> shape = input.shape;
    shape.front() = static_cast<int64_t>(numbers.size()) * input.perSample.front();
    auto tensor = std::make_shared<Tensor>(shape);
    int64_t count = elementsPerSample(input);
    for (size_t i = 0; i < numbers.size(); ++i)
      fill(input, llvm::ArrayRef(all).slice(i * perSample, perSample), llvm::MutableArrayRef(tensor->values).slice(i * count, count));
    batch[input.name] = std::move(tensor);
  }
  return batch;
}

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

static bool isOnlyNumbers(llvm::StringRef text) {
  return text.find_first_not_of("0123456789- \t,\r\n") == llvm::StringRef::npos &&
         text.find_first_of("0123456789") != llvm::StringRef::npos;
}

// The format of a file that is not said, by its name and content.
static DataFormat guessFormat(llvm::StringRef bytes, llvm::StringRef path, int64_t numIds) {
  if (path.ends_with(".npy"))
    return DataFormat::Npy;
  if (!path.ends_with(".bin"))
    return isOnlyNumbers(bytes) ? DataFormat::Ids : DataFormat::Text;
  uint64_t unused = 0;
  bool fits = bytes.size() % 4 == 0 && scanNumbers(*findStorage("U32"), bytes, {/*isChecked=*/true, numIds, std::nullopt}, unused) < 0;
  return fits ? DataFormat::Bin32 : DataFormat::Bin16;
}

static absl::StatusOr<TokenArray> readTokens(llvm::StringRef bytes, llvm::StringRef path, DataFormat format, const TokenDemand &demand) {
  if (format == DataFormat::Ids)
    return parseIds(bytes, path, demand);
  if (format == DataFormat::Npy)
    return parseNpy(bytes, path, demand);
  if (format != DataFormat::Text)
    return parseBin(bytes, path, format);
  TokenArray array;
  array.storage = findStorage("U8");
  array.bytes = bytes;
  array.description = "text, a byte a token";
  array.isText = true;
  return array;
}

absl::StatusOr<std::unique_ptr<DataSource>> moai::openTokens(std::unique_ptr<llvm::MemoryBuffer> buffer, llvm::StringRef path,
                                                             std::optional<DataFormat> format, llvm::ArrayRef<ModelInput> inputs) {
  auto demand = demandOf(inputs, path);
  if (!demand.ok())
    return demand.status();
  llvm::StringRef bytes = buffer->getBuffer();
  if (bytes.empty())
    return wrongData(path, "is empty, a sample takes ", demand->str(), " tokens");
  auto array = readTokens(bytes, path, format ? *format : guessFormat(bytes, path, demand->numIds), *demand);
  if (!array.ok())
    return array.status();
  int64_t perSample = array->perRow ? array->perRow : demand->perSample;
  if (array->size() < perSample)
    return wrongData(path, "has ", countOf(array->size(), "token"), ", a sample takes ", perSample);
  auto source = std::make_unique<TokenSource>(std::move(buffer), path, std::move(*array), perSample, inputs);
  if (absl::Status status = source->scan(demand->numIds); !status.ok())
    return status;
  return source;
}
