//===- ParallelConfig.h - One way of splitting a training step --------------===//
#ifndef MOAI_PLAN_PARALLELCONFIG_H
#define MOAI_PLAN_PARALLELCONFIG_H

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/JSON.h"
#include <cstdint>
#include <string>

namespace moai {

/// What a block's forward keeps for its backward. `Selective` keeps the block's inputs and what its matrix products and
/// attention return, and computes the rest again, as PyTorch's selective activation checkpointing does when told to save
/// those ops. `Full` keeps the block's inputs alone. `FirstBlocks` is full for the first blocks of each stage, none for the others.
enum class Recomputation : uint8_t { None, Selective, Full, FirstBlocks };

/// A kind of recomputation, and what belongs to it.
struct RecomputationChoice {
  Recomputation kind = Recomputation::None;
  llvm::SmallVector<int64_t, 0> firstBlocks; ///< with FirstBlocks: how many blocks of each stage

  RecomputationChoice(Recomputation kind = Recomputation::None) : kind(kind) {}
  bool operator==(const RecomputationChoice &o) const { return kind == o.kind && firstBlocks == o.firstBlocks; }
  bool operator!=(const RecomputationChoice &o) const { return !(*this == o); }
};

/// The order in which a stage runs its micro-batches.
enum class ScheduleKind : uint8_t { GPipe, OneFOneB, InterleavedOneFOneB, ZbH1, ZbH2, ZbV };

/// One candidate. Everywhere outside C++ (text, JSON, the `#moai.config` attribute) the fields carry the names in
/// snake case: `num_stages=2,num_micro_batches=16`. DeviceMesh says how devices are laid out.
struct ParallelConfig {
  int64_t numStages = 1;
  int64_t numMicroBatches = 1;
  int64_t batchPerDevice = 1; ///< samples of one micro-batch in one data-parallel replica
  int64_t dataParallel = 1;
  int64_t tensorParallel = 1;
  int64_t contextParallel = 1;
  int64_t expertParallel = 1;     ///< splits the experts inside data x context; adds no devices
  bool sequenceParallel = false;  ///< norms and residuals are split along the sequence over the tensor axis
  int64_t zero = 0;               ///< sharded over data: 1 optimizer states, 2 and gradients, 3 and parameters
  bool lowPrecisionParams = true; ///< the gathered copy of the parameters is bf16, otherwise fp32
  RecomputationChoice recomputation;
  ScheduleKind schedule = ScheduleKind::OneFOneB;
  int64_t virtualStages = 1; ///< model chunks per stage

  /// batchPerDevice x numMicroBatches x dataParallel: samples of one step.
  int64_t globalBatch() const;
  /// numStages x dataParallel x tensorParallel x contextParallel. Both products saturate at INT64_MAX.
  int64_t numDevices() const;

  bool operator==(const ParallelConfig &other) const;
  bool operator!=(const ParallelConfig &other) const { return !(*this == other); }
};

/// The spelling shared by text, JSON and IR: `none`, `selective`, `full`, or a count per stage, `8:4` (in JSON a list).
std::string toString(const RecomputationChoice &recomputation);
/// `gpipe`, `1f1b`, `interleaved-1f1b`, `zb-h1`, `zb-h2`, `zb-v`.
llvm::StringRef toString(ScheduleKind schedule);
absl::StatusOr<RecomputationChoice> parseRecomputation(llvm::StringRef text);
absl::StatusOr<ScheduleKind> parseScheduleKind(llvm::StringRef text);

/// InvalidArgument, naming the field, where a field is out of its range or two contradict each other. Whether a
/// model divides so is a pass's business.
absl::Status checkConfig(const ParallelConfig &config);

/// Reads `key=value,...` over the defaults; spaces around keys and values are ignored, a key given twice is an
/// error. The result has passed checkConfig. `parseConfig(toString(c)) == c` for every valid c.
absl::StatusOr<ParallelConfig> parseConfig(llvm::StringRef text);

/// As parseConfig, for a number of devices and samples of one step: what isn't given is derived, data_parallel from the
/// devices, and batch_per_device (or, if that is given, num_micro_batches) from the global batch. What doesn't come out even
/// is an InvalidArgument that says which values would.
absl::StatusOr<ParallelConfig> deriveConfig(llvm::StringRef text, int64_t numDevices, int64_t globalBatch);

/// Every field, in the order above: `num_stages=2,num_micro_batches=16,...`.
std::string toString(const ParallelConfig &config);

/// The same names; numbers and booleans as such, enumerations as their spelling, counts per stage as a list.
llvm::json::Object toJSON(const ParallelConfig &config);

} // namespace moai

#endif // MOAI_PLAN_PARALLELCONFIG_H
