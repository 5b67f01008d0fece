//===- Rendezvous.h - Where virtual devices meet ---------------------------===//
#ifndef MOAI_LIB_EXECUTE_RENDEZVOUS_H
#define MOAI_LIB_EXECUTE_RENDEZVOUS_H

#include "moai/Execute/Tensor.h"
#include "llvm/ADT/StringRef.h"
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace moai {

using TensorList = std::vector<std::shared_ptr<const Tensor>>;

/// Messages and collectives between devices. Nothing here waits: a device that finds the others missing comes again.
/// Not thread-safe.
class Rendezvous {
public:
  /// Messages of one pair of devices arrive in the order in which they were sent.
  void send(int64_t from, int64_t to, TensorList tensors) { messages[{from, to}].push_back(std::move(tensors)); }
  std::optional<TensorList> receive(int64_t from, int64_t to);

  /// A device brings what it contributes to its group's next collective over an axis; once all members have, each of them
  /// gets the contributions of all, in the order of the members. Until then nothing: it is to ask again, with the same.
  std::optional<std::vector<TensorList>> meet(int64_t device, llvm::StringRef axis, llvm::ArrayRef<int64_t> members,
                                              TensorList contribution);

  /// Whether no message and no contribution is left over.
  bool isEmpty() const;

private:
  struct Meeting {
    std::map<int64_t, TensorList> contributions; ///< by device
    size_t left = 0;                             ///< members that have got the result
  };
  using Group = std::pair<std::string, std::vector<int64_t>>;

  std::map<std::pair<int64_t, int64_t>, std::deque<TensorList>> messages;
  std::map<std::pair<Group, int64_t>, Meeting> meetings;  ///< of a group, by number
  std::map<std::pair<Group, int64_t>, int64_t> completed; ///< meetings of a group that a device has been at
};

} // namespace moai

#endif // MOAI_LIB_EXECUTE_RENDEZVOUS_H
