//===- PlanBench.cpp - Compile, cost and select ----------------------------===//
#include "BenchModel.h"
#include "benchmark/benchmark.h"
#include "mlir/Pass/PassManager.h"
#include "moai/CostModel/GraphCost.h"
#include "moai/CostModel/StepTime.h"
#include "moai/Passes/MemoryTrace.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Planner/Planner.h"

using namespace moai;

namespace {

PlanRequest reproducedRun() {
  PlanRequest request;
  request.accelerator = orDie(resolveAccelerator("4xLarge.2048GB"));
  request.globalBatches = {256};
  request.log = false;
  return request;
}

ImportedModel importGraph(const char *path, mlir::MLIRContext &context) { return orDie(importPt2(path, {}, context)); }

// Repeats or drops the calls of the model's block until there are so many layers.
void resizeLayers(mlir::ModuleOp module, size_t layers) {
  auto step = module.lookupSymbol<mlir::func::FuncOp>("step");
  mlir::Block &body = step.getBody().front();
  llvm::SmallVector<mlir::func::CallOp> calls(step.getOps<mlir::func::CallOp>());
  while (calls.size() > layers) {
    mlir::func::CallOp last = calls.pop_back_val();
    last->replaceAllUsesWith(mlir::ValueRange(calls.back().getResults()));
    last->erase();
  }
  llvm::SmallVector<mlir::Attribute> attributes;
  for (unsigned i = 0; i < step.getNumArguments(); ++i)
    attributes.push_back(step.getArgAttrDict(i));
  auto isParameter = [&](unsigned argument) {
    return llvm::cast<mlir::DictionaryAttr>(attributes[argument]).get(attrs::kRole) ==
           mlir::StringAttr::get(step.getContext(), "parameter");
  };
  while (calls.size() < layers) {
    mlir::func::CallOp last = calls.back();
    mlir::OpBuilder builder(last->getContext());
    builder.setInsertionPointAfter(last);
    auto next = llvm::cast<mlir::func::CallOp>(builder.clone(*last));
    last.getResult(0).replaceAllUsesExcept(next.getResult(0), next);
    for (mlir::OpOperand &operand : next->getOpOperands()) {
      auto argument = llvm::dyn_cast<mlir::BlockArgument>(operand.get());
      if (operand.get() == calls[calls.size() - 2].getResult(0))
        operand.set(last.getResult(0));
      else if (argument && isParameter(argument.getArgNumber())) {
        attributes.push_back(attributes[argument.getArgNumber()]);
        operand.set(body.addArgument(argument.getType(), argument.getLoc()));
      }
    }
    calls.push_back(next);
  }
  step.setFunctionType(mlir::FunctionType::get(module.getContext(), body.getArgumentTypes(), step.getFunctionType().getResults()));
  step.setAllArgAttrs(attributes);
  llvm::BitVector unused(step.getNumArguments());
  for (mlir::BlockArgument argument : body.getArguments())
    if (argument.use_empty())
      unused.set(argument.getArgNumber());
  step.eraseArguments(unused);
}

// One pass on a graph of so many layers, its copy apart.
void timePass(benchmark::State &state, mlir::ModuleOp module, std::unique_ptr<mlir::Pass> (*createPass)()) {
  for (auto _ : state) {
    state.PauseTiming();
    mlir::OwningOpRef<mlir::ModuleOp> copy = module.clone();
    mlir::PassManager manager(module.getContext(), mlir::ModuleOp::getOperationName());
    manager.enableVerifier(false);
    manager.addPass(createPass());
    state.ResumeTiming();
    if (mlir::failed(manager.run(*copy)))
      std::exit(1);
    state.PauseTiming();
    copy = nullptr;
    state.ResumeTiming();
  }
}

// The calls of the model's blocks, once per model: it looks at every layer's parameters.
void roll(benchmark::State &state) {
  BenchContext context;
  ImportedModel model = importGraph(MOAI_MODELS "/qwen1.5-7b.pt2", context);
  resizeLayers(*model.module, static_cast<size_t>(state.range(0)));
  timePass(state, *model.module, createRollBlocks);
}
BENCHMARK(roll)->Name("RollBlocks/layers")->Arg(10)->Arg(32)->Arg(1000)->Unit(benchmark::kMillisecond);

// Reverse mode of the same graph, its layers in one op.
void backward(benchmark::State &state) {
  BenchContext context;
  ImportedModel model = importGraph(MOAI_MODELS "/qwen1.5-7b.pt2", context);
  resizeLayers(*model.module, static_cast<size_t>(state.range(0)));
  mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
  manager.addPass(createNormalizeGraph());
  manager.addPass(createRollBlocks());
  if (mlir::failed(manager.run(*model.module)))
    std::exit(1);
  timePass(state, *model.module, createBuildBackward);
}
BENCHMARK(backward)->Name("BuildBackward/layers")->Arg(10)->Arg(32)->Arg(1000)->Unit(benchmark::kMillisecond);

// The peak of a step of so many layers on one device, and its op; blocks are looked at anew.
void planMemory(benchmark::State &state) {
  BenchContext context;
  ImportedModel model = importGraph(MOAI_MODELS "/qwen1.5-7b.pt2", context);
  resizeLayers(*model.module, static_cast<size_t>(state.range(0)));
  orDie(buildTrainingGraph(*model.module));
  std::string reason;
  PlanRequest request = reproducedRun();
  auto program = compileCandidate(*model.module, ParallelConfig(), request, reason);
  for (auto _ : state) {
    CandidateAnalyses analyses(request.accelerator, model.summary.binding, 1, 0);
    mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
    manager.enableVerifier(false);
    manager.addPass(createPlanMemory(analyses));
    if (mlir::failed(manager.run(*program)))
      std::exit(1);
  }
}
BENCHMARK(planMemory)->Name("PlanMemory/layers")->Arg(10)->Arg(32)->Arg(1000)->Unit(benchmark::kMillisecond);

// Every storage of the same step, with its offset.
void traceStep(benchmark::State &state) {
  BenchContext context;
  ImportedModel model = importGraph(MOAI_MODELS "/qwen1.5-7b.pt2", context);
  orDie(buildTrainingGraph(*model.module));
  std::string reason;
  auto program = compileCandidate(*model.module, ParallelConfig(), reproducedRun(), reason);
  unrollBlocks(*program);
  auto stage = program->lookupSymbol<mlir::func::FuncOp>("stage0");
  size_t ops = 0;
  for (auto _ : state)
    ops += traceMemory(stage, {}).use.size();
  state.counters["op"] = benchmark::Counter(static_cast<double>(ops), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(traceStep)->Name("MemoryTrace/qwen1.5-7b")->Unit(benchmark::kMillisecond);

// One candidate, from a copy of the training graph to programs with memory plans.
void compile(benchmark::State &state, const char *text) {
  BenchContext context;
  ImportedModel model = importGraph(MOAI_MODELS "/qwen1.5-7b.pt2", context);
  orDie(buildTrainingGraph(*model.module));
  PlanRequest request = reproducedRun();
  ParallelConfig config = orDie(parseConfig(text));
  CandidateAnalyses analyses(request.accelerator, model.summary.binding, 1, 0);
  for (auto _ : state) {
    mlir::OwningOpRef<mlir::ModuleOp> module = model.module->clone();
    (*module)->setAttr(attrs::kConfig, ConfigAttr::get(&context, toString(config)));
    mlir::PassManager manager(&context, mlir::ModuleOp::getOperationName());
    manager.enableVerifier(false);
    buildCandidatePipeline(manager, analyses);
    if (mlir::failed(manager.run(*module)))
      std::exit(1);
  }
}
BENCHMARK_CAPTURE(compile, stages_2, "num_stages=2,num_micro_batches=16,data_parallel=16,zero=1")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(compile, stages_4, "num_stages=4,num_micro_batches=32,data_parallel=8,zero=1")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(compile, stages_4_full, "num_stages=4,num_micro_batches=32,data_parallel=8,zero=1,recomputation=full")
    ->Unit(benchmark::kMillisecond);

// Reading a compiled candidate's seconds off its IR, blocks known, and its step's time.
void cost(benchmark::State &state) {
  BenchContext context;
  ImportedModel model = importGraph(MOAI_MODELS "/qwen1.5-7b.pt2", context);
  orDie(buildTrainingGraph(*model.module));
  PlanRequest request = reproducedRun();
  ParallelConfig config = orDie(parseConfig("num_stages=4,num_micro_batches=32,data_parallel=8,zero=1"));
  std::string reason;
  auto candidate = compileCandidate(*model.module, config, request, reason);
  GraphCost graphCost(request.accelerator, getBinding(*candidate), 1);
  DeviceMesh mesh(config);
  for (auto _ : state) {
    std::vector<StageProgram> stages;
    for (auto function : candidate->getOps<mlir::func::FuncOp>())
      if (function->hasAttr(attrs::kSchedule))
        stages.push_back(graphCost.measureStage(function, mesh));
    benchmark::DoNotOptimize(stepCost(stages, config, request.accelerator).total());
  }
}
BENCHMARK(cost)->Name("Cost/per_candidate")->Unit(benchmark::kMicrosecond);

// All 16 candidates on one thread, from the imported graph to the choice.
void planLayers(benchmark::State &state) {
  BenchContext context;
  ImportedModel model = importGraph(MOAI_MODELS "/qwen1.5-7b.pt2", context);
  resizeLayers(*model.module, static_cast<size_t>(state.range(0)));
  PlanRequest request = reproducedRun();
  request.threads = 1;
  request.accelerator.device.memoryBytes *= 16; // so that no size is cut short
  for (auto _ : state) {
    mlir::OwningOpRef<mlir::ModuleOp> module = model.module->clone();
    benchmark::DoNotOptimize(orDie(planModel(*module, model.summary, request)).selected);
  }
}
BENCHMARK(planLayers)->Name("Plan/layers")->RangeMultiplier(2)->Range(8, 128)->Unit(benchmark::kMillisecond);

void planThreads(benchmark::State &state) {
  BenchContext context;
  ImportedModel model = importGraph(MOAI_MODELS "/qwen1.5-7b.pt2", context);
  PlanRequest request = reproducedRun();
  request.threads = static_cast<int>(state.range(0));
  for (auto _ : state) {
    mlir::OwningOpRef<mlir::ModuleOp> module = model.module->clone();
    benchmark::DoNotOptimize(orDie(planModel(*module, model.summary, request)).selected);
  }
}
BENCHMARK(planThreads)->Name("Plan/threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

} // namespace
