//===- Plan.h - The result of planning -------------------------------------===//
#ifndef MOAI_PLAN_PLAN_H
#define MOAI_PLAN_PLAN_H

#include "moai/Plan/Cost.h"
#include "moai/Plan/Model.h"
#include "moai/Plan/OptimizerPolicy.h"
#include "moai/Plan/ParallelConfig.h"
#include "moai/Plan/StageProgram.h"
#include "moai/Plan/StepMemory.h"
#include "llvm/Support/JSON.h"
#include <optional>
#include <string>
#include <vector>

namespace moai {

/// Why a candidate is out. A value, never an error.
struct Rejection {
  std::string phase; ///< compile or memory
  std::string reason;
  int64_t rank = 0;      ///< first device on which it fails
  int64_t bytesOver = 0; ///< beyond the limit, where memory is the reason
};

/// One way of splitting the step, compiled and costed, or rejected.
struct Candidate {
  ParallelConfig config;
  std::optional<Rejection> rejected;
  std::vector<StageProgram> stages; ///< empty if compilation failed
  CostBreakdown cost;               ///< of survivors
  double stepSeconds = 0;
};

struct Elapsed {
  double importMs = 0, compileMs = 0, selectMs = 0, totalMs = 0;
};

/// What moai-plan writes to plan.json.
struct Plan {
  ModelSummary model;
  llvm::json::Object accelerator;
  int64_t deviceMemoryBytes = 0; ///< of one device
  double memoryRatio = 0.8;      ///< usable part of it
  std::vector<int64_t> globalBatches;
  OptimizerPolicy optimizer;
  std::string space;
  std::string generation;
  std::vector<Candidate> candidates; ///< in the order of enumeration
  std::optional<size_t> selected;
  std::string selectedLine;              ///< MoAI's line for it
  std::optional<StageMemory> stepMemory; ///< as a framework runs it, where that was asked for
  Elapsed elapsed;

  int64_t numPossible() const;
  int64_t memoryLimit() const { return static_cast<int64_t>(memoryRatio * static_cast<double>(deviceMemoryBytes)); }
  /// Samples, and tokens where the model has a sequence, per second of the selected candidate.
  double samplesPerSecond() const;
  double tokensPerSecond() const;
};

/// plan.json. Times of this machine are left out unless wanted, so that outputs can be compared byte for byte.
llvm::json::Object toJSON(const Plan &plan, bool withTimes);

} // namespace moai

#endif // MOAI_PLAN_PLAN_H
