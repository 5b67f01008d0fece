//===- moai-smi.cpp - What the accelerator and its jobs are doing ----------===//
#include "Views.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "moai/Support/CommandLine.h"
#include "moai/Support/Terminal.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FormatVariadic.h"
#include <chrono>
#include <csignal>
#include <iostream>
#include <thread>

using namespace moai;
namespace cl = llvm::cl;

namespace {

cl::OptionCategory category("Options");
cl::opt<bool> physical("p", cl::desc("Show each physical device of the accelerator"), cl::cat(category));
cl::opt<std::string> indexText("i", cl::desc("Show one accelerator only, or with -p one physical device"), cl::value_desc("N"),
                               cl::cat(category));
cl::opt<bool> reset("r", cl::desc("Stop the jobs that run, after asking for each"), cl::cat(category));
cl::opt<bool> yes("y", cl::desc("With -r: don't ask"), cl::cat(category));
cl::opt<bool> asJson("json", cl::desc("Print JSON; with --watch a line each time"), cl::cat(category));
cl::opt<std::string> watchText("watch", cl::desc("Show it again every so many seconds, until Ctrl-C"), cl::value_desc("SECONDS"),
                               cl::cat(category));

const char *const kOverview = "moai-smi: shows the MoAI Accelerator that scripts use, its memory, and the jobs that run.\n\n"
                              "  moai-smi [-p] [-i N] [--json] [--watch SECONDS]\n"
                              "  moai-smi -r [-i N] [-y]\n\n"
                              "Row 0 is the current accelerator; jobs that were started on others have a row of their own.\n"
                              "Exit codes: 0 done, 1 nothing can be shown or a job doesn't stop, 2 wrong usage.\n";

constexpr auto kTimeToStop = std::chrono::seconds(10);

/// What was asked for besides switches.
struct Request {
  View view;
  std::optional<double> watchSeconds;
};

} // namespace

// A returned sentence says what is wrong.
static std::optional<std::string> readFlags(Request &request) {
  request.view.physicalDevices = physical;
  if (indexText.getNumOccurrences()) {
    if (uint32_t index; absl::SimpleAtoi(indexText.getValue(), &index))
      request.view.index = index;
    else
      return absl::StrCat("-i ", indexText.getValue(), ": expected a whole number of 0 or more");
  }
  if (watchText.getNumOccurrences()) {
    double seconds;
    if (!absl::SimpleAtod(watchText.getValue(), &seconds) || !(seconds >= 0.01 && seconds <= 86400))
      return absl::StrCat("--watch ", watchText.getValue(), ": expected seconds from 0.01 to 86400");
    request.watchSeconds = seconds;
  }
  if (yes && !reset)
    return "-y answers the question of -r; give that as well";
  for (const auto &[given, flag] :
       {std::pair(physical.getNumOccurrences(), "-p"), {asJson.getNumOccurrences(), "--json"}, {watchText.getNumOccurrences(), "--watch"}})
    if (reset && given)
      return absl::StrCat("-r stops jobs, so ", flag, " contradicts it; leave one of them out");
  return std::nullopt;
}

static void print(const Request &request, const Snapshot &snapshot, llvm::raw_ostream &out) {
  if (!asJson)
    return printTables(request.view, snapshot, out);
  llvm::json::Value all = toJSON(request.view, snapshot);
  out << llvm::formatv(request.watchSeconds ? "{0}" : "{0:2}", all) << "\n";
}

static absl::StatusOr<std::unique_ptr<Snapshot>> look(const Request &request) {
  auto snapshot = Snapshot::take();
  if (!snapshot.ok())
    return snapshot.status();
  if (absl::Status status = checkIndex(request.view, **snapshot); !status.ok())
    return status;
  for (const std::string &sentence : (*snapshot)->jobs.unreadable)
    llvm::errs() << "moai-smi: warning: " << sentence << "\n";
  return snapshot;
}

// Returns only if there is nothing more to show.
static absl::Status show(const Request &request) {
  if (request.watchSeconds)
    std::signal(SIGINT, [](int) { std::_Exit(0); });
  std::vector<JobState> gone; // told once by readJobs, and by a screen that is cleared as long as it is watched
  do {
    auto snapshot = look(request);
    if (!snapshot.ok())
      return snapshot.status();
    std::string text;
    llvm::raw_string_ostream stream(text);
    if (request.watchSeconds && isTerminal() && !asJson) {
      stream << "\033[H\033[2J";
      gone.insert(gone.end(), (*snapshot)->jobs.gone.begin(), (*snapshot)->jobs.gone.end());
      (*snapshot)->jobs.gone = gone;
    }
    print(request, **snapshot, stream);
    llvm::outs() << text;
    llvm::outs().flush();
    if (request.watchSeconds)
      std::this_thread::sleep_for(std::chrono::duration<double>(*request.watchSeconds));
  } while (request.watchSeconds && !llvm::outs().has_error());
  return absl::OkStatus();
}

static bool mayStop(const JobState &job) {
  if (yes)
    return true;
  llvm::outs() << "Stop job" << llvm::StringRef(describe(job)).drop_front(3) << "? [y/N]: ";
  llvm::outs().flush();
  std::string answer;
  if (!std::getline(std::cin, answer))
    llvm::outs() << "\n";
  llvm::StringRef word = llvm::StringRef(answer).trim();
  return word.equals_insensitive("y") || word.equals_insensitive("yes");
}

// Whether a job that was asked to stop does so in time.
static bool waitUntilGone(const JobState &job) {
  auto end = std::chrono::steady_clock::now() + kTimeToStop;
  do {
    auto running = runningJobs();
    if (running.ok() && llvm::none_of(*running, [&](const JobState &other) { return other.id == job.id; }))
      return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

static absl::Status stop(const JobState &job) {
  absl::Status status = stopJob(job);
  if (!status.ok() && !absl::IsNotFound(status))
    return status;
  if (!waitUntilGone(job))
    return absl::DeadlineExceededError(absl::StrCat("job ", job.id, " is still running ", kTimeToStop.count(),
                                                    " s after it was asked to stop; wait for its step to end, or end it with kill -9 ",
                                                    job.pid));
  llvm::outs() << describe(job) << " has stopped.\n";
  return absl::OkStatus();
}

static absl::Status stopJobs(const Request &request) {
  auto snapshot = look(request);
  if (!snapshot.ok())
    return snapshot.status();
  bool any = false;
  absl::Status failure;
  for (const Row &row : (*snapshot)->rows) {
    if (!request.view.shows(row))
      continue;
    for (const JobState *job : row.jobs) {
      any = true;
      if (mayStop(*job))
        failure.Update(stop(*job));
    }
  }
  if (!any)
    llvm::outs() << "No job is running.\n";
  for (const JobState &job : (*snapshot)->jobs.gone)
    llvm::outs() << describeGone(job) << "\n";
  return failure;
}

int main(int argc, char **argv) {
  cl::HideUnrelatedOptions(category);
  if (!parseCommandLine(argc, argv, "moai-smi", kOverview))
    return kUsageError;
  Request request;
  if (std::optional<std::string> wrong = readFlags(request))
    return failUsage(*wrong);
  if (absl::Status status = reset ? stopJobs(request) : show(request); !status.ok()) {
    llvm::outs().flush();
    return failInput(status);
  }
  finish();
}
