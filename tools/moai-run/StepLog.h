//===- StepLog.h - What a training tells of its steps ----------------------===//
#ifndef MOAI_TOOLS_STEPLOG_H
#define MOAI_TOOLS_STEPLOG_H

#include "RunRequest.h"
#include "moai/Execute/TrainingLoop.h"
#include "moai/Support/ProgressBar.h"
#include "llvm/Support/raw_ostream.h"

namespace moai {

/// `2024-04-19 18:22:03.506 | INFO | MESSAGE` on standard output, at once.
void printLine(const std::string &message);

/// The lines of steps, the progress bar, the file of metrics and the picture of the losses.
class StepLog {
public:
  /// `perStep` tokens, or samples if the model has no sequence, are in a step.
  StepLog(const RunRequest &request, int64_t numSteps, int64_t firstStep, double perStep, bool hasTokens);

  /// Begins the file of metrics: anew, or after the steps up to the first if the run goes on from a checkpoint.
  absl::Status open();
  void step(const StepReport &report);
  void evaluation(int64_t step, double loss);
  /// Writes the metrics of all steps so far.
  void flush();
  void warning(const std::string &sentence);
  /// Ends the bar, and draws the losses.
  absl::Status finish();

private:
  struct Row {
    int64_t step;
    double loss, seconds, throughput, learningRate;
    std::optional<double> evaluation;
  };
  static std::string toCsv(const Row &row);
  absl::Status readMetrics();

  const RunRequest &request;
  int64_t numSteps, firstStep, lastStep;
  double perStep;
  const char *unit;
  ProgressBar bar;
  std::vector<Row> rows;
  size_t written = 0; ///< rows in the file of metrics
  std::unique_ptr<llvm::raw_fd_ostream> metrics;
};

} // namespace moai

#endif // MOAI_TOOLS_STEPLOG_H
