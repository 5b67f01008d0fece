//===- MemoryTimeline.cpp - A device's memory through one step --------------===//
#include "moai/Plan/MemoryTimeline.h"
#include "absl/strings/str_cat.h"
#include <algorithm>
#include <map>
#include <set>

using namespace moai;

int64_t MemoryTimeline::peak() const { return use.empty() ? 0 : *std::max_element(use.begin(), use.end()) + workspaceBytes; }

namespace {

/// The arena's gaps, by place and by size. The last one has no end.
class Gaps {
public:
  Gaps() { insert(0, kEndless); }

  int64_t take(int64_t bytes) {
    auto [size, offset] = *bySize.lower_bound({bytes, 0});
    erase(offset);
    if (size == kEndless)
      insert(offset + bytes, kEndless);
    else if (size > bytes)
      insert(offset + bytes, size - bytes);
    return offset;
  }

  void giveBack(int64_t offset, int64_t bytes) {
    auto next = byPlace.lower_bound(offset);
    if (next != byPlace.end() && next->first == offset + bytes) {
      bytes = next->second == kEndless ? kEndless : bytes + next->second;
      erase(next->first);
    }
    auto previous = byPlace.lower_bound(offset);
    if (previous != byPlace.begin() && std::prev(previous)->first + std::prev(previous)->second == offset) {
      --previous;
      int64_t before = previous->first;
      bytes = bytes == kEndless ? kEndless : bytes + previous->second;
      erase(before);
      offset = before;
    }
    insert(offset, bytes);
  }

private:
  static constexpr int64_t kEndless = INT64_MAX;
  void insert(int64_t offset, int64_t size) {
    byPlace[offset] = size;
    bySize.insert({size, offset});
  }
  void erase(int64_t offset) {
    bySize.erase({byPlace[offset], offset});
    byPlace.erase(offset);
  }

  std::map<int64_t, int64_t> byPlace;
  std::set<std::pair<int64_t, int64_t>> bySize;
};

/// Ends of storages sort before beginnings at the same op: what is freed makes room.
struct Event {
  size_t time;
  bool begins;
  size_t storage;
  bool operator<(const Event &o) const { return std::tie(time, begins, storage) < std::tie(o.time, o.begins, o.storage); }
};

} // namespace

static std::vector<Event> eventsOf(const MemoryTimeline &timeline) {
  std::vector<Event> events;
  for (size_t i = 0; i < timeline.storages.size(); ++i)
    if (const StorageInterval &storage = timeline.storages[i]; storage.bytes > 0 && storage.begin < storage.end) {
      events.push_back({storage.begin, true, i});
      events.push_back({storage.end, false, i});
    }
  std::sort(events.begin(), events.end());
  return events;
}

void moai::assignOffsets(MemoryTimeline &timeline) {
  Gaps gaps;
  timeline.arenaBytes = 0;
  for (const Event &event : eventsOf(timeline)) {
    StorageInterval &storage = timeline.storages[event.storage];
    if (!event.begins) {
      gaps.giveBack(storage.offset, storage.bytes);
      continue;
    }
    storage.offset = gaps.take(storage.bytes);
    timeline.arenaBytes = std::max(timeline.arenaBytes, storage.offset + storage.bytes);
  }
}

absl::Status moai::verify(const MemoryTimeline &timeline) {
  std::map<int64_t, size_t> inUse; // by offset
  auto overlaps = [&](size_t a, size_t b) {
    const StorageInterval &x = timeline.storages[a], &y = timeline.storages[b];
    return x.offset < y.offset + y.bytes && y.offset < x.offset + x.bytes;
  };
  for (const Event &event : eventsOf(timeline)) {
    const StorageInterval &storage = timeline.storages[event.storage];
    if (!event.begins) {
      inUse.erase(storage.offset);
      continue;
    }
    if (storage.offset < 0 || storage.offset + storage.bytes > timeline.arenaBytes)
      return absl::InternalError(absl::StrCat("storage ", event.storage, " (", storage.name, ") lies outside of the arena"));
    auto next = inUse.lower_bound(storage.offset);
    for (auto neighbour : {next, next == inUse.begin() ? inUse.end() : std::prev(next)})
      if (neighbour != inUse.end() && overlaps(event.storage, neighbour->second))
        return absl::InternalError(absl::StrCat("storages ", neighbour->second, " (", timeline.storages[neighbour->second].name, ") and ",
                                                event.storage, " (", storage.name, ") overlap while op ", storage.begin, " runs"));
    inUse[storage.offset] = event.storage;
  }
  return absl::OkStatus();
}

llvm::json::Object moai::toJSON(const MemoryTimeline &timeline) {
  llvm::json::Array tasks, storages;
  for (const TimelineTask &task : timeline.tasks)
    tasks.push_back(
        llvm::json::Object{{"phase", task.phase}, {"micro_batch", task.microBatch}, {"first_op", static_cast<int64_t>(task.firstOp)}});
  for (const StorageInterval &storage : timeline.storages)
    storages.push_back(llvm::json::Object{{"category", storage.category},
                                          {"name", storage.name},
                                          {"bytes", storage.bytes},
                                          {"begin", static_cast<int64_t>(storage.begin)},
                                          {"end", static_cast<int64_t>(storage.end)},
                                          {"offset", storage.offset}});
  return llvm::json::Object{{"peak", timeline.peak()},
                            {"arena", timeline.arenaBytes},
                            {"workspace", timeline.workspaceBytes},
                            {"ops", static_cast<int64_t>(timeline.use.size())},
                            {"tasks", std::move(tasks)},
                            {"use", llvm::json::Array(timeline.use)},
                            {"storages", std::move(storages)}};
}
