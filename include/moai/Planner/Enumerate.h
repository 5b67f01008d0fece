//===- Enumerate.h - The candidates that MoAI tries -------------------------===//
#ifndef MOAI_PLANNER_ENUMERATE_H
#define MOAI_PLANNER_ENUMERATE_H

#include "absl/status/statusor.h"
#include "moai/Plan/ParallelConfig.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <string>
#include <vector>

namespace moai {

/// The releases of MoAI's compiler whose search spaces differ.
enum class MoaiGeneration : uint8_t { V24_2, V24_4, V24_5 };

/// `24.2`, `24.3` (which is 24.4), `24.4`, `24.5`, with or without a patch level (`24.5.0`).
absl::StatusOr<MoaiGeneration> parseGeneration(llvm::StringRef text);
/// `24.2`, `24.4`, `24.5`.
llvm::StringRef toString(MoaiGeneration generation);

struct SearchSpaceRequest {
  int64_t numDevices = 1;
  int64_t numNodes = 1;
  std::vector<int64_t> globalBatches; ///< one, or every batch size the run meets
  MoaiGeneration generation = MoaiGeneration::V24_5;
};

/// MoAI's documented space, in a fixed order: by stages (without pipeline first), then batch per device, then
/// recomputation, then parameter precision.
///  - Pipeline shapes: num_stages a power of two from 2 to numNodes that divides the devices; batch_per_device 1, 2, 4 or
///    8; num_micro_batches whole and at least 2, from
///    global_batch = batch_per_device x num_micro_batches x (devices / num_stages).
///  - From 24.4 on one shape more, without pipeline: one micro-batch of global_batch / devices, if that is whole.
///  - Each shape with recomputation none and full (24.2); none, selective and full, each with low-precision parameters
///    false and true (24.5); the same without (full, true) (24.4: the published count says five, which five is assumed).
///    What MoAI's `default(1)` keeps isn't published; it is taken to be selective.
///  - zero is always 1 and there is no tensor parallelism.
/// With several different batch sizes only the shape without pipeline remains, built for the largest; the smaller
/// ones are padded. No candidate at all is an InvalidArgument naming the nearest batch sizes that have one.
absl::StatusOr<std::vector<ParallelConfig>> enumerateMoaiSpace(const SearchSpaceRequest &request);

/// The line MoAI prints for a configuration, without the `[info]`.
std::string formatMoaiLine(const ParallelConfig &config, MoaiGeneration generation);

/// `Various batch size detected : 256, 1`.
std::string formatBatchWarning(llvm::ArrayRef<int64_t> batches);

} // namespace moai

#endif // MOAI_PLANNER_ENUMERATE_H
