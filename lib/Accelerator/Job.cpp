//===- Job.cpp - What a running job lets others see ------------------------===//
#include "moai/Accelerator/Job.h"
#include "JobFile.h"
#include "Process.h"
#include "absl/strings/str_cat.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>
#include <unistd.h>

using namespace moai;
using std::chrono::system_clock;

// Files that aren't filled after so long never will be.
static constexpr auto kTimeToFill = std::chrono::minutes(1);
// A silent job of another machine, of which nothing else can be known, is forgotten after so long.
static constexpr auto kTimeToForget = std::chrono::hours(24);

int64_t JobState::bytesInUse() const {
  int64_t sum = 0;
  for (const JobDevice &device : devices)
    sum += device.bytesInUse;
  return sum;
}

std::string moai::describeCommand(int argc, char **argv) {
  std::string command = argc > 0 ? llvm::sys::path::filename(argv[0]).str() : "";
  for (int i = 1; i < argc; ++i)
    absl::StrAppend(&command, " ", argv[i]);
  return command;
}

static int64_t millisecondsNow() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(system_clock::now().time_since_epoch()).count();
}

struct JobPublisher::Impl {
  JobRecord record;
  std::function<void(JobState &)> refresh;
  std::chrono::milliseconds period;
  std::unique_ptr<JobFile> file;

  std::mutex mutex;
  std::condition_variable stopped;
  bool isStopping = false; // under the mutex
  std::thread thread;

  void run() {
    std::unique_lock lock(mutex);
    while (!stopped.wait_for(lock, period, [this] { return isStopping; })) {
      refresh(record.state);
      record.heartbeat = millisecondsNow();
      file->write(record);
    }
  }
};

JobPublisher::JobPublisher(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<JobPublisher>> JobPublisher::create(JobState initial, std::function<void(JobState &)> refresh,
                                                                   std::chrono::milliseconds period) {
  auto folder = jobFolder();
  if (!folder.ok())
    return folder.status();
  std::optional<uint64_t> start = processStart(getpid());
  if (!start)
    return absl::UnavailableError("/proc says nothing about this process, so others can't tell whether it runs; mount /proc");
  auto impl = std::make_unique<Impl>();
  JobRecord &record = impl->record;
  record = {std::move(initial), *start, bootId(), hostName(), millisecondsNow()};
  record.state.pid = getpid();
  record.state.startedAt = system_clock::to_time_t(system_clock::now());
  auto file = JobFile::create(*folder, record);
  if (!file.ok())
    return file.status();
  impl->file = std::move(*file);
  impl->refresh = std::move(refresh);
  impl->period = period;

  // Signals are for the job's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  impl->thread = std::thread(&Impl::run, impl.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return std::unique_ptr<JobPublisher>(new JobPublisher(std::move(impl)));
}

JobPublisher::~JobPublisher() {
  {
    std::lock_guard lock(impl->mutex);
    impl->isStopping = true;
  }
  impl->stopped.notify_one();
  impl->thread.join();
}

int64_t JobPublisher::id() const { return impl->record.state.id; }

static void removeIfOld(const std::string &path) {
  llvm::sys::fs::file_status status;
  if (!llvm::sys::fs::status(path, status) && system_clock::now() - status.getLastModificationTime() > kTimeToFill)
    unlink(path.c_str());
}

namespace {
/// Sorts jobs by what their files say.
class JobScan {
public:
  explicit JobScan(bool forgetGone) : forgetGone(forgetGone) {}

  void read(const std::string &path) {
    llvm::StringRef ending = llvm::sys::path::extension(path);
    if (ending == ".tmp")
      return removeIfOld(path);
    if (ending != ".job")
      return;
    auto record = readJobFile(path);
    if (record.ok())
      sort(path, *record);
    else if (absl::IsNotFound(record.status()))
      removeIfOld(path);
    else
      jobs.unreadable.emplace_back(record.status().message());
  }

  Jobs takeJobs() {
    auto earlier = [](const JobState &a, const JobState &b) { return std::tie(a.startedAt, a.id) < std::tie(b.startedAt, b.id); };
    llvm::sort(jobs.running, earlier);
    llvm::sort(jobs.gone, earlier);
    llvm::sort(jobs.unreadable);
    return std::move(jobs);
  }

private:
  void sort(const std::string &path, JobRecord &record) {
    if (record.host != host) {
      if (std::chrono::milliseconds(millisecondsNow() - record.heartbeat) > kTimeToForget)
        unlink(path.c_str());
      return;
    }
    if (record.bootId == boot && processStart(record.state.pid) == record.processStart) {
      jobs.running.push_back(std::move(record.state));
      return;
    }
    // A job that took its file along meanwhile has ended well, and one that another reader removed has been told of.
    if (!forgetGone || unlink(path.c_str()) == 0 || errno != ENOENT)
      jobs.gone.push_back(std::move(record.state));
  }

  bool forgetGone;
  std::string host = hostName(), boot = bootId();
  Jobs jobs;
};
} // namespace

static absl::StatusOr<Jobs> scanJobs(bool forgetGone) {
  auto folder = jobFolder();
  if (!folder.ok())
    return Jobs(); // nor can there be a job without it
  JobScan scan(forgetGone);
  std::error_code error;
  for (llvm::sys::fs::directory_iterator file(*folder, error), end; !error && file != end; file.increment(error))
    scan.read(file->path());
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory)
    return absl::PermissionDeniedError(absl::StrCat(*folder, ": jobs can't be listed (", error.message(),
                                                    "); make it a folder that can be read, or set XDG_STATE_HOME to another"));
  return scan.takeJobs();
}

absl::StatusOr<Jobs> moai::readJobs() { return scanJobs(/*forgetGone=*/true); }

absl::StatusOr<std::vector<JobState>> moai::runningJobs() {
  auto jobs = scanJobs(/*forgetGone=*/false);
  if (!jobs.ok())
    return jobs.status();
  return std::move(jobs->running);
}

absl::Status moai::stopJob(const JobState &job) {
  auto running = runningJobs();
  if (!running.ok())
    return running.status();
  bool runs = llvm::any_of(*running, [&](const JobState &other) { return other.id == job.id && other.pid == job.pid; });
  if (!runs || (kill(static_cast<pid_t>(job.pid), SIGTERM) != 0 && errno == ESRCH))
    return absl::NotFoundError(absl::StrCat("job ", job.id, " (", job.command, ") is gone already; there is nothing to stop"));
  return absl::OkStatus();
}
