//===- Job.h - What a running job lets others see --------------------------===//
#ifndef MOAI_ACCELERATOR_JOB_H
#define MOAI_ACCELERATOR_JOB_H

#include "absl/status/statusor.h"
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace moai {

/// A device of a job's accelerator.
struct JobDevice {
  int64_t node = 0;
  int64_t stage = 0, replica = 0; ///< its place in the configuration; -1 while there is none
  int64_t bytesInUse = 0, peakBytes = 0;
  double utilization = 0; ///< part of the last step's time in which it computed, 0 to 1
};

enum class JobPhase : uint8_t { Starting, Training, Evaluating, Saving };

/// A job as it is seen from outside.
struct JobState {
  int64_t id = 0, pid = 0;    ///< set by JobPublisher
  std::string command;        ///< as it was typed, the program as a plain name: `moai-run gpt2.pt2 --steps=40`
  std::string accelerator;    ///< its name as listed: `Large.256GB`
  int64_t bytesPerDevice = 0; ///< memory of one device
  int64_t startedAt = 0;      ///< seconds since 1970; set by JobPublisher
  JobPhase phase = JobPhase::Starting;
  bool isSimulated = false; ///< a rehearsal in simulated time
  int64_t step = 0, numSteps = 0;
  double loss = 0;                ///< of the last step; NaN before the first, and in a rehearsal
  double utilization = 0;         ///< of the accelerator: part of the last step's time in which any device computed, 0 to 1
  std::vector<JobDevice> devices; ///< as many from the beginning to the end

  int64_t bytesInUse() const; ///< of all devices
};

/// A command line as `command` has it.
std::string describeCommand(int argc, char **argv);

/// Keeps a job's state in a file that others can read: one per job, in userStateFolder()/jobs, memory-mapped, laid out as
/// lib/Accelerator/README.md says. A thread writes it every few hundredths of a second and so is the job's heartbeat. The file goes with
/// this; that of a process that was killed stays behind and is recognised by its pid and the time at which that process began.
class JobPublisher {
public:
  /// `refresh` brings the state up to date, on the publisher's thread; it must keep the number of devices. PermissionDenied in one sentence
  /// if the folder can't be written or has no room.
  static absl::StatusOr<std::unique_ptr<JobPublisher>> create(JobState initial, std::function<void(JobState &)> refresh,
                                                              std::chrono::milliseconds period = std::chrono::milliseconds(50));
  ~JobPublisher();
  JobPublisher(const JobPublisher &) = delete;

  int64_t id() const;

private:
  struct Impl;
  explicit JobPublisher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

struct Jobs {
  std::vector<JobState> running;       ///< by the time at which they started, then by id
  std::vector<JobState> gone;          ///< whose process ended without taking its file along; told once, since their files are then removed
  std::vector<std::string> unreadable; ///< a sentence for each file that is damaged or of a newer version
};

/// All jobs of this user on this machine. Never waits for a job and never disturbs one: a state that is being written meanwhile is read
/// again.
absl::StatusOr<Jobs> readJobs();

/// Those that run. Leaves the files of the others for readJobs.
absl::StatusOr<std::vector<JobState>> runningJobs();

/// Asks a job by SIGTERM to stop as Ctrl-C does: it ends after the step at hand. NotFound if it is gone.
absl::Status stopJob(const JobState &job);

} // namespace moai

#endif // MOAI_ACCELERATOR_JOB_H
