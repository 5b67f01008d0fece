//===- StepMemory.cpp - Peak of a step as a framework runs it ---------------===//
#include "moai/Plan/StepMemory.h"
#include "absl/strings/str_cat.h"
#include <algorithm>

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

static int64_t temporariesOf(const ModelSummary &model, OptimizerImplementation implementation) {
  int64_t most = 0, before = 0;
  switch (implementation) {
  case OptimizerImplementation::Foreach:
    return model.parameterBytes;
  case OptimizerImplementation::Fused:
    return 0;
  case OptimizerImplementation::ForLoop:
    for (int64_t bytes : model.parameterTensorBytes) {
      most = std::max(most, 2 * bytes + before);
      before = bytes;
    }
    return most;
  }
  return 0;
}

StepMemory moai::peakOfPyTorchStep(const ModelSummary &model, const StageMemory &stage, int64_t others,
                                   OptimizerImplementation implementation) {
  constexpr int64_t kStepCounter = 4, kLoss = 4;
  StepMemory start;
  start.parameters = model.parameterBytes;
  start.optimizerStates = 2 * model.parameterBytes + kStepCounter * static_cast<int64_t>(model.parameterTensorBytes.size());
  start.others = others;
  StepMemory forward = start, backward = start, optimizer = start;
  forward.phase = "forward";
  forward.activations = stage.forwardPeak;
  backward.phase = "backward";
  backward.activations = stage.backwardPeak + kLoss;
  optimizer.phase = "optimizer";
  optimizer.gradients = model.parameterBytes;
  optimizer.activations = kLoss;
  optimizer.temporaries = temporariesOf(model, implementation);
  return std::max({forward, backward, optimizer}, [](const StepMemory &a, const StepMemory &b) { return a.total() < b.total(); });
}

llvm::json::Object moai::toJSON(const StepMemory &memory) {
  return llvm::json::Object{{"peak", memory.total()},
                            {"peak_phase", memory.phase},
                            {"at_peak", llvm::json::Object{{"parameters", memory.parameters},
                                                           {"gradients", memory.gradients},
                                                           {"optimizer_states", memory.optimizerStates},
                                                           {"activations", memory.activations},
                                                           {"temporaries", memory.temporaries},
                                                           {"others", memory.others}}}};
}
