//===- Enumerate.cpp - The candidates that MoAI tries -----------------------===//
#include "moai/Planner/Enumerate.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include <algorithm>

using namespace moai;

absl::StatusOr<MoaiGeneration> moai::parseGeneration(llvm::StringRef text) {
  auto [major, rest] = text.split('.');
  auto [minor, patch] = rest.split('.');
  unsigned patchNumber = 0;
  bool patchOk = !rest.contains('.') || !patch.getAsInteger(10, patchNumber);
  if (major == "24" && patchOk) {
    if (minor == "2")
      return MoaiGeneration::V24_2;
    if (minor == "3" || minor == "4") // the logs of 24.3 are those of April 2024's release
      return MoaiGeneration::V24_4;
    if (minor == "5")
      return MoaiGeneration::V24_5;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown MoAI release '", text.str(), "', expected 24.2, 24.3, 24.4 or 24.5"));
}

llvm::StringRef moai::toString(MoaiGeneration generation) {
  switch (generation) {
  case MoaiGeneration::V24_2:
    return "24.2";
  case MoaiGeneration::V24_4:
    return "24.4";
  case MoaiGeneration::V24_5:
    break;
  }
  return "24.5";
}

/// Every shape of one batch size; the options that don't change the shape are left at their defaults.
static std::vector<ParallelConfig> enumerateShapes(int64_t numDevices, int64_t numNodes, int64_t globalBatch, bool variousBatches,
                                                   MoaiGeneration generation) {
  std::vector<ParallelConfig> shapes;
  ParallelConfig shape;
  shape.zero = 1;
  shape.schedule = ScheduleKind::OneFOneB;
  if (generation != MoaiGeneration::V24_2 && globalBatch % numDevices == 0) {
    shape.dataParallel = numDevices;
    shape.batchPerDevice = globalBatch / numDevices;
    shapes.push_back(shape);
  }
  if (variousBatches)
    return shapes;
  for (int64_t stages = 2; stages <= numNodes; stages *= 2) {
    if (numDevices % stages)
      continue;
    int64_t replicas = numDevices / stages;
    for (int64_t perDevice : {1, 2, 4, 8}) {
      if (globalBatch % (replicas * perDevice) || globalBatch / (replicas * perDevice) < 2)
        continue;
      shape.numStages = stages;
      shape.dataParallel = replicas;
      shape.batchPerDevice = perDevice;
      shape.numMicroBatches = globalBatch / (replicas * perDevice);
      shapes.push_back(shape);
    }
  }
  return shapes;
}

static std::string countOf(int64_t number, const char *thing) { return absl::StrCat(number, " ", thing, number == 1 ? "" : "s"); }

/// What to try instead: the nearest batch sizes with a candidate.
static std::string suggestBatches(const SearchSpaceRequest &request, int64_t globalBatch, bool variousBatches) {
  auto works = [&](int64_t batch) {
    return !enumerateShapes(request.numDevices, request.numNodes, batch, variousBatches, request.generation).empty();
  };
  // Every shape's batch is a multiple of its replicas, of which the pipeline with the most stages has the fewest; it takes
  // each multiple but the first. So two steps either way decide.
  int64_t step = request.numDevices;
  for (int64_t stages = 2; !variousBatches && stages <= request.numNodes; stages *= 2)
    if (request.numDevices % stages == 0)
      step = request.numDevices / stages;
  int64_t below = globalBatch - globalBatch % step, above = below + step;
  for (int64_t tries = 0; tries < 2 && below > 0 && !works(below); ++tries)
    below -= step;
  for (int64_t tries = 0; tries < 2 && !works(above); ++tries)
    above += step;
  std::vector<int64_t> found;
  if (below > 0 && works(below))
    found.push_back(below);
  if (works(above))
    found.push_back(above);
  if (found.empty())
    return "no batch size has one";
  return absl::StrCat("the nearest that ", found.size() == 1 ? "has one is " : "have one are ", absl::StrJoin(found, " and "));
}

absl::StatusOr<std::vector<ParallelConfig>> moai::enumerateMoaiSpace(const SearchSpaceRequest &request) {
  if (request.numDevices < 1 || request.numNodes < 1 || request.numNodes > request.numDevices)
    return absl::InvalidArgumentError(absl::StrCat("an accelerator of ", request.numDevices, " devices in ", request.numNodes,
                                                   " nodes cannot be searched, expected at least one device in each node"));
  if (request.globalBatches.empty())
    return absl::InvalidArgumentError("no global batch size is given, expected at least one");
  for (int64_t batch : request.globalBatches)
    if (batch < 1 || batch > (int64_t(1) << 40))
      return absl::InvalidArgumentError(absl::StrCat("global batch size is ", batch, ", expected 1 to 2^40"));

  int64_t batch = *std::max_element(request.globalBatches.begin(), request.globalBatches.end());
  bool various = *std::min_element(request.globalBatches.begin(), request.globalBatches.end()) != batch;
  MoaiGeneration generation = request.generation;
  std::vector<ParallelConfig> shapes = enumerateShapes(request.numDevices, request.numNodes, batch, various, generation);
  if (shapes.empty()) {
    std::string start = absl::StrCat("MoAI ", toString(generation).str(), " has no candidate for a global batch of ", batch, " on ",
                                     countOf(request.numDevices, "device"), " in ", countOf(request.numNodes, "node"));
    if (generation == MoaiGeneration::V24_2 && various)
      return absl::InvalidArgumentError(absl::StrCat(start, ": with several batch sizes only a step without pipeline is left, "
                                                            "which it does not try; use one batch size or 24.4 or later"));
    if (generation == MoaiGeneration::V24_2 && request.numNodes < 2)
      return absl::InvalidArgumentError(
          absl::StrCat(start, ": it tries pipelines only, which need two nodes; use more nodes or 24.4 or later"));
    return absl::InvalidArgumentError(absl::StrCat(start, "; ", suggestBatches(request, batch, various)));
  }

  std::vector<ParallelConfig> candidates;
  candidates.reserve(shapes.size() * 6);
  for (ParallelConfig config : shapes)
    for (Recomputation recomputation : {Recomputation::None, Recomputation::Selective, Recomputation::Full})
      for (bool lowPrecision : {false, true}) {
        if (generation == MoaiGeneration::V24_2 && (recomputation == Recomputation::Selective || !lowPrecision))
          continue;
        if (generation == MoaiGeneration::V24_4 && recomputation == Recomputation::Full && lowPrecision)
          continue;
        config.recomputation = recomputation;
        config.lowPrecisionParams = lowPrecision;
        candidates.push_back(config);
      }
  return candidates;
}

static std::string formatRecomputation(const RecomputationChoice &recomputation, MoaiGeneration generation) {
  // Published lines show `false` and `true` (24.2), `1` (24.4) and `default(1)` (24.5); `none(0)` and `full(2)` follow the
  // same pattern but were never seen. MoAI has no counts per stage.
  static constexpr const char *kNames[] = {"none", "default", "full"};
  if (generation == MoaiGeneration::V24_2)
    return recomputation == Recomputation::None ? "false" : "true";
  if (recomputation.kind == Recomputation::FirstBlocks)
    return toString(recomputation);
  unsigned level = static_cast<unsigned>(recomputation.kind);
  return generation == MoaiGeneration::V24_4 ? absl::StrCat(level) : absl::StrFormat("%s(%d)", kNames[level], level);
}

std::string moai::formatMoaiLine(const ParallelConfig &config, MoaiGeneration generation) {
  auto boolean = [](bool value) { return value ? "true" : "false"; };
  std::string line = "No PP, ";
  if (config.numStages > 1)
    line = absl::StrFormat("num_stages : %d, num_micro_batches : %d, batch_per_device : %d, ", config.numStages, config.numMicroBatches,
                           config.batchPerDevice);
  line += config.tensorParallel > 1 ? absl::StrFormat("tensor_parallel : %d, ", config.tensorParallel) : "No TP, ";
  absl::StrAppend(&line, "recomputation : ", formatRecomputation(config.recomputation, generation),
                  ", distribute_param : ", boolean(config.zero > 0));
  if (generation != MoaiGeneration::V24_2)
    absl::StrAppend(&line, ", distribute_low_prec_param : ", boolean(config.lowPrecisionParams));
  return line;
}

std::string moai::formatBatchWarning(llvm::ArrayRef<int64_t> batches) {
  return absl::StrCat("Various batch size detected : ", absl::StrJoin(batches, ", "));
}
