//===- RunRequest.h - The command line of moai-run, understood -------------===//
#ifndef MOAI_TOOLS_RUNREQUEST_H
#define MOAI_TOOLS_RUNREQUEST_H

#include "moai/Execute/DataSource.h"
#include "moai/Execute/Executor.h"
#include "moai/Import/Import.h"
#include "moai/Plan/LearningRate.h"
#include "moai/Plan/OptimizerPolicy.h"
#include "moai/Planner/Enumerate.h"
#include <optional>
#include <string>

namespace moai {

struct RunRequest {
  std::string command; ///< as it was typed, for others to see
  std::string model, weights, inputs, saveStep;
  ImportOptions import;
  ExecuteOptions execute;
  std::optional<int64_t> seed;
  OptimizerPolicy optimizer;                ///< in exported precision
  std::optional<PrecisionPolicy> precision; ///< if given
  std::optional<int64_t> steps, epochs;

  // Where it runs.
  std::string config;                     ///< as given; empty: none
  std::optional<std::string> accelerator; ///< if given; `none` is a plain device
  MoaiGeneration generation = MoaiGeneration::V24_5;
  double memoryRatio = 0.8;
  std::optional<int64_t> deviceMemory;

  // Training.
  std::string data, evaluationData;
  std::optional<DataFormat> format;
  bool shuffle = true;
  LearningRateSchedule schedule;
  std::string save, load;
  int64_t checkpointEvery = 0, evaluateEvery = 0, logEvery = 1;
  std::string metrics, plot;

  // Rehearsing.
  bool dryRun = false;
  double speed = 1;
};

/// Declares the options, reads them and checks what needs no file. Tells what is wrong and gives its exit code.
std::optional<int> readRequest(int argc, char **argv, RunRequest &request);

/// Each does one thing that moai-run is for, and returns its exit code.
int runBareGraph(const RunRequest &request);
int trainOnAccelerator(const RunRequest &request);
int rehearse(const RunRequest &request);

} // namespace moai

#endif // MOAI_TOOLS_RUNREQUEST_H
