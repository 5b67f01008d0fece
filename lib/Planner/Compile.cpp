//===- Compile.cpp - Candidates compiled in parallel -----------------------===//
#include "Compile.h"
#include "absl/strings/str_format.h"
#include "mlir/Bytecode/BytecodeWriter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "moai/CostModel/GraphCost.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Support/File.h"
#include <mutex>
#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

using namespace mlir;
using namespace moai;

namespace {

/// What a thread keeps from candidate to candidate: a context with the training graph, and analyses by micro-batch size.
class Worker {
public:
  /// Without bytecode the worker uses the given module's own context, which no other thread may use then.
  Worker(ModuleOp trainingGraph, StringRef bytecode, const PlanRequest &request) : request(request) {
    if (bytecode.empty()) {
      source = trainingGraph;
      return;
    }
    context = std::make_unique<MLIRContext>(MLIRContext::Threading::DISABLED);
    context->loadDialect<MoaiDialect, func::FuncDialect>();
    ParserConfig config(context.get(), /*verifyAfterParse=*/false);
    parsed = parseSourceString<ModuleOp>(bytecode, config);
    source = *parsed;
  }

  OwningOpRef<ModuleOp> compile(const ParallelConfig &config, std::string &reason) {
    OwningOpRef<ModuleOp> module = cast<ModuleOp>(source->clone());
    MLIRContext *context = module->getContext();
    module->getOperation()->setAttr(attrs::kConfig, ConfigAttr::get(context, toString(config)));
    module->getOperation()->setAttr(attrs::kOptimizer, OptimizerPolicyAttr::get(context, toString(request.policy())));
    ScopedDiagnosticHandler diagnostics(context, [&](Diagnostic &diagnostic) {
      if (reason.empty())
        reason = diagnostic.str();
    });
    PassManager manager(context, ModuleOp::getOperationName());
    manager.enableVerifier(false);
    buildCandidatePipeline(manager, analysesFor(config));
    if (failed(manager.run(*module))) {
      if (reason.empty())
        reason = "a pass failed without a reason";
      return nullptr;
    }
    return module;
  }

  CandidateAnalyses &analysesFor(const ParallelConfig &config) {
    auto &found = analyses[config.batchPerDevice];
    if (!found) {
      DimBinding binding = getBinding(source);
      binding.values[kBatchSymbol] = config.batchPerDevice;
      int64_t limit = static_cast<int64_t>(request.memoryRatio * static_cast<double>(request.accelerator.device.memoryBytes));
      found = std::make_unique<CandidateAnalyses>(request.accelerator, binding, request.expertImbalance, limit, request.memoryModel());
    }
    return *found;
  }

private:
  const PlanRequest &request;
  std::unique_ptr<MLIRContext> context;
  OwningOpRef<ModuleOp> parsed;
  ModuleOp source;
  std::map<int64_t, std::unique_ptr<CandidateAnalyses>> analyses; ///< by batch per device
};

} // namespace

static void compileOne(Worker &worker, const PlanRequest &request, size_t index, Candidate &candidate, absl::Status &dumpStatus) {
  std::string reason;
  OwningOpRef<ModuleOp> module = worker.compile(candidate.config, reason);
  if (!module) {
    candidate.rejected = Rejection{"compile", reason, 0, 0};
    return;
  }
  GraphCost &cost = worker.analysesFor(candidate.config).cost;
  DeviceMesh mesh(candidate.config);
  for (auto stage : module->getOps<func::FuncOp>())
    if (stage->hasAttr(attrs::kSchedule))
      candidate.stages.push_back(cost.measureStage(stage, mesh));
  if (request.dumpDirectory.empty())
    return;
  std::string text;
  llvm::raw_string_ostream stream(text);
  module->print(stream);
  stream << "\n";
  dumpStatus = writeFile(request.dumpDirectory + absl::StrFormat("/candidate-%02d.mlir", index), stream.str());
}

absl::Status moai::compileCandidates(ModuleOp trainingGraph, const PlanRequest &request, std::vector<Candidate> &candidates) {
  std::vector<absl::Status> dumps(candidates.size());
  int threads = request.threads > 0 ? request.threads : oneapi::tbb::this_task_arena::max_concurrency();
  if (threads == 1) {
    Worker worker(trainingGraph, "", request);
    for (size_t i = 0; i < candidates.size(); ++i)
      compileOne(worker, request, i, candidates[i], dumps[i]);
  } else {
    std::string bytecode;
    llvm::raw_string_ostream stream(bytecode);
    if (failed(writeBytecodeToFile(trainingGraph, stream)))
      return absl::InternalError("the training graph can't be written as bytecode");
    stream.flush();
    oneapi::tbb::enumerable_thread_specific<std::unique_ptr<Worker>> workers;
    // The thread that waits here has a context with the graph already.
    workers.local() = std::make_unique<Worker>(trainingGraph, "", request);
    // More than cores, where that is asked for.
    oneapi::tbb::global_control allowed(oneapi::tbb::global_control::max_allowed_parallelism, threads);
    oneapi::tbb::task_arena arena(threads);
    arena.execute([&] {
      oneapi::tbb::parallel_for(
          oneapi::tbb::blocked_range<size_t>(0, candidates.size(), 1),
          [&](const oneapi::tbb::blocked_range<size_t> &range) {
            std::unique_ptr<Worker> &worker = workers.local();
            if (!worker)
              worker = std::make_unique<Worker>(ModuleOp(), bytecode, request);
            for (size_t i = range.begin(); i != range.end(); ++i)
              compileOne(*worker, request, i, candidates[i], dumps[i]);
          },
          oneapi::tbb::simple_partitioner());
    });
  }
  for (const absl::Status &status : dumps)
    if (!status.ok())
      return status;
  return absl::OkStatus();
}

OwningOpRef<ModuleOp> moai::compileCandidate(ModuleOp trainingGraph, const ParallelConfig &config, const PlanRequest &request,
                                             std::string &reason) {
  Worker worker(trainingGraph, "", request);
  return worker.compile(config, reason);
}
