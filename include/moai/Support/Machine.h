//===- Machine.h - What this machine has ------------------------------------===//
#ifndef MOAI_SUPPORT_MACHINE_H
#define MOAI_SUPPORT_MACHINE_H

namespace moai {

/// Bytes of main memory.
double mainMemoryBytes();

} // namespace moai

#endif // MOAI_SUPPORT_MACHINE_H
