//===- CurrentAccelerator.h - The accelerator that a user has chosen -------===//
#ifndef MOAI_ACCELERATOR_CURRENTACCELERATOR_H
#define MOAI_ACCELERATOR_CURRENTACCELERATOR_H

#include "moai/CostModel/Hardware.h"

namespace moai {

/// What a user has before choosing.
constexpr const char *kDefaultAccelerator = "xLarge.512GB";

struct CurrentAccelerator {
  Accelerator accelerator;
  std::string spec;               ///< as it is to be given to resolveAccelerator: `4xLarge.2048GB`, `h100:64`, an absolute path
  bool isFromEnvironment = false; ///< MOAI_ACCELERATOR says it, whatever is chosen
};

/// MOAI_ACCELERATOR, or else the user's choice, or else the default. InvalidArgument, naming the variable or the file and what to do, if
/// what they say is no accelerator or the file is damaged or of a newer version; a user without a home folder has the default.
absl::StatusOr<CurrentAccelerator> currentAccelerator();

/// The same, whatever MOAI_ACCELERATOR says.
absl::StatusOr<CurrentAccelerator> chosenAccelerator();

/// Makes an accelerator the user's choice: anything that resolveAccelerator takes, or a number from 1 of the list of flavors. Written whole
/// or not at all, so that of several writers at once one wins. Returns what is current for the user's choice then (MOAI_ACCELERATOR still
/// goes first). InvalidArgument for what is no accelerator, FailedPrecondition while a job runs, naming it; PermissionDenied if the file
/// can't be written.
absl::StatusOr<CurrentAccelerator> switchAccelerator(llvm::StringRef spec);

} // namespace moai

#endif // MOAI_ACCELERATOR_CURRENTACCELERATOR_H
