// Any bytes as a file of samples: read or refused, never worse, and no id is beyond the vocabulary.
#include "moai/Execute/DataSource.h"

using namespace moai;

extern "C" const char *__asan_default_options();
// LLVM's allocators poison memory that LLVM's own, uninstrumented, libraries then use.
extern "C" const char *__asan_default_options() { return "allow_user_poisoning=0"; }

static constexpr int64_t kNumIds = 200;

static ModelInput input(const char *name, InputUse use) {
  ModelInput input;
  input.name = name;
  input.type = "I64";
  input.shape = {4, 2};
  input.perSample = {1, 0};
  input.use = use;
  input.numIds = kNumIds;
  input.ignoredId = -100;
  input.takesNextToken = use == InputUse::Targets;
  return input;
}

static void readAll(const DataSource &source) {
  for (int64_t first = 0; first < source.numSamples(); first += 64) {
    std::vector<int64_t> samples;
    for (int64_t sample = first; sample < std::min(first + 64, source.numSamples()); ++sample)
      samples.push_back(sample);
    Batch batch = source.read(samples);
    for (const auto &[name, tensor] : batch) {
      if (tensor->size() != static_cast<int64_t>(2 * samples.size()))
        __builtin_trap();
      for (double value : tensor->values)
        if (name != "attention_mask" && !(value >= 0 && value < kNumIds) && !(name == "labels" && value == -100))
          __builtin_trap();
    }
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const std::vector<ModelInput> inputs = {input("ids", InputUse::Tokens), input("labels", InputUse::Targets),
                                                 input("attention_mask", InputUse::Mask)};
  llvm::StringRef bytes(reinterpret_cast<const char *>(data), size);
  // The first byte chooses the format; without one that it is for, the content does.
  static const std::pair<char, DataFormat> formats[] = {{'t', DataFormat::Text},  {'i', DataFormat::Ids},   {'n', DataFormat::Npy},
                                                        {'2', DataFormat::Bin16}, {'4', DataFormat::Bin32}, {'s', DataFormat::Safetensors}};
  std::optional<DataFormat> format;
  for (auto [letter, chosen] : formats)
    if (!bytes.empty() && bytes.front() == letter)
      format = chosen;
  auto source = DataSource::parse(bytes.drop_front(bytes.empty() ? 0 : 1), "fuzzed.bin", format, inputs);
  if (source.ok())
    readAll(**source);
  else if (source.status().message().find("fuzzed.bin: ") != 0)
    __builtin_trap(); // every refusal names the file
  return 0;
}
