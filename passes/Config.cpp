//===- Config.cpp - The configuration a module is compiled for -------------===//
#include "Config.h"
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
