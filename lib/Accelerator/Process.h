//===- Process.h - Which process a job is ----------------------------------===//
#ifndef MOAI_LIB_ACCELERATOR_PROCESS_H
#define MOAI_LIB_ACCELERATOR_PROCESS_H

#include <cstdint>
#include <optional>
#include <string>

namespace moai {

/// Clock ticks from the machine's start to that of the process: with the pid, its name for as long as the machine runs. None if it has
/// ended, also where its parent hasn't taken note of that yet.
std::optional<uint64_t> processStart(int64_t pid);
/// Another after each start of the machine.
std::string bootId();
std::string hostName();

} // namespace moai

#endif // MOAI_LIB_ACCELERATOR_PROCESS_H
