//===- StepMemory.cpp - Peak of a step as a framework runs it ---------------===//
#include "moai/Plan/StepMemory.h"
#include "absl/strings/str_cat.h"
#include <algorithm>
#include <numeric>

using namespace moai;

absl::StatusOr<OptimizerImplementation> moai::parseOptimizerImplementation(llvm::StringRef text) {
  if (text == "foreach")
    return OptimizerImplementation::Foreach;
  if (text == "forloop")
    return OptimizerImplementation::ForLoop;
  if (text == "fused")
    return OptimizerImplementation::Fused;
  return absl::InvalidArgumentError(absl::StrCat(text.str(), " is not known; expected foreach, forloop or fused"));
}

static int64_t trainedBytes(const ModelSummary &model) {
  return std::accumulate(model.trainedTensorBytes.begin(), model.trainedTensorBytes.end(), int64_t(0));
}

static int64_t temporariesOf(const ModelSummary &model, OptimizerImplementation implementation) {
  int64_t most = 0, before = 0;
  switch (implementation) {
  case OptimizerImplementation::Foreach:
    return trainedBytes(model);
  case OptimizerImplementation::Fused:
    return 0;
  case OptimizerImplementation::ForLoop:
    for (int64_t bytes : model.trainedTensorBytes) {
      most = std::max(most, 2 * bytes + before);
      before = bytes;
    }
    return most;
  }
  return 0;
}

StageMemory moai::peakOfPyTorchStep(const ModelSummary &model, const StageMemory &stage, int64_t numMicroBatches,
                                    OptimizerImplementation implementation) {
  constexpr int64_t kStepCounter = 4, kLoss = 4;
  StageMemory start;
  start.parameters = stage.parameters;
  start.buffers = stage.buffers;
  start.inputs = stage.inputs / numMicroBatches; // loaded one by one
  start.gradients = numMicroBatches > 1 ? trainedBytes(model) : 0;
  start.optimizerStates = stage.optimizerStates + kStepCounter * static_cast<int64_t>(model.trainedTensorBytes.size());
  start.saved = stage.saved;
  start.forwardPeak = stage.forwardPeak;
  start.backwardPeak = stage.backwardPeak;
  StageMemory forward = start, backward = start, optimizer = start;
  forward.peakPhase = "forward";
  forward.peakOp = stage.forwardPeakOp;
  forward.activations = std::min(stage.saved, stage.forwardPeak);
  forward.temporaries = stage.forwardPeak - forward.activations;
  backward.peakPhase = "backward";
  backward.peakOp = stage.backwardPeakOp;
  // The loss stays for whoever reads it.
  backward.activations = std::min(stage.saved, stage.backwardPeak) + kLoss;
  backward.temporaries = stage.backwardPeak + kLoss - backward.activations;
  optimizer.peakPhase = "optimizer";
  optimizer.peakOp = "optimizer";
  optimizer.gradients = trainedBytes(model);
  optimizer.activations = kLoss;
  optimizer.temporaries = temporariesOf(model, implementation);
  return std::max({forward, backward, optimizer}, [](const StageMemory &a, const StageMemory &b) { return a.total() < b.total(); });
}
