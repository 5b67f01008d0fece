//===- Plan.cpp - The result of planning -----------------------------------===//
#include "moai/Plan/Plan.h"

using namespace moai;
using llvm::json::Array;
using llvm::json::Object;

// Raised when a key changes its meaning or goes away.
static constexpr int64_t kPlanSchemaVersion = 2;

int64_t Plan::numPossible() const {
  return llvm::count_if(candidates, [](const Candidate &candidate) { return !candidate.rejected; });
}

double Plan::samplesPerSecond() const {
  if (!selected || candidates[*selected].stepSeconds <= 0)
    return 0;
  return static_cast<double>(globalBatches.front()) / candidates[*selected].stepSeconds;
}

double Plan::tokensPerSecond() const {
  return samplesPerSecond() * (model.hasSequence ? static_cast<double>(model.binding.values[kSequenceSymbol]) : 1.0);
}

static Object candidateJSON(const Candidate &candidate) {
  Object object{{"config", toJSON(candidate.config)}};
  if (!candidate.stages.empty()) {
    int64_t most = 0;
    for (const StageProgram &stage : candidate.stages)
      most = std::max(most, stage.memory.total());
    object["peak_memory_bytes"] = most;
  }
  if (candidate.rejected)
    object["rejected"] = Object{{"phase", candidate.rejected->phase},
                                {"reason", candidate.rejected->reason},
                                {"rank", candidate.rejected->rank},
                                {"bytes_over", candidate.rejected->bytesOver}};
  else
    object["cost"] = Object{{"step_seconds", candidate.stepSeconds}, {"breakdown", toJSON(candidate.cost)}};
  return object;
}

Object moai::toJSON(const Plan &plan, bool withTimes) {
  Array candidates, memory, collectives, batches;
  for (const Candidate &candidate : plan.candidates)
    candidates.push_back(candidateJSON(candidate));
  for (int64_t batch : plan.globalBatches)
    batches.push_back(batch);
  Object object{
      {"schema_version", kPlanSchemaVersion},
      {"model", toJSON(plan.model)},
      {"accelerator", Object(plan.accelerator)},
      {"global_batch", plan.globalBatches.front()},
      {"space", plan.space},
      {"generation", plan.generation},
      {"optimizer", toJSON(plan.optimizer)},
      {"memory_ratio", plan.memoryRatio},
      {"memory_limit_bytes", plan.memoryLimit()},
      {"candidates", std::move(candidates)},
      {"number_of_candidates", static_cast<int64_t>(plan.candidates.size())},
      {"number_of_possible_candidates", plan.numPossible()},
      {"verification", nullptr},
  };
  if (plan.globalBatches.size() > 1)
    object["global_batches"] = std::move(batches);
  if (plan.selected) {
    const Candidate &best = plan.candidates[*plan.selected];
    for (auto [index, stage] : llvm::enumerate(best.stages)) {
      Object entry = toJSON(plan.stepMemory.value_or(stage.memory));
      entry["stage"] = static_cast<int64_t>(index);
      memory.push_back(std::move(entry));
      for (const StageCollective &collective : stage.collectives)
        collectives.push_back(Object{{"stage", static_cast<int64_t>(index)},
                                     {"kind", collective.kind},
                                     {"axis", collective.axes.isEmpty() ? "tied" : toString(collective.axes)},
                                     {"group_size", collective.groupSize},
                                     {"bytes", collective.bytes},
                                     {"count", collective.count}});
      if (stage.sendBytes)
        collectives.push_back(Object{{"stage", static_cast<int64_t>(index)},
                                     {"kind", "send_receive"},
                                     {"axis", "stage"},
                                     {"group_size", 2},
                                     {"bytes", stage.sendBytes},
                                     {"count", 2 * best.config.numMicroBatches}});
    }
    Object selected = toJSON(best.config);
    selected["index"] = static_cast<int64_t>(*plan.selected);
    selected["line"] = plan.selectedLine;
    object["selected"] = std::move(selected);
    object["predicted"] = Object{{"step_seconds", best.stepSeconds},
                                 {"samples_per_second", plan.samplesPerSecond()},
                                 {"tokens_per_second", plan.tokensPerSecond()},
                                 {"breakdown", toJSON(best.cost)}};
    object["memory_per_stage"] = std::move(memory);
    object["collectives"] = std::move(collectives);
  }
  if (withTimes)
    object["elapsed"] = Object{{"import_ms", plan.elapsed.importMs},
                               {"compile_ms", plan.elapsed.compileMs},
                               {"select_ms", plan.elapsed.selectMs},
                               {"total_ms", plan.elapsed.totalMs}};
  return object;
}
