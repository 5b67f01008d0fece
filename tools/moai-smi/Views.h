//===- Views.h - A snapshot as tables and as JSON --------------------------===//
#ifndef MOAI_TOOLS_SMI_VIEWS_H
#define MOAI_TOOLS_SMI_VIEWS_H

#include "Snapshot.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

namespace moai {

struct View {
  bool physicalDevices = false;
  std::optional<size_t> index; ///< the only accelerator to show, or the only physical device

  bool shows(const Row &row) const { return physicalDevices || !index || *index == row.index; }
  bool showsDevice(int64_t i) const { return !index || static_cast<int64_t>(*index) == i; }
};

/// InvalidArgument if there is no such accelerator or device.
absl::Status checkIndex(const View &view, const Snapshot &snapshot);

/// `Job 975583 (moai-run gpt2.pt2)`
std::string describe(const JobState &job);
/// A line on how a job ended that didn't say so itself.
std::string describeGone(const JobState &job);

void printTables(const View &view, const Snapshot &snapshot, llvm::raw_ostream &out);
llvm::json::Object toJSON(const View &view, const Snapshot &snapshot);

} // namespace moai

#endif // MOAI_TOOLS_SMI_VIEWS_H
