//===- Rendezvous.cpp - Where virtual devices meet -------------------------===//
#include "Rendezvous.h"
#include "llvm/ADT/STLExtras.h"

using namespace moai;

const absl::StatusOr<TensorList> &Meeting::common(llvm::function_ref<absl::StatusOr<TensorList>()> compute) {
  std::call_once(once, [&] { result = compute(); });
  return result;
}

void Rendezvous::send(int64_t from, int64_t to, TensorList tensors) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    messages[{from, to}].push_back(std::move(tensors));
  }
  if (wake)
    wake(to);
}

std::optional<TensorList> Rendezvous::receive(int64_t from, int64_t to) {
  std::lock_guard<std::mutex> lock(mutex);
  std::deque<TensorList> &queue = messages[{from, to}];
  if (queue.empty())
    return std::nullopt;
  TensorList first = std::move(queue.front());
  queue.pop_front();
  return first;
}

std::shared_ptr<Meeting> Rendezvous::meet(int64_t device, llvm::StringRef axes, llvm::ArrayRef<int64_t> members, TensorList contribution,
                                          const std::string &name) {
  std::shared_ptr<Meeting> meeting;
  {
    std::lock_guard<std::mutex> lock(mutex);
    Group group{axes.str(), members.vec()};
    int64_t &number = completed[{group, device}];
    auto it = meetings.try_emplace({group, number}).first;
    if (!it->second) {
      it->second = std::make_shared<Meeting>();
      it->second->brought.resize(members.size());
      it->second->called.resize(members.size());
      it->second->isThere.resize(members.size());
      it->second->missing = it->second->left = members.size();
    }
    meeting = it->second;
    size_t own = llvm::find(members, device) - members.begin();
    bool isLast = !meeting->isThere[own] && --meeting->missing == 0;
    if (!meeting->isThere[own]) {
      meeting->brought[own] = std::move(contribution);
      meeting->called[own] = name;
    }
    meeting->isThere[own] = true;
    if (meeting->missing)
      return nullptr;
    ++number;
    if (--meeting->left == 0)
      meetings.erase(it);
    if (!isLast)
      return meeting;
  }
  if (wake)
    for (int64_t member : members)
      if (member != device)
        wake(member);
  return meeting;
}

bool Rendezvous::isEmpty() const {
  std::lock_guard<std::mutex> lock(mutex);
  return meetings.empty() && llvm::all_of(messages, [](const auto &entry) { return entry.second.empty(); });
}
