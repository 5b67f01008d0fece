//===- ExecuteBench.cpp - The reference executor ---------------------------===//
#include "BenchModel.h"
#include "Eigen/Core"
#include "benchmark/benchmark.h"
#include "mlir/Parser/Parser.h"
#include "moai/Execute/TrainingRun.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Planner/Planner.h"

using namespace moai;

namespace {

// Eigen's own product of two square matrices of floats: what the executor's can come near to.
void eigenProduct(benchmark::State &state) {
  int64_t n = state.range(0);
  Eigen::MatrixXf a = Eigen::MatrixXf::Random(n, n), b = Eigen::MatrixXf::Random(n, n), c(n, n);
  for (auto _ : state) {
    c.noalias() = a * b;
    benchmark::DoNotOptimize(c.data());
  }
  state.counters["FLOP/s"] = benchmark::Counter(2.0 * n * n * n, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(eigenProduct)->Name("Execute/eigen")->Arg(256)->Arg(1024)->Unit(benchmark::kMillisecond);

void contract(benchmark::State &state) {
  BenchContext context;
  int64_t n = state.range(0);
  std::string type = "!moai.tensor<[" + std::to_string(n) + ", " + std::to_string(n) + "], f32>";
  auto module = mlir::parseSourceString<mlir::ModuleOp>("func.func @product(%a: " + type + ", %b: " + type + ") -> " + type +
                                                            " {\n%c = moai.contract %a, %b {equation = \"mk,kn->mn\"} : (" + type + ", " +
                                                            type + ") -> " + type + "\nreturn %c : " + type + "\n}\n",
                                                        &context);
  if (!module)
    std::exit(1);
  auto matrix = std::make_shared<Tensor>(std::vector<int64_t>{n, n});
  Executor executor(*module, {});
  for (auto _ : state)
    benchmark::DoNotOptimize(orDie(executor.run("product", {matrix, matrix})));
  state.counters["FLOP/s"] = benchmark::Counter(2.0 * n * n * n, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(contract)->Name("Execute/contract")->Arg(256)->Arg(1024)->Unit(benchmark::kMillisecond);

// A whole training step: forward, backward, AdamW. Of 128 samples on 1, 4 and 32 virtual devices, on as many threads as there are cores.
void step(benchmark::State &state, const char *graph) {
  BenchContext context;
  ImportOptions import;
  import.batch = state.range(0);
  ImportedModel model = orDie(importPt2(std::string(MOAI_GRAPHS "/") + graph + ".pt2", import, context));
  setBinding(*model.module, model.summary.binding);
  orDie(buildTrainingGraph(*model.module));
  ModelTensors tensors(*model.module, model.tiedParameters);
  tensors.fillTheRest(0);
  PlanRequest request;
  request.accelerator = orDie(resolveAccelerator("h100"));
  std::string reason;
  ParallelConfig config;
  config.dataParallel = state.range(1);
  config.zero = config.dataParallel > 1;
  config.batchPerDevice = tensors.batch() / config.dataParallel;
  auto program = compileCandidate(*model.module, config, request, reason);
  unrollBlocks(*program);
  ExecuteOptions options;
  options.threads = static_cast<int>(state.range(2));
  TrainingRun run = orDie(TrainingRun::create(tensors, *program, options));
  for (auto _ : state)
    benchmark::DoNotOptimize(orDie(run.run(/*keepGradients=*/false)).loss);
}
// Arguments: samples, devices, threads.
void sizes(benchmark::internal::Benchmark *benchmark) {
  benchmark->Args({8, 1, 1})->Args({128, 1, 1})->Args({128, 4, 1})->Args({128, 32, 1})->Args({128, 4, 0})->Args({128, 32, 0});
  benchmark->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK_CAPTURE(step, tiny_bert, "tiny-bert")->Apply(sizes);
BENCHMARK_CAPTURE(step, tiny_gpt2, "tiny-gpt2")->Apply(sizes);
BENCHMARK_CAPTURE(step, tiny_llama, "tiny-llama")->Apply(sizes);
BENCHMARK_CAPTURE(step, tiny_mixtral, "tiny-mixtral")->Apply(sizes);
BENCHMARK_CAPTURE(step, tiny_qwen2, "tiny-qwen2")->Apply(sizes);
BENCHMARK_CAPTURE(step, tiny_vit, "tiny-vit")->Apply(sizes);

} // namespace
