//===- Rehearse.cpp - A training in simulated time -------------------------===//
#include "RunRequest.h"
#include "moai/Support/CommandLine.h"

using namespace moai;

int moai::rehearse(const RunRequest &request) { return failInput("not yet"); }
