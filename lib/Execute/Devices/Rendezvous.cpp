//===- Rendezvous.cpp - Where virtual devices meet -------------------------===//
#include "Rendezvous.h"
#include "llvm/ADT/STLExtras.h"

using namespace moai;

std::optional<TensorList> Rendezvous::receive(int64_t from, int64_t to) {
  std::deque<TensorList> &queue = messages[{from, to}];
  if (queue.empty())
    return std::nullopt;
  TensorList first = std::move(queue.front());
  queue.pop_front();
  return first;
}

std::optional<std::vector<TensorList>> Rendezvous::meet(int64_t device, llvm::StringRef axis, llvm::ArrayRef<int64_t> members,
                                                        TensorList contribution) {
  Group group{axis.str(), members.vec()};
  int64_t &number = completed[{group, device}];
  auto it = meetings.try_emplace({group, number}).first;
  Meeting &meeting = it->second;
  meeting.contributions.try_emplace(device, std::move(contribution));
  if (meeting.contributions.size() < members.size())
    return std::nullopt;
  std::vector<TensorList> all;
  for (int64_t member : members)
    all.push_back(meeting.contributions[member]);
  ++number;
  if (++meeting.left == members.size())
    meetings.erase(it);
  return all;
}

bool Rendezvous::isEmpty() const {
  return meetings.empty() && llvm::all_of(messages, [](const auto &entry) { return entry.second.empty(); });
}
