//===- JobMonitor.cpp - Lets moai-smi see a run ----------------------------===//
#include "JobMonitor.h"
#include "absl/strings/str_cat.h"
#include "moai/Support/Log.h"
#include <cmath>

using namespace moai;

JobMonitor::JobMonitor(const std::string &command, const Accelerator &accelerator, bool isSimulated) {
  latest.command = command;
  latest.accelerator = accelerator.name;
  latest.bytesPerDevice = accelerator.device.memoryBytes;
  latest.isSimulated = isSimulated;
  latest.loss = std::nan("");
  for (int64_t device = 0; device < accelerator.numDevices; ++device)
    latest.devices.push_back({accelerator.nodeOf(device), -1, -1});
  busyBefore.resize(latest.devices.size());
  auto created = JobPublisher::create(latest, [this](JobState &state) { refresh(state); });
  if (created.ok())
    publisher = std::move(*created);
  else
    logWarning(absl::StrCat("moai-smi won't see this job: ", created.status().message()));
}

void JobMonitor::refresh(JobState &state) {
  std::lock_guard<std::mutex> lock(mutex);
  state.phase = latest.phase;
  state.step = latest.step;
  state.numSteps = latest.numSteps;
  state.loss = latest.loss;
  state.utilization = latest.utilization;
  for (size_t device = 0; device < latest.devices.size(); ++device) {
    JobDevice &seen = latest.devices[device];
    if (grid && device < static_cast<size_t>(grid->numDevices())) {
      seen.bytesInUse = grid->bytesInUse(device);
      seen.peakBytes = grid->peakBytes(device);
    }
    state.devices[device] = seen;
  }
}

void JobMonitor::setPhase(JobPhase phase) {
  std::lock_guard<std::mutex> lock(mutex);
  latest.phase = phase;
}

void JobMonitor::setSteps(int64_t step, int64_t numSteps) {
  std::lock_guard<std::mutex> lock(mutex);
  latest.step = step;
  latest.numSteps = numSteps;
}

void JobMonitor::watch(const DeviceGrid &watched) {
  std::lock_guard<std::mutex> lock(mutex);
  grid = &watched;
  for (int64_t device = 0; device < watched.numDevices(); ++device) {
    latest.devices[device].stage = watched.mesh().stageOf(device);
    latest.devices[device].replica = watched.mesh().replicaOf(device);
  }
}

void JobMonitor::finishStep(int64_t step, double loss, double seconds) {
  std::lock_guard<std::mutex> lock(mutex);
  latest.step = step;
  latest.loss = loss;
  auto part = [&](double &before, double now) {
    double share = seconds > 0 ? std::min(1.0, (now - before) / seconds) : 0;
    before = now;
    return share;
  };
  latest.utilization = part(computingBefore, grid->computingSeconds());
  for (int64_t device = 0; device < grid->numDevices(); ++device)
    latest.devices[device].utilization = part(busyBefore[device], grid->busySeconds(device));
}

void JobMonitor::setDevice(int64_t device, const JobDevice &state) {
  std::lock_guard<std::mutex> lock(mutex);
  latest.devices[device] = state;
}

void JobMonitor::setUtilization(double utilization) {
  std::lock_guard<std::mutex> lock(mutex);
  latest.utilization = utilization;
}
