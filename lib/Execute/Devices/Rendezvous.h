//===- Rendezvous.h - Where virtual devices meet ---------------------------===//
#ifndef MOAI_LIB_EXECUTE_RENDEZVOUS_H
#define MOAI_LIB_EXECUTE_RENDEZVOUS_H

#include "absl/status/statusor.h"
#include "moai/Execute/Tensor.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace moai {

using TensorList = std::vector<std::shared_ptr<const Tensor>>;

/// What all members of a group have brought to a collective.
class Meeting {
public:
  /// In the order of the members, once all are there.
  llvm::ArrayRef<TensorList> contributions() const { return brought; }
  /// What each of them called it.
  llvm::ArrayRef<std::string> names() const { return called; }
  /// A result that is the same for all members: the first that asks computes it. Safe from several threads.
  const absl::StatusOr<TensorList> &common(llvm::function_ref<absl::StatusOr<TensorList>()> compute);

private:
  friend class Rendezvous;
  std::vector<TensorList> brought;
  std::vector<std::string> called;
  std::vector<bool> isThere;
  size_t missing = 0, left = 0; ///< members that have not come, and that have not gone
  std::once_flag once;
  absl::StatusOr<TensorList> result;
};

/// Messages and collectives between devices. Nothing here waits: a device that finds the others missing comes again. Safe from
/// several threads.
class Rendezvous {
public:
  /// `wake` is told of every device that may get further now, on the thread of whoever made that so.
  explicit Rendezvous(std::function<void(int64_t device)> wake = nullptr) : wake(std::move(wake)) {}

  /// Messages of one pair of devices arrive in the order in which they were sent.
  void send(int64_t from, int64_t to, TensorList tensors);
  std::optional<TensorList> receive(int64_t from, int64_t to);

  /// A device brings what it contributes to its group's next collective over some axes; once all members have, each of them
  /// gets the meeting. Until then nothing: it is to ask again, with the same. `name` is what it calls the collective.
  std::shared_ptr<Meeting> meet(int64_t device, llvm::StringRef axes, llvm::ArrayRef<int64_t> members, TensorList contribution,
                                const std::string &name);

  /// Whether no message and no contribution is left over.
  bool isEmpty() const;

private:
  using Group = std::pair<std::string, std::vector<int64_t>>;

  std::function<void(int64_t)> wake;
  mutable std::mutex mutex; ///< of all that follows
  std::map<std::pair<int64_t, int64_t>, std::deque<TensorList>> messages;
  std::map<std::pair<Group, int64_t>, std::shared_ptr<Meeting>> meetings; ///< of a group, by number
  std::map<std::pair<Group, int64_t>, int64_t> completed;                 ///< meetings of a group that a device has been at
};

} // namespace moai

#endif // MOAI_LIB_EXECUTE_RENDEZVOUS_H
