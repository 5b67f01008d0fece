//===- JobMonitor.h - Lets moai-smi see a run ------------------------------===//
#ifndef MOAI_TOOLS_JOBMONITOR_H
#define MOAI_TOOLS_JOBMONITOR_H

#include "moai/Accelerator/Job.h"
#include "moai/CostModel/Hardware.h"
#include "moai/Execute/DeviceGrid.h"
#include <mutex>

namespace moai {

/// Publishes a job from the moment its accelerator is taken. Without a folder to publish in, the run goes on unseen and a warning says so.
class JobMonitor {
public:
  JobMonitor(const std::string &command, const Accelerator &accelerator, bool isSimulated);

  void setPhase(JobPhase phase);
  void setSteps(int64_t step, int64_t numSteps);
  /// The devices of a configuration, whose memory is looked at from now on.
  void watch(const DeviceGrid &grid);
  /// A step has ended: its loss, and how busy the devices were in it.
  void finishStep(int64_t step, double loss, double seconds);
  /// What a rehearsal says of a device, and of all.
  void setDevice(int64_t device, const JobDevice &state);
  void setUtilization(double utilization);
  /// Ends publishing; what was watched may go then.
  void close() { publisher = nullptr; }

private:
  void refresh(JobState &state);

  std::mutex mutex; ///< of what follows, but for the publisher
  JobState latest;
  const DeviceGrid *grid = nullptr;
  std::vector<double> busyBefore; ///< the last step, by device
  double computingBefore = 0;
  std::unique_ptr<JobPublisher> publisher;
};

} // namespace moai

#endif // MOAI_TOOLS_JOBMONITOR_H
