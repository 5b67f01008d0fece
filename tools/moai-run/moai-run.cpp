//===- moai-run.cpp - Trains a model on virtual devices --------------------===//
#include "RunRequest.h"

using namespace moai;

int main(int argc, char **argv) {
  RunRequest request;
  if (std::optional<int> wrong = readRequest(argc, argv, request))
    return *wrong;
  if (request.dryRun)
    return rehearse(request);
  return request.data.empty() ? runBareGraph(request) : trainOnAccelerator(request);
}
