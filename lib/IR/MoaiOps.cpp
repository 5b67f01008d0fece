//===- MoaiOps.cpp - Generated op definitions ------------------------------===//
#include "moai/IR/Gradient.h"
#include "moai/IR/Moai.h"

using namespace mlir;
using namespace moai;

#define GET_OP_CLASSES
#include "moai/IR/MoaiOps.cpp.inc"
