//===- CandidateInput.cpp - What the passes find on a module ---------------===//
#include "CandidateInput.h"

using namespace mlir;
using namespace moai;

FailureOr<ParallelConfig> moai::getConfig(ModuleOp module) {
  auto attribute = module->getAttrOfType<ConfigAttr>(attrs::kConfig);
  if (!attribute) {
    module.emitError("has no moai.config to compile for");
    return failure();
  }
  // The attribute's verifier has parsed it before.
  return *parseConfig(attribute.getText());
}

OptimizerPolicyAttr moai::getOptimizerAttr(ModuleOp module) {
  if (auto attribute = module->getAttrOfType<OptimizerPolicyAttr>(attrs::kOptimizer))
    return attribute;
  return OptimizerPolicyAttr::get(module.getContext(), toString(OptimizerPolicy()));
}

OptimizerPolicy moai::getOptimizer(ModuleOp module) { return *parseOptimizer(getOptimizerAttr(module).getText()); }

func::FuncOp moai::getStep(ModuleOp module) {
  auto step = module.lookupSymbol<func::FuncOp>("step");
  if (step && !step.getBody().empty())
    return step;
  module.emitError("has no function @step");
  return {};
}
