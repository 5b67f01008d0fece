//===- Snapshot.h - What there is to show at a moment ----------------------===//
#ifndef MOAI_TOOLS_SMI_SNAPSHOT_H
#define MOAI_TOOLS_SMI_SNAPSHOT_H

#include "moai/Accelerator/CurrentAccelerator.h"
#include "moai/Accelerator/Job.h"
#include <ctime>

namespace moai {

/// An accelerator and what runs on it.
struct Row {
  size_t index = 0;
  std::string name;
  Accelerator accelerator; ///< of row 0; of others only what their jobs say
  std::vector<const JobState *> jobs;

  bool isIdle() const { return jobs.empty(); }
  int64_t numDevices() const { return accelerator.numDevices; }
  /// The job's where one runs, which may have been given less.
  int64_t bytesPerDevice() const;
  int64_t totalBytes() const { return numDevices() * bytesPerDevice(); }
  int64_t bytesInUse() const;
  /// Jobs share the devices, so that theirs add up.
  double utilization() const;
  /// What all jobs together do on a device, and its place in the first of them that has placed it.
  JobDevice device(int64_t i) const;
};

struct Snapshot {
  std::time_t time = 0;
  Jobs jobs;
  CurrentAccelerator current;
  std::vector<Row> rows; ///< the current accelerator, then those of other jobs in the order in which these started

  static absl::StatusOr<std::unique_ptr<Snapshot>> take();
};

} // namespace moai

#endif // MOAI_TOOLS_SMI_SNAPSHOT_H
