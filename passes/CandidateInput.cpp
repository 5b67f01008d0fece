//===- CandidateInput.cpp - What the passes find on a module ---------------===//
#include "CandidateInput.h"
#include "moai/IR/Moai.h"

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

func::FuncOp moai::getStep(ModuleOp module) {
  auto step = module.lookupSymbol<func::FuncOp>("step");
  if (step && !step.getBody().empty())
    return step;
  module.emitError("has no function @step");
  return {};
}
