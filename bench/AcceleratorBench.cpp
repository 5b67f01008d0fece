//===- AcceleratorBench.cpp - What it takes to see jobs --------------------===//
#include "benchmark/benchmark.h"
#include "moai/Accelerator/Job.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Program.h"
#include <cstdlib>

using namespace moai;

namespace {

/// A user with so many jobs that run, on four devices each.
class JobsOfAUser {
public:
  explicit JobsOfAUser(int64_t count) {
    if (llvm::sys::fs::createUniqueDirectory("moai-bench", folder))
      std::exit(1);
    for (const char *variable : {"XDG_STATE_HOME", "XDG_CONFIG_HOME"})
      setenv(variable, folder.c_str(), 1);
    JobState state;
    state.command = "moai-run gpt2.pt2 --data=text.txt --steps=1000";
    state.accelerator = "Large.256GB";
    state.devices.resize(4);
    for (int64_t i = 0; i < count; ++i) {
      auto publisher = JobPublisher::create(state, [](JobState &state) { ++state.step; });
      if (!publisher.ok())
        std::exit(1);
      publishers.push_back(std::move(*publisher));
    }
  }
  ~JobsOfAUser() {
    publishers.clear();
    llvm::sys::fs::remove_directories(folder);
  }

private:
  llvm::SmallString<128> folder;
  std::vector<std::unique_ptr<JobPublisher>> publishers;
};

void smi(benchmark::State &state) {
  JobsOfAUser jobs(state.range(0));
  std::optional<llvm::StringRef> quiet[] = {llvm::StringRef(""), llvm::StringRef(""), llvm::StringRef("")};
  for (auto _ : state)
    if (llvm::sys::ExecuteAndWait(MOAI_BIN "/moai-smi", {"moai-smi"}, std::nullopt, quiet) != 0)
      std::exit(1);
}
BENCHMARK(smi)->Name("Accelerator/moai-smi/jobs")->Arg(0)->Arg(1)->Arg(100)->UseRealTime()->Unit(benchmark::kMillisecond);

void read(benchmark::State &state) {
  JobsOfAUser jobs(state.range(0));
  for (auto _ : state)
    if (auto seen = readJobs(); !seen.ok() || seen->running.size() != static_cast<size_t>(state.range(0)))
      std::exit(1);
}
BENCHMARK(read)->Name("Accelerator/read/jobs")->Arg(1)->Arg(100)->UseRealTime()->Unit(benchmark::kMillisecond);

} // namespace
