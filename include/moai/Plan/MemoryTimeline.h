//===- MemoryTimeline.h - A device's memory through one step ----------------===//
#ifndef MOAI_PLAN_MEMORYTIMELINE_H
#define MOAI_PLAN_MEMORYTIMELINE_H

#include "absl/status/status.h"
#include "llvm/Support/JSON.h"
#include <cstdint>
#include <string>
#include <vector>

namespace moai {

/// Memory that is in use while the ops [begin, end) of the step run.
struct StorageInterval {
  std::string category; ///< parameters, gradients, optimizer_states, activations, temporaries, buffers or inputs
  std::string name;     ///< of the argument, or the op that makes it
  int64_t bytes = 0;
  size_t begin = 0, end = 0;
  int64_t offset = 0; ///< from the start of the device's arena
};

/// A task of the step and the number of its first op.
struct TimelineTask {
  std::string phase;      ///< load, forward, backward or optimizer
  int64_t microBatch = 0; ///< from 0
  size_t firstOp = 0;
};

/// Every storage of a device through one step. Ops are numbered in the order in which the schedule runs them.
struct MemoryTimeline {
  std::vector<StorageInterval> storages; ///< in the order of their begin
  std::vector<TimelineTask> tasks;
  std::vector<int64_t> use; ///< bytes in use while each op runs, what its kernels hold between them included
  int64_t workspaceBytes = 0;
  int64_t arenaBytes = 0; ///< what the offsets need together

  int64_t peak() const;
};

/// Gives every storage an offset such that no two that are in use at once overlap: in the order of time, each in the smallest
/// gap that holds it. O(n log n). The arena is at least as large as the peak of what is in use, and not always as small.
void assignOffsets(MemoryTimeline &timeline);

/// Whether storages that are in use at once lie apart, within the arena. Internal, with the two of them, if not.
absl::Status verify(const MemoryTimeline &timeline);

llvm::json::Object toJSON(const MemoryTimeline &timeline);

} // namespace moai

#endif // MOAI_PLAN_MEMORYTIMELINE_H
