//===- Snapshot.cpp - What there is to show at a moment --------------------===//
#include "Snapshot.h"
#include "llvm/ADT/STLExtras.h"

using namespace moai;

int64_t Row::bytesPerDevice() const {
  int64_t bytes = isIdle() ? accelerator.device.memoryBytes : 0;
  for (const JobState *job : jobs)
    bytes = std::max(bytes, job->bytesPerDevice);
  return bytes;
}

int64_t Row::bytesInUse() const {
  int64_t bytes = 0;
  for (const JobState *job : jobs)
    bytes += job->bytesInUse();
  return bytes;
}

double Row::utilization() const {
  double sum = 0;
  for (const JobState *job : jobs)
    sum += job->utilization;
  return std::min(sum, 1.0);
}

JobDevice Row::device(int64_t i) const {
  JobDevice together{accelerator.nodeOf(i), -1, -1};
  for (const JobState *job : jobs) {
    if (i >= static_cast<int64_t>(job->devices.size()))
      continue;
    const JobDevice &device = job->devices[i];
    if (together.stage < 0) {
      together.node = device.node;
      together.stage = device.stage;
      together.replica = device.replica;
    }
    together.bytesInUse += device.bytesInUse;
    together.peakBytes += device.peakBytes;
    together.utilization = std::min(together.utilization + device.utilization, 1.0);
  }
  return together;
}

static std::vector<Row> makeRows(const CurrentAccelerator &current, const std::vector<JobState> &jobs) {
  std::vector<Row> rows = {{0, current.accelerator.name, current.accelerator, {}}};
  for (const JobState &job : jobs) {
    auto row = llvm::find_if(rows, [&](const Row &row) { return row.name == job.accelerator; });
    if (row == rows.end()) {
      row = rows.insert(rows.end(), Row{rows.size(), job.accelerator, {}, {}});
      row->accelerator.numDevices = static_cast<int64_t>(job.devices.size());
    }
    row->jobs.push_back(&job);
  }
  return rows;
}

absl::StatusOr<std::unique_ptr<Snapshot>> Snapshot::take() {
  auto current = currentAccelerator();
  if (!current.ok())
    return current.status();
  auto jobs = readJobs();
  if (!jobs.ok())
    return jobs.status();
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->time = std::time(nullptr);
  snapshot->jobs = std::move(*jobs);
  snapshot->current = std::move(*current);
  snapshot->rows = makeRows(snapshot->current, snapshot->jobs.running);
  return snapshot;
}
