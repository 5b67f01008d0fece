//===- Cost.cpp - Predicted seconds and bytes of one candidate --------------===//
#include "moai/Plan/Cost.h"

using namespace moai;

llvm::json::Object moai::toJSON(const CostBreakdown &cost) {
  return llvm::json::Object{
      {"forward", cost.forward},
      {"backward", cost.backward},
      {"recompute", cost.recompute},
      {"bubble", cost.bubble},
      {"transfer", cost.transfer},
      {"parameter_gather", cost.parameterGather},
      {"gradient_reduce", cost.gradientReduce},
      {"optimizer", cost.optimizer},
      {"total", cost.total()},
  };
}

llvm::json::Object moai::toJSON(const StageMemory &memory) {
  return llvm::json::Object{
      {"saved_at_end_of_forward", memory.saved},
      {"peak", memory.total()},
      {"peak_phase", memory.peakPhase},
      {"peak_op", memory.peakOp},
      {"forward_peak", memory.forwardPeak},
      {"backward_peak", memory.backwardPeak},
      {"at_peak", llvm::json::Object{{"parameters", memory.parameters},
                                     {"gradients", memory.gradients},
                                     {"optimizer_states", memory.optimizerStates},
                                     {"activations", memory.activations},
                                     {"temporaries", memory.temporaries},
                                     {"buffers", memory.buffers},
                                     {"inputs", memory.inputs},
                                     {"workspace", memory.workspace}}},
  };
}
