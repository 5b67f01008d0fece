//===- StopSignal.h - Ctrl-C between steps ---------------------------------===//
#ifndef MOAI_TOOLS_STOPSIGNAL_H
#define MOAI_TOOLS_STOPSIGNAL_H

namespace moai {

/// From here on the first SIGINT or SIGTERM is only noted; a second ends the process at once.
void catchStopSignals();
/// The number of the signal that has come, or 0.
int receivedStopSignal();

} // namespace moai

#endif // MOAI_TOOLS_STOPSIGNAL_H
