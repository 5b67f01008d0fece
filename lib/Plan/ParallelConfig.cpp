//===- ParallelConfig.cpp - One way of splitting a training step ------------===//
#include "moai/Plan/ParallelConfig.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "moai/Plan/Dim.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/raw_ostream.h"
#include <set>

using namespace moai;

static constexpr const char *kRecomputationNames[] = {"none", "selective", "full"};
static constexpr const char *kScheduleNames[] = {"gpipe", "1f1b", "interleaved-1f1b", "zb-h1", "zb-h2", "zb-v"};

// One place that pairs names with fields, so that text, JSON and checks cannot drift apart.
template <typename Config, typename Visitor> static void visitFields(Config &config, Visitor &&visit) {
  visit("num_stages", config.numStages);
  visit("num_micro_batches", config.numMicroBatches);
  visit("batch_per_device", config.batchPerDevice);
  visit("data_parallel", config.dataParallel);
  visit("tensor_parallel", config.tensorParallel);
  visit("context_parallel", config.contextParallel);
  visit("expert_parallel", config.expertParallel);
  visit("sequence_parallel", config.sequenceParallel);
  visit("zero", config.zero);
  visit("low_precision_params", config.lowPrecisionParams);
  visit("recomputation", config.recomputation);
  visit("schedule", config.schedule);
  visit("virtual_stages", config.virtualStages);
}

int64_t ParallelConfig::globalBatch() const {
  return saturatingMultiply(saturatingMultiply(batchPerDevice, numMicroBatches), dataParallel);
}

int64_t ParallelConfig::numDevices() const {
  return saturatingMultiply(saturatingMultiply(numStages, dataParallel), saturatingMultiply(tensorParallel, contextParallel));
}

bool ParallelConfig::operator==(const ParallelConfig &o) const {
  return numStages == o.numStages && numMicroBatches == o.numMicroBatches && batchPerDevice == o.batchPerDevice &&
         dataParallel == o.dataParallel && tensorParallel == o.tensorParallel && contextParallel == o.contextParallel &&
         expertParallel == o.expertParallel && sequenceParallel == o.sequenceParallel && zero == o.zero &&
         lowPrecisionParams == o.lowPrecisionParams && recomputation == o.recomputation && schedule == o.schedule &&
         virtualStages == o.virtualStages;
}

std::string moai::toString(const RecomputationChoice &recomputation) {
  if (recomputation.kind == Recomputation::FirstBlocks)
    return absl::StrJoin(recomputation.firstBlocks, ":");
  return kRecomputationNames[static_cast<unsigned>(recomputation.kind)];
}

llvm::StringRef moai::toString(ScheduleKind schedule) { return kScheduleNames[static_cast<unsigned>(schedule)]; }

static std::string quote(llvm::StringRef text) { return absl::StrCat("'", text.str(), "'"); }

template <typename Enum, size_t N>
static absl::StatusOr<Enum> parseEnum(llvm::StringRef key, llvm::StringRef text, const char *const (&names)[N]) {
  std::string known;
  for (size_t i = 0; i < N; ++i) {
    if (text == names[i])
      return static_cast<Enum>(i);
    absl::StrAppend(&known, i ? ", " : "", names[i]);
  }
  return absl::InvalidArgumentError(absl::StrCat(key.str(), " is ", quote(text), ", expected one of ", known));
}

absl::StatusOr<RecomputationChoice> moai::parseRecomputation(llvm::StringRef text) {
  RecomputationChoice choice(Recomputation::FirstBlocks);
  llvm::SmallVector<llvm::StringRef> counts;
  text.split(counts, ':');
  for (llvm::StringRef count : counts)
    if (int64_t number; count.getAsInteger(10, number) || number < 0) {
      auto kind = parseEnum<Recomputation>("recomputation", text, kRecomputationNames);
      if (!kind.ok())
        return absl::InvalidArgumentError(absl::StrCat(kind.status().message(), ", or how many blocks of each stage, as in 8:4"));
      return *kind;
    } else {
      choice.firstBlocks.push_back(number);
    }
  return choice;
}

absl::StatusOr<ScheduleKind> moai::parseScheduleKind(llvm::StringRef text) {
  return parseEnum<ScheduleKind>("schedule", text, kScheduleNames);
}

static absl::Status parseValue(llvm::StringRef key, llvm::StringRef text, int64_t &value) {
  if (text.empty() || text.getAsInteger(10, value))
    return absl::InvalidArgumentError(absl::StrCat(key.str(), " is ", quote(text), ", expected a 64-bit integer"));
  return absl::OkStatus();
}

static absl::Status parseValue(llvm::StringRef key, llvm::StringRef text, bool &value) {
  if (text != "true" && text != "false")
    return absl::InvalidArgumentError(absl::StrCat(key.str(), " is ", quote(text), ", expected true or false"));
  value = text == "true";
  return absl::OkStatus();
}

template <typename T> static absl::Status store(absl::StatusOr<T> parsed, T &value) {
  if (!parsed.ok())
    return parsed.status();
  value = *std::move(parsed);
  return absl::OkStatus();
}

static absl::Status parseValue(llvm::StringRef, llvm::StringRef text, RecomputationChoice &value) {
  return store(parseRecomputation(text), value);
}

static absl::Status parseValue(llvm::StringRef, llvm::StringRef text, ScheduleKind &value) { return store(parseScheduleKind(text), value); }

absl::Status moai::checkConfig(const ParallelConfig &config) {
  absl::Status status;
  auto check = [&](const char *name, const auto &value) {
    if constexpr (std::is_same_v<decltype(value), const int64_t &>) {
      bool isZero = std::string_view(name) == "zero";
      if (status.ok() && (value < (isZero ? 0 : 1) || (isZero && value > 3)))
        status = absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", expected ", isZero ? "0, 1, 2 or 3" : "at least 1"));
    }
  };
  visitFields(config, check);
  if (!status.ok())
    return status;

  if (config.recomputation.kind == Recomputation::FirstBlocks &&
      static_cast<int64_t>(config.recomputation.firstBlocks.size()) != config.numStages)
    return absl::InvalidArgumentError(absl::StrCat("recomputation is ", toString(config.recomputation),
                                                   ", expected a count for each of the ", config.numStages, " stages"));
  int64_t replicas = saturatingMultiply(config.dataParallel, config.contextParallel);
  if (replicas % config.expertParallel)
    return absl::InvalidArgumentError(absl::StrCat("expert_parallel is ", config.expertParallel,
                                                   ", expected a divisor of data_parallel x context_parallel = ", replicas));
  if (config.sequenceParallel && config.tensorParallel == 1)
    return absl::InvalidArgumentError("sequence_parallel is true, which needs a tensor_parallel of at least 2; found 1");
  switch (config.schedule) {
  case ScheduleKind::GPipe:
  case ScheduleKind::OneFOneB:
    if (config.virtualStages != 1)
      return absl::InvalidArgumentError(absl::StrCat("virtual_stages is ", config.virtualStages, ", but schedule ",
                                                     toString(config.schedule).str(),
                                                     " has one; use interleaved-1f1b or leave virtual_stages at 1"));
    return absl::OkStatus();
  case ScheduleKind::InterleavedOneFOneB:
    if (config.virtualStages < 2)
      return absl::InvalidArgumentError("virtual_stages is 1, but schedule interleaved-1f1b needs at least 2; use 1f1b");
    if (config.numMicroBatches % config.numStages)
      return absl::InvalidArgumentError(
          absl::StrCat("num_micro_batches is ", config.numMicroBatches,
                       ", but schedule interleaved-1f1b needs a multiple of num_stages = ", config.numStages));
    return absl::OkStatus();
  case ScheduleKind::ZbH1:
  case ScheduleKind::ZbH2:
  case ScheduleKind::ZbV:
    break;
  }
  int64_t chunks = config.schedule == ScheduleKind::ZbV ? 2 : 1;
  if (config.virtualStages != chunks)
    return absl::InvalidArgumentError(
        absl::StrCat("virtual_stages is ", config.virtualStages, ", but schedule ", toString(config.schedule).str(), " needs ", chunks));
  // The weight gradient runs later than the input gradient, so what it needs cannot be dropped in between.
  if (config.recomputation != Recomputation::None)
    return absl::InvalidArgumentError(absl::StrCat("recomputation is ", toString(config.recomputation), ", but schedule ",
                                                   toString(config.schedule).str(), " needs none"));
  return absl::OkStatus();
}

// Reads the fields that the text gives, without checking them against each other; `seen` takes their names.
static absl::StatusOr<ParallelConfig> parseFields(llvm::StringRef text, std::set<std::string> &seen) {
  ParallelConfig config;
  llvm::SmallVector<llvm::StringRef, 16> items;
  if (!text.trim().empty())
    text.split(items, ',');
  for (llvm::StringRef item : items) {
    auto [key, value] = item.split('=');
    key = key.trim();
    value = value.trim();
    if (!item.contains('='))
      return absl::InvalidArgumentError(
          absl::StrCat("configuration item ", quote(item.trim()), " has no '=', expected key=value,key=value"));
    bool found = false;
    absl::Status status;
    std::string known;
    visitFields(config, [&](const char *name, auto &field) {
      absl::StrAppend(&known, known.empty() ? "" : ", ", name);
      if (key != name)
        return;
      found = true;
      status = parseValue(key, value, field);
    });
    if (!found)
      return absl::InvalidArgumentError(absl::StrCat("unknown configuration key ", quote(key), ", expected one of ", known));
    if (!status.ok())
      return status;
    if (!seen.insert(key.str()).second)
      return absl::InvalidArgumentError(absl::StrCat("configuration key ", quote(key), " is given twice"));
  }
  return config;
}

absl::StatusOr<ParallelConfig> moai::parseConfig(llvm::StringRef text) {
  std::set<std::string> seen;
  absl::StatusOr<ParallelConfig> config = parseFields(text, seen);
  if (config.ok())
    if (absl::Status status = checkConfig(*config); !status.ok())
      return status;
  return config;
}

// `1, 2, 4 or 8`: what divides a number, the largest few if there are many.
static std::string divisorsOf(int64_t number) {
  std::vector<int64_t> divisors;
  for (int64_t i = 1; i <= number / i; ++i)
    if (number % i == 0) {
      divisors.push_back(i);
      if (i != number / i)
        divisors.push_back(number / i);
    }
  llvm::sort(divisors);
  constexpr size_t kMost = 8;
  std::string text = divisors.size() > kMost ? "..." : "";
  for (size_t i = divisors.size() > kMost ? divisors.size() - kMost : 0; i < divisors.size(); ++i)
    absl::StrAppend(&text, text.empty() ? "" : i + 1 == divisors.size() ? " or " : ", ", divisors[i]);
  return text;
}

absl::StatusOr<ParallelConfig> moai::deriveConfig(llvm::StringRef text, int64_t numDevices, int64_t globalBatch) {
  std::set<std::string> seen;
  absl::StatusOr<ParallelConfig> parsed = parseFields(text, seen);
  if (!parsed.ok())
    return parsed;
  ParallelConfig &config = *parsed;
  if (absl::Status status = checkConfig(config); !status.ok() && !seen.count("data_parallel")) {
    // Contradictions may go away with what is derived, fields out of range may not.
    if (std::min({config.numStages, config.numMicroBatches, config.batchPerDevice, config.tensorParallel, config.contextParallel}) < 1)
      return status;
  } else if (!status.ok()) {
    return status;
  }
  int64_t others = saturatingMultiply(config.numStages, saturatingMultiply(config.tensorParallel, config.contextParallel));
  if (!seen.count("data_parallel")) {
    if (numDevices % others)
      return absl::InvalidArgumentError(absl::StrCat("num_stages x tensor_parallel x context_parallel is ", others,
                                                     ", expected a divisor of the ", numDevices, " devices: ", divisorsOf(numDevices)));
    config.dataParallel = numDevices / others;
  } else if (config.numDevices() != numDevices) {
    return absl::InvalidArgumentError(
        absl::StrCat("the configuration is for ", config.numDevices(), " devices, the accelerator has ", numDevices));
  }
  if (globalBatch % config.dataParallel)
    return absl::InvalidArgumentError(absl::StrCat("data_parallel is ", config.dataParallel, ", expected a divisor of the global batch of ",
                                                   globalBatch, ": ", divisorsOf(globalBatch)));
  int64_t perReplica = globalBatch / config.dataParallel;
  bool hasBatch = seen.count("batch_per_device"), hasCount = seen.count("num_micro_batches");
  const char *given = hasBatch ? "batch_per_device" : "num_micro_batches";
  int64_t divisor = hasBatch ? config.batchPerDevice : config.numMicroBatches;
  if (perReplica % divisor)
    return absl::InvalidArgumentError(absl::StrCat(given, " is ", divisor, ", expected a divisor of the ", perReplica,
                                                   " samples of one data-parallel replica: ", divisorsOf(perReplica)));
  if (hasBatch && hasCount && config.globalBatch() != globalBatch)
    return absl::InvalidArgumentError(absl::StrCat("batch_per_device x num_micro_batches x data_parallel is ", config.globalBatch(),
                                                   ", the global batch is ", globalBatch, "; leave one of them out"));
  if (!hasBatch)
    config.batchPerDevice = perReplica / divisor;
  else if (!hasCount)
    config.numMicroBatches = perReplica / divisor;
  if (absl::Status status = checkConfig(config); !status.ok())
    return status;
  return config;
}

namespace {
void printValue(llvm::raw_ostream &os, int64_t value) { os << value; }
void printValue(llvm::raw_ostream &os, bool value) { os << (value ? "true" : "false"); }
void printValue(llvm::raw_ostream &os, const RecomputationChoice &value) { os << toString(value); }
void printValue(llvm::raw_ostream &os, ScheduleKind value) { os << toString(value); }
llvm::json::Value jsonValue(int64_t value) { return value; }
llvm::json::Value jsonValue(bool value) { return value; }
llvm::json::Value jsonValue(const RecomputationChoice &value) {
  if (value.kind == Recomputation::FirstBlocks)
    return llvm::json::Array(value.firstBlocks);
  return toString(value);
}
llvm::json::Value jsonValue(ScheduleKind value) { return toString(value); }
} // namespace

std::string moai::toString(const ParallelConfig &config) {
  std::string text;
  llvm::raw_string_ostream os(text);
  const char *separator = "";
  visitFields(config, [&](const char *name, const auto &value) {
    os << separator << name << '=';
    printValue(os, value);
    separator = ",";
  });
  return text;
}

llvm::json::Object moai::toJSON(const ParallelConfig &config) {
  llvm::json::Object object;
  visitFields(config, [&](const char *name, const auto &value) { object[name] = jsonValue(value); });
  return object;
}
