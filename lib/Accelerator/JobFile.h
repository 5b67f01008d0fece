//===- JobFile.h - A job's state as bytes of a file ------------------------===//
#ifndef MOAI_LIB_ACCELERATOR_JOBFILE_H
#define MOAI_LIB_ACCELERATOR_JOBFILE_H

#include "moai/Accelerator/Job.h"

namespace moai {

/// What a job's file says.
struct JobRecord {
  JobState state;
  uint64_t processStart = 0; ///< see Process.h
  std::string bootId, host;
  int64_t heartbeat = 0; ///< milliseconds since 1970
};

/// A job's file for as long as the job runs, by the layout of README.md.
class JobFile {
public:
  /// Makes a file named by a number that no other job has, sets that as `record.state.id`. It holds the whole record before it can be read.
  static absl::StatusOr<std::unique_ptr<JobFile>> create(const std::string &folder, JobRecord &record);
  /// Unlinks it.
  ~JobFile();
  JobFile(const JobFile &) = delete;

  /// Replaces what changes while a job runs. Never fails: the file's blocks are there already.
  void write(const JobRecord &record);

private:
  JobFile(std::string path, char *bytes, size_t size, size_t numDevices)
      : path(std::move(path)), bytes(bytes), size(size), numDevices(numDevices) {}
  std::string path;
  char *bytes; // mapped
  size_t size, numDevices;
  uint64_t numWritten = 0;
};

/// NotFound if the file isn't there, or not filled yet; otherwise, a sentence on what is wrong with it.
absl::StatusOr<JobRecord> readJobFile(const std::string &path);

/// The file of a job, and the folder of all.
absl::StatusOr<std::string> jobFolder();
std::string jobPath(const std::string &folder, int64_t id);

} // namespace moai

#endif // MOAI_LIB_ACCELERATOR_JOBFILE_H
