//===- WhatFits.cpp - Where a step that doesn't fit would ------------------===//
#include "moai/Planner/WhatFits.h"
#include "Compile.h"
#include "absl/strings/str_cat.h"

using namespace moai;

// Whether any candidate of the request stays within the limit.
static bool fits(mlir::ModuleOp trainingGraph, const PlanRequest &request) {
  std::vector<ParallelConfig> configs;
  if (request.config)
    configs.push_back(*request.config);
  else if (auto space = enumerateMoaiSpace(
               {request.accelerator.numDevices, request.accelerator.numNodes(), request.globalBatches, request.generation});
           space.ok())
    configs = *space;
  std::vector<Candidate> candidates(configs.size());
  for (auto [candidate, config] : llvm::zip(candidates, configs))
    candidate.config = config;
  if (!compileCandidates(trainingGraph, request, candidates).ok())
    return false;
  // A configuration of the user's own runs wherever its devices hold it.
  double ratio = request.config ? 1 : request.memoryRatio;
  rejectWhatDoesNotFit(candidates, static_cast<int64_t>(ratio * static_cast<double>(request.accelerator.device.memoryBytes)));
  return llvm::any_of(candidates, [](const Candidate &candidate) { return !candidate.rejected; });
}

// Those with more devices, in their order: flavors for a flavor, otherwise two, four, ... times as many of the same.
static std::vector<Accelerator> largerThan(const Accelerator &accelerator) {
  std::vector<Accelerator> larger;
  auto add = [&](int64_t numDevices, const std::string &name) {
    Accelerator next = accelerator;
    next.numDevices = numDevices;
    next.name = name;
    larger.push_back(next);
  };
  std::vector<std::string> flavors = listFlavors();
  if (!llvm::is_contained(flavors, accelerator.name)) {
    constexpr int64_t kMostTimes = 64;
    for (int64_t times = 2; times <= kMostTimes; times *= 2)
      add(accelerator.numDevices * times, absl::StrCat(accelerator.device.name, ":", accelerator.numDevices * times));
    return larger;
  }
  for (const std::string &flavor : flavors)
    if (auto next = resolveAccelerator(flavor); next.ok() && next->numDevices > accelerator.numDevices)
      add(next->numDevices, flavor);
  return larger;
}

// The same request for half the samples; nothing if there is no such.
static std::optional<PlanRequest> halve(PlanRequest request) {
  for (int64_t &batch : request.globalBatches)
    batch /= 2;
  if (request.config) {
    request.config->batchPerDevice /= 2;
    request.globalBatches = {request.config->globalBatch()};
  }
  if (llvm::is_contained(request.globalBatches, 0))
    return std::nullopt;
  return request;
}

std::string moai::describeWhatFits(mlir::ModuleOp trainingGraph, const PlanRequest &given) {
  PlanRequest request = given;
  request.dumpDirectory.clear();
  std::string larger, batch;
  // One configuration is for its devices; more of them take another, which the space may hold, and perhaps for these devices too.
  request.config.reset();
  std::vector<Accelerator> accelerators = largerThan(given.accelerator);
  if (given.config)
    accelerators.insert(accelerators.begin(), given.accelerator);
  for (const Accelerator &accelerator : accelerators) {
    request.accelerator = accelerator;
    if (!fits(trainingGraph, request))
      continue;
    larger = absl::StrCat(accelerator.name, given.config ? " without --config" : "");
    break;
  }
  request.accelerator = given.accelerator;
  request.config = given.config;
  for (auto smaller = halve(request); smaller; smaller = halve(*smaller))
    if (fits(trainingGraph, *smaller)) {
      batch = absl::StrCat("a --global-batch of ", *llvm::max_element(smaller->globalBatches), " on ", given.accelerator.name);
      break;
    }
  if (larger.empty() && batch.empty())
    return "no larger accelerator and no smaller --global-batch would hold it; take a smaller model, or devices with more memory";
  if (larger.empty() || batch.empty())
    return larger + batch + " would hold it";
  return absl::StrCat(larger, " would hold it, and so would ", batch);
}
