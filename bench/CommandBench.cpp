//===- CommandBench.cpp - The whole command, start-up included -------------===//
#include "benchmark/benchmark.h"
#include "llvm/Support/Program.h"
#include <cstdlib>

namespace {

void run(benchmark::State &state, llvm::ArrayRef<llvm::StringRef> arguments) {
  std::optional<llvm::StringRef> quiet[] = {llvm::StringRef(""), llvm::StringRef(""), llvm::StringRef("")};
  for (auto _ : state)
    if (llvm::sys::ExecuteAndWait(MOAI_BIN "/moai-plan", arguments, std::nullopt, quiet) != 0)
      std::exit(1);
}

void reproducedRun(benchmark::State &state) {
  run(state, {"moai-plan", MOAI_MODELS "/qwen1.5-7b.pt2", "--accelerator=4xLarge.2048GB", "--global-batch=256", "--space=moai"});
}
BENCHMARK(reproducedRun)->Name("Command/reproduced_run")->UseRealTime()->Unit(benchmark::kMillisecond);

void startUp(benchmark::State &state) { run(state, {"moai-plan", "--version"}); }
BENCHMARK(startUp)->Name("Command/start_up")->UseRealTime()->Unit(benchmark::kMillisecond);

} // namespace
