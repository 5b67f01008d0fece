//===- StepLog.cpp - What a training tells of its steps --------------------===//
#include "StepLog.h"
#include "LossPlot.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "moai/Support/File.h"
#include "moai/Support/Log.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace moai;

static constexpr const char *kHeader = "step,loss,seconds,throughput,learning_rate,evaluation_loss";

void moai::printLine(const std::string &message) {
  llvm::outs() << timeStamp() << " | INFO | " << message << "\n";
  llvm::outs().flush();
}

StepLog::StepLog(const RunRequest &request, int64_t numSteps, int64_t firstStep, double perStep, bool hasTokens)
    : request(request), numSteps(numSteps), firstStep(firstStep), lastStep(firstStep), perStep(perStep),
      unit(hasTokens ? "tokens/sec" : "samples/sec"), bar(numSteps, firstStep) {}

std::string StepLog::toCsv(const Row &row) {
  std::string line = absl::StrFormat("%d,%.9g,%.6g,%.6g,%.9g,", row.step, row.loss, row.seconds, row.throughput, row.learningRate);
  if (row.evaluation)
    absl::StrAppendFormat(&line, "%.9g", *row.evaluation);
  return line + "\n";
}

// Rows of the steps before a resumed run's first, so that file and picture show the whole training.
absl::Status StepLog::readMetrics() {
  auto buffer = llvm::MemoryBuffer::getFile(request.metrics, /*IsText=*/true);
  if (firstStep == 0 || !buffer)
    return absl::OkStatus();
  llvm::SmallVector<llvm::StringRef> lines;
  (*buffer)->getBuffer().split(lines, '\n', -1, /*KeepEmpty=*/false);
  if (lines.empty() || lines[0] != kHeader)
    return absl::InvalidArgumentError(absl::StrCat(request.metrics,
                                                   ": is no file of metrics that moai-run wrote, so it can't be gone on with; "
                                                   "name another with --metrics"));
  for (llvm::StringRef line : llvm::drop_begin(lines)) {
    llvm::SmallVector<llvm::StringRef> cells;
    line.split(cells, ',');
    Row row{};
    double evaluation;
    bool isRow = cells.size() == 6 && !cells[0].getAsInteger(10, row.step);
    for (auto [cell, value] : {std::pair(1, &row.loss), {2, &row.seconds}, {3, &row.throughput}, {4, &row.learningRate}})
      isRow = isRow && !cells[cell].getAsDouble(*value);
    // A line that was cut off by a kill is of a step that is made again.
    if (!isRow || row.step > firstStep)
      continue;
    if (!cells[5].getAsDouble(evaluation))
      row.evaluation = evaluation;
    rows.push_back(row);
  }
  return absl::OkStatus();
}

absl::Status StepLog::open() {
  if (request.metrics.empty())
    return absl::OkStatus();
  if (absl::Status status = readMetrics(); !status.ok())
    return status;
  std::string content = absl::StrCat(kHeader, "\n");
  for (const Row &row : rows)
    content += toCsv(row);
  if (absl::Status status = writeFile(request.metrics, content); !status.ok())
    return status;
  written = rows.size();
  std::error_code error;
  metrics = std::make_unique<llvm::raw_fd_ostream>(request.metrics, error, llvm::sys::fs::OF_Append);
  if (error)
    return absl::PermissionDeniedError(absl::StrCat(request.metrics, ": can't be written (", error.message(), ")"));
  return absl::OkStatus();
}

// The last row may still get an evaluation.
void StepLog::flush() {
  if (metrics)
    for (; written < rows.size(); ++written)
      *metrics << toCsv(rows[written]);
  if (metrics)
    metrics->flush();
}

void StepLog::step(const StepReport &report) {
  flush();
  double throughput = report.seconds > 0 ? perStep / report.seconds : 0;
  rows.push_back({report.step, report.loss, report.seconds, throughput, report.learningRateFactor * request.optimizer.learningRate, {}});
  lastStep = report.step;
  bar.clear();
  if (report.step % request.logEvery == 0 || report.step == numSteps)
    printLine(absl::StrFormat("[Step %d/%d] | Loss: %.9g | Duration: %.*f | Throughput: %.2f %s", report.step, numSteps, report.loss,
                              report.seconds < 1 ? 4 : 2, report.seconds, throughput, unit));
  bar.draw(report.step);
}

void StepLog::evaluation(int64_t step, double loss) {
  if (!rows.empty() && rows.back().step == step && written < rows.size())
    rows.back().evaluation = loss;
  bar.clear();
  printLine(absl::StrFormat("[Step %d/%d] | Evaluation loss: %.9g", step, numSteps, loss));
  bar.draw(step);
}

void StepLog::warning(const std::string &sentence) {
  bar.clear();
  logWarning(sentence);
  bar.draw(lastStep);
}

absl::Status StepLog::finish() {
  bar.clear();
  flush();
  if (metrics && metrics->has_error()) {
    std::string reason = metrics->error().message();
    metrics->clear_error();
    return absl::DataLossError(absl::StrCat(request.metrics, ": can't be written (", reason, ")"));
  }
  if (request.plot.empty())
    return absl::OkStatus();
  LossCurve losses, evaluations;
  for (const Row &row : rows) {
    losses.push_back({static_cast<double>(row.step), row.loss});
    if (row.evaluation)
      evaluations.push_back({static_cast<double>(row.step), *row.evaluation});
  }
  return drawLosses(request.plot, losses, evaluations);
}
