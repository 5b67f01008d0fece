//===- Platform.cpp - An accelerator is taken, and planned for -------------===//
#include "Platform.h"
#include "absl/strings/str_cat.h"
#include "moai/Accelerator/CurrentAccelerator.h"
#include "moai/Support/Log.h"

using namespace moai;

// The flavor of so many devices, or as many of the devices that flavors are made of.
static absl::StatusOr<Accelerator> acceleratorOf(int64_t numDevices) {
  std::string deviceName;
  for (const std::string &flavor : listFlavors()) {
    absl::StatusOr<Accelerator> accelerator = resolveAccelerator(flavor);
    if (!accelerator.ok() || accelerator->numDevices == numDevices)
      return accelerator;
    deviceName = accelerator->device.name;
  }
  return resolveAccelerator(absl::StrCat(deviceName, ":", numDevices));
}

static absl::StatusOr<Accelerator> acceleratorAsGiven(const RunRequest &request) {
  if (request.accelerator)
    return *request.accelerator == "none" ? acceleratorOf(1) : resolveAccelerator(*request.accelerator);
  if (!request.config.empty()) {
    absl::StatusOr<ParallelConfig> config = parseConfig(request.config);
    if (!config.ok())
      return absl::InvalidArgumentError(absl::StrCat("--config=", request.config, ": ", config.status().message()));
    return acceleratorOf(config->numDevices());
  }
  absl::StatusOr<CurrentAccelerator> current = currentAccelerator();
  return current.ok() ? absl::StatusOr<Accelerator>(current->accelerator) : current.status();
}

absl::StatusOr<Accelerator> moai::chooseAccelerator(const RunRequest &request) {
  absl::StatusOr<Accelerator> accelerator = acceleratorAsGiven(request);
  if (accelerator.ok() && request.deviceMemory)
    accelerator->device.memoryBytes = *request.deviceMemory;
  return accelerator;
}

void moai::logConnection(const Accelerator &accelerator) {
  logInfo(absl::StrCat("Requesting MoAI Accelerator ", accelerator.name, "..."));
  logInfo("Initializing MoAI Accelerator...");
  int64_t nodes = accelerator.numNodes();
  for (int64_t node = 0; node < nodes; ++node)
    logInfo(absl::StrCat("[", node + 1, "/", nodes, "] Connecting to virtual node ", node, " on this machine..."));
  logInfo("MoAI Accelerator is ready to use.");
}

absl::StatusOr<PlanRequest> moai::planRequestFor(const RunRequest &request, const Accelerator &accelerator, const DimBinding &binding) {
  PlanRequest plan;
  plan.accelerator = accelerator;
  plan.globalBatches = {binding.values[kBatchSymbol]};
  plan.generation = request.generation;
  plan.optimizer = request.optimizer;
  plan.precision = request.precision;
  plan.memoryRatio = request.memoryRatio;
  bool isPlainDevice = request.accelerator == "none";
  if (request.config.empty() && !isPlainDevice)
    return plan;
  absl::StatusOr<ParallelConfig> config = deriveConfig(request.config, accelerator.numDevices, plan.globalBatches.front());
  if (!config.ok())
    return absl::InvalidArgumentError(absl::StrCat("--config=", request.config, ": ", config.status().message()));
  plan.config = *config;
  return plan;
}

absl::StatusOr<Plan> moai::planRun(const RunRequest &run, const PlanRequest &request, ImportedModel &model) {
  absl::StatusOr<Plan> plan = planModel(*model.module, model.summary, request);
  if (plan.ok() && request.config && plan->candidates[0].stages.empty())
    return absl::InvalidArgumentError(absl::StrCat("--config=", run.config, ": ", plan->candidates[0].rejected->reason));
  return plan;
}
