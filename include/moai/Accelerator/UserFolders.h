//===- UserFolders.h - Where a user's files are kept -----------------------===//
#ifndef MOAI_ACCELERATOR_USERFOLDERS_H
#define MOAI_ACCELERATOR_USERFOLDERS_H

#include "absl/status/statusor.h"
#include <string>

namespace moai {

/// `$XDG_CONFIG_HOME/moai`, or `.config/moai` in the home folder: the chosen accelerator. Not created. The home folder is $HOME, or
/// what the system knows of the user; FailedPrecondition, in one sentence that says what to set, if there is neither. As the XDG
/// specification demands, a relative path in a variable is ignored.
absl::StatusOr<std::string> userConfigFolder();
/// `$XDG_STATE_HOME/moai`, or `.local/state/moai` in the home folder: states of jobs. The same otherwise.
absl::StatusOr<std::string> userStateFolder();

} // namespace moai

#endif // MOAI_ACCELERATOR_USERFOLDERS_H
