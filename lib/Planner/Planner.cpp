//===- Planner.cpp - Enumerate, compile, cost, select ----------------------===//
#include "moai/Planner/Planner.h"
#include "Compile.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "moai/CostModel/StepTime.h"
#include "moai/IR/Flops.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Plan/DeviceMesh.h"
#include "moai/Planner/WhatFits.h"
#include "moai/Support/Bytes.h"
#include "moai/Support/Log.h"
#include <chrono>
#include <cmath>

using namespace moai;

namespace {
class Stopwatch {
public:
  double milliseconds() const { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(); }

private:
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};
} // namespace

OptimizerPolicy PlanRequest::policy() const {
  OptimizerPolicy policy = optimizer;
  policy.precision = precision.value_or(config ? PrecisionPolicy() : *parsePrecision("mixed"));
  return policy;
}

MemoryModel PlanRequest::memoryModel() const {
  constexpr int64_t kCachingAllocatorBlock = 512;
  if (pytorchStep)
    return {allocationGranularity.value_or(1), kernelWorkspaceBytes.value_or(0)};
  return {allocationGranularity.value_or(kCachingAllocatorBlock),
          kernelWorkspaceBytes.value_or(static_cast<int64_t>(accelerator.device.kernelWorkspaceBytes))};
}

std::optional<size_t> moai::SelectBestGraphFromCandidates(llvm::ArrayRef<Candidate> candidates) {
  std::optional<size_t> best;
  for (auto [index, candidate] : llvm::enumerate(candidates))
    if (!candidate.rejected && (!best || candidate.stepSeconds < candidates[*best].stepSeconds))
      best = index;
  return best;
}

static double toMiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void moai::rejectWhatDoesNotFit(llvm::MutableArrayRef<Candidate> candidates, int64_t memoryLimit) {
  for (Candidate &candidate : candidates) {
    if (candidate.rejected)
      continue;
    DeviceMesh mesh(candidate.config);
    int64_t worst = 0;
    for (auto [index, stage] : llvm::enumerate(candidate.stages)) {
      int64_t over = stage.memory.total() - memoryLimit;
      if (over <= worst)
        continue;
      worst = over;
      candidate.rejected = Rejection{"memory",
                                     absl::StrFormat("stage %d needs %.0f MiB per device, %.0f MiB may be used", index,
                                                     toMiB(stage.memory.total()), toMiB(memoryLimit)),
                                     mesh.firstOfStage(static_cast<int64_t>(index)), over};
    }
  }
}

// Says by how much the best candidate missed and where, and what would help.
static absl::Status nothingFits(const Plan &plan, mlir::ModuleOp trainingGraph, const PlanRequest &request) {
  const Candidate *nearest = nullptr;
  std::string compileReason;
  for (const Candidate &candidate : plan.candidates)
    if (candidate.rejected && candidate.rejected->phase == "memory") {
      if (!nearest || candidate.rejected->bytesOver < nearest->rejected->bytesOver)
        nearest = &candidate;
    } else if (candidate.rejected)
      compileReason = candidate.rejected->reason;
  if (!nearest && request.config)
    return absl::InvalidArgumentError(absl::StrCat(plan.model.path, ": the configuration can't be compiled: ", compileReason));
  if (!nearest)
    return absl::ResourceExhaustedError(
        absl::StrCat(plan.model.path, ": none of the ", plan.candidates.size(), " candidates compiles; the last one: ", compileReason));
  std::string advice;
  if (plan.model.largestTensorBytes > plan.deviceMemoryBytes)
    advice = absl::StrFormat("the graph makes a tensor of %.2f TB per sample (%s), which no splitting of layers helps against",
                             plan.model.largestTensorBytes / 1e12, plan.model.largestTensor);
  else
    advice = describeWhatFits(trainingGraph, request);
  const ParallelConfig &config = nearest->config;
  int64_t stage = DeviceMesh(config).stageOf(nearest->rejected->rank);
  const StageMemory &memory = nearest->stages[stage].memory;
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%s: none of the %d candidates fits: the nearest (num_stages %d, num_micro_batches %d, batch_per_device %d, recomputation %s) is "
      "%s over: device %d, of stage %d, needs %s at %s, %s of each device may be used; %s",
      plan.model.path, plan.candidates.size(), config.numStages, config.numMicroBatches, config.batchPerDevice,
      toString(config.recomputation), formatBytes(nearest->rejected->bytesOver), nearest->rejected->rank, stage,
      formatBytes(memory.total()), memory.peakOp, formatBytes(plan.memoryLimit()), advice));
}

absl::Status moai::checkSupported(const ParallelConfig &config) {
  for (const auto &[name, value, most] : {std::tuple("tensor_parallel", config.tensorParallel, 1),
                                          {"context_parallel", config.contextParallel, 1},
                                          {"expert_parallel", config.expertParallel, 1},
                                          {"zero", config.zero, 1}})
    if (value > most)
      return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", but moai splits by ", most, " at most so far"));
  return absl::OkStatus();
}

static absl::StatusOr<std::vector<ParallelConfig>> candidatesFor(const PlanRequest &request) {
  if (!request.config)
    return enumerateMoaiSpace({request.accelerator.numDevices, request.accelerator.numNodes(), request.globalBatches, request.generation});
  const ParallelConfig &config = *request.config;
  bool keepsExported = request.policy().precision == PrecisionPolicy();
  if (request.pytorchStep && (!keepsExported || request.optimizer.kind == OptimizerKind::Sgd || request.optimizer.maxGradientNorm > 0))
    return absl::InvalidArgumentError("the memory of PyTorch's step on a CPU is known for adamw and adam in exported types without "
                                      "clipping; leave --memory-model out for others");
  if (request.pytorchStep && (config.numDevices() > 1 || config.zero > 0))
    return absl::InvalidArgumentError("the memory of PyTorch's step on a CPU is known for one device and zero=0; leave --memory-model "
                                      "out for others");
  if (absl::Status status = checkSupported(config); !status.ok())
    return status;
  return std::vector<ParallelConfig>{config};
}

absl::StatusOr<Plan> moai::planModel(mlir::ModuleOp module, const ModelSummary &model, const PlanRequest &request) {
  auto info = [&](const std::string &line) {
    if (request.log)
      logInfo(line);
  };
  Plan plan;
  plan.model = model;
  plan.accelerator = toJSON(request.accelerator);
  plan.deviceMemoryBytes = request.accelerator.device.memoryBytes;
  plan.memoryRatio = request.memoryRatio;
  plan.globalBatches = request.globalBatches;
  plan.optimizer = request.policy();
  plan.space = request.config ? "config" : "moai";
  plan.generation = toString(request.generation).str();
  if (!model.hasLoss)
    return absl::InvalidArgumentError(absl::StrCat(
        model.path, ": the graph returns no loss, so there is no training step to plan; export a module whose forward returns the loss "
                    "(--describe works without)"));

  absl::StatusOr<std::vector<ParallelConfig>> configs = candidatesFor(request);
  if (!configs.ok())
    return configs.status();
  if (request.globalBatches.size() > 1 && request.log)
    logWarning(formatBatchWarning(request.globalBatches));
  for (const ParallelConfig &config : *configs) {
    plan.candidates.emplace_back();
    plan.candidates.back().config = config;
  }
  info(absl::StrFormat("The number of candidates is %d.", plan.candidates.size()));

  info("Parallel Graph Compile start...");
  Stopwatch compileTime;
  if (absl::Status status = buildTrainingGraph(module); !status.ok())
    return absl::InvalidArgumentError(absl::StrCat(model.path, ": ", status.message()));
  plan.model.totalFlops = countFlops(module.lookupSymbol<mlir::func::FuncOp>("step"), model.binding);
  if (absl::Status status = compileCandidates(module, request, plan.candidates); !status.ok())
    return status;
  rejectWhatDoesNotFit(plan.candidates, plan.memoryLimit());
  plan.elapsed.compileMs = compileTime.milliseconds();
  info(absl::StrFormat("Elapsed Time to compile all candidates = %d [ms]", std::lround(plan.elapsed.compileMs)));
  info("Parallel Graph Compile finished.");
  info(absl::StrFormat("The number of possible candidates is %d.", plan.numPossible()));
  bool isGiven = request.config && !plan.candidates[0].stages.empty();
  if (plan.numPossible() == 0 && !isGiven)
    return nothingFits(plan, module, request);

  info("SelectBestGraphFromCandidates start...");
  Stopwatch selectTime;
  for (Candidate &candidate : plan.candidates)
    if (!candidate.rejected || isGiven) {
      candidate.cost = stepCost(candidate.stages, candidate.config, request.accelerator);
      candidate.stepSeconds = candidate.cost.total();
    }
  plan.selected = isGiven ? std::optional<size_t>(0) : SelectBestGraphFromCandidates(plan.candidates);
  if (request.pytorchStep)
    plan.stepMemory =
        peakOfPyTorchStep(model, plan.candidates[*plan.selected].stages[0].memory, request.config->numMicroBatches, *request.pytorchStep);
  plan.elapsed.selectMs = selectTime.milliseconds();
  info(absl::StrFormat("Elapsed Time to compute cost for survived candidates = %d [ms]", std::lround(plan.elapsed.selectMs)));
  info("SelectBestGraphFromCandidates finished.");
  info("Configuration for parallelism is selected.");
  plan.selectedLine = formatMoaiLine(plan.candidates[*plan.selected].config, request.generation);
  info(plan.selectedLine);
  return plan;
}
