//===- Views.cpp - A snapshot as tables and as JSON ------------------------===//
#include "Views.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "moai/Support/CommandLine.h"
#include "moai/Support/Table.h"
#include "moai/Support/Terminal.h"
#include "llvm/ADT/STLExtras.h"
#include <cmath>

using namespace moai;

// What a command line takes at most, unless the terminal has room for more beside the other columns.
static constexpr size_t kCommandColumns = 60, kOtherColumns = 57;
static constexpr auto kRight = Table::Align::Right;

absl::Status moai::checkIndex(const View &view, const Snapshot &snapshot) {
  if (!view.index)
    return absl::OkStatus();
  size_t count = snapshot.rows.size();
  if (view.physicalDevices) {
    count = 0;
    for (const Row &row : snapshot.rows)
      count = std::max(count, static_cast<size_t>(row.numDevices()));
  }
  if (*view.index < count)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("there is no ", view.physicalDevices ? "physical device " : "accelerator ", *view.index, "; expected ",
                   count == 1 ? "-i 0, the only one" : absl::StrCat("-i with a number from 0 to ", count - 1)));
}

static std::string shortCommand(const JobState &job, size_t columns) {
  llvm::StringRef mark = job.isSimulated ? " (simulated)" : "";
  return fitText(job.command, columns - mark.size()) + mark.str();
}

std::string moai::describe(const JobState &job) { return absl::StrCat("Job ", job.id, " (", shortCommand(job, kCommandColumns), ")"); }

std::string moai::describeGone(const JobState &job) {
  std::string where =
      job.step ? absl::StrCat("at step ", job.step, job.numSteps ? absl::StrCat(" of ", job.numSteps) : "") : "before its first step";
  return absl::StrCat(describe(job), " is gone: its process ", job.pid, " ended without a word ", where, ".");
}

static std::string toMebibytes(int64_t bytes) { return absl::StrCat((bytes + 1048575) / 1048576, " MiB"); }
static std::string toPercent(double part) { return absl::StrCat(std::lround(part * 100), " %"); }

static std::string formatTime(std::time_t time, const char *format) {
  std::tm local{};
  localtime_r(&time, &local);
  char text[64];
  return std::string(text, std::strftime(text, sizeof text, format, &local));
}

static void printAccelerators(const View &view, const Snapshot &snapshot, llvm::raw_ostream &out) {
  Table table({{"Device"}, {"Name"}, {"Model"}, {"Memory Usage"}, {"Total Memory"}, {"Utilization"}},
              absl::StrCat("Current Version: ", version(), "  Latest Version: ", version()));
  for (const Row &row : snapshot.rows)
    if (view.shows(row))
      table.addRow({absl::StrCat(row.index == 0 ? "* " : "  ", row.index), " MoAI Accelerator", row.name,
                    row.isIdle() ? "-" : toMebibytes(row.bytesInUse()), row.isIdle() ? "-" : toMebibytes(row.totalBytes()),
                    row.isIdle() ? "-" : toPercent(row.utilization())});
  table.print(out, mayColor());
}

static void printDevices(const View &view, const Row &row, llvm::raw_ostream &out) {
  if (view.index && static_cast<int64_t>(*view.index) >= row.numDevices())
    return;
  Table table({{"Device", kRight},
               {"Node", kRight},
               {"Stage", kRight},
               {"Data Parallel", kRight},
               {"Memory Usage"},
               {"Peak Memory"},
               {"Total Memory"},
               {"Utilization"}});
  auto orDash = [](int64_t place) { return place < 0 ? "-" : absl::StrCat(place); };
  for (int64_t i = 0; i < row.numDevices(); ++i) {
    if (!view.showsDevice(i))
      continue;
    JobDevice device = row.device(i);
    table.addRow({absl::StrCat(i), absl::StrCat(device.node), orDash(device.stage), orDash(device.replica),
                  row.isIdle() ? "-" : toMebibytes(device.bytesInUse), row.isIdle() ? "-" : toMebibytes(device.peakBytes),
                  toMebibytes(row.bytesPerDevice()), row.isIdle() ? "-" : toPercent(device.utilization)});
  }
  out << "\nPhysical devices of MoAI Accelerator " << row.index << ", " << row.name << ":\n";
  table.print(out, mayColor());
}

static void printProcesses(const View &view, const Snapshot &snapshot, llvm::raw_ostream &out) {
  size_t columns = std::max<size_t>(kCommandColumns + kOtherColumns, terminalWidth()) - kOtherColumns;
  Table table({{"Device", kRight}, {"Job ID", kRight}, {"PID", kRight}, {"Process"}, {"Memory Usage"}});
  bool any = false;
  for (const Row &row : snapshot.rows) {
    if (!view.shows(row))
      continue;
    for (const JobState *job : row.jobs) {
      any = true;
      table.addRow({absl::StrCat(row.index), absl::StrCat(job->id), absl::StrFormat("%7d", job->pid), shortCommand(*job, columns),
                    toMebibytes(job->bytesInUse())});
    }
  }
  if (!any)
    return;
  out << "\nProcesses:\n";
  table.print(out, mayColor());
}

void moai::printTables(const View &view, const Snapshot &snapshot, llvm::raw_ostream &out) {
  // Without the zero or blank that %d and %e put before a day of one digit.
  out << formatTime(snapshot.time, "%H:%M:%S %B %-d, %Y") << "\n";
  printAccelerators(view, snapshot, out);
  if (view.physicalDevices)
    for (const Row &row : snapshot.rows)
      printDevices(view, row, out);
  printProcesses(view, snapshot, out);
  if (!snapshot.jobs.gone.empty())
    out << "\n";
  for (const JobState &job : snapshot.jobs.gone)
    out << describeGone(job) << "\n";
}

static llvm::StringRef toText(JobPhase phase) {
  switch (phase) {
  case JobPhase::Starting:
    return "starting";
  case JobPhase::Training:
    return "training";
  case JobPhase::Evaluating:
    return "evaluating";
  case JobPhase::Saving:
    return "saving";
  }
  return "";
}

static std::string toUTF8(llvm::StringRef text) { return llvm::json::isUTF8(text) ? text.str() : llvm::json::fixUTF8(text); }

static llvm::json::Object toJSON(const JobState &job) {
  llvm::json::Object object{{"job_id", job.id},
                            {"pid", job.pid},
                            {"command", toUTF8(job.command)},
                            {"accelerator", toUTF8(job.accelerator)},
                            {"simulated", job.isSimulated},
                            {"started_at", job.startedAt},
                            {"phase", toText(job.phase)},
                            {"step", job.step},
                            {"num_steps", job.numSteps},
                            {"bytes_in_use", job.bytesInUse()},
                            {"utilization", job.utilization}};
  object["loss"] = std::isfinite(job.loss) ? llvm::json::Value(job.loss) : llvm::json::Value(nullptr);
  return object;
}

static llvm::json::Object toJSON(const Row &row) {
  return llvm::json::Object{{"device", row.index},
                            {"current", row.index == 0},
                            {"name", toUTF8(row.name)},
                            {"num_devices", row.numDevices()},
                            {"num_jobs", row.jobs.size()},
                            {"bytes_in_use", row.bytesInUse()},
                            {"total_bytes", row.totalBytes()},
                            {"utilization", row.utilization()}};
}

static llvm::json::Object deviceToJSON(const Row &row, int64_t i) {
  JobDevice device = row.device(i);
  auto orNull = [](int64_t place) { return place < 0 ? llvm::json::Value(nullptr) : llvm::json::Value(place); };
  return llvm::json::Object{{"accelerator", row.index},
                            {"device", i},
                            {"node", device.node},
                            {"stage", orNull(device.stage)},
                            {"data_parallel", orNull(device.replica)},
                            {"bytes_in_use", device.bytesInUse},
                            {"peak_bytes", device.peakBytes},
                            {"total_bytes", row.bytesPerDevice()},
                            {"utilization", device.utilization}};
}

llvm::json::Object moai::toJSON(const View &view, const Snapshot &snapshot) {
  llvm::json::Array accelerators, processes, gone, devices;
  for (const Row &row : snapshot.rows) {
    if (!view.shows(row))
      continue;
    accelerators.push_back(::toJSON(row));
    for (const JobState *job : row.jobs) {
      llvm::json::Object process = ::toJSON(*job);
      process["device"] = row.index;
      processes.push_back(std::move(process));
    }
    for (int64_t i = 0; view.physicalDevices && i < row.numDevices(); ++i)
      if (view.showsDevice(i))
        devices.push_back(deviceToJSON(row, i));
  }
  for (const JobState &job : snapshot.jobs.gone)
    gone.push_back(::toJSON(job));
  llvm::json::Object object{{"version", version()},
                            {"time", formatTime(snapshot.time, "%Y-%m-%dT%H:%M:%S%z")},
                            {"accelerators", std::move(accelerators)},
                            {"processes", std::move(processes)},
                            {"gone", std::move(gone)}};
  if (view.physicalDevices)
    object["devices"] = std::move(devices);
  return object;
}
