//===- Terminal.h - Who reads the standard output --------------------------===//
#ifndef MOAI_SUPPORT_TERMINAL_H
#define MOAI_SUPPORT_TERMINAL_H

namespace moai {

/// Whether standard output is a terminal.
bool isTerminal();
/// Whether it is one that may be written to in colours: not if NO_COLOR is set to anything, nor if TERM is `dumb`.
bool mayColor();
/// Columns of the terminal, 0 if there is none or it doesn't say.
unsigned terminalWidth();

} // namespace moai

#endif // MOAI_SUPPORT_TERMINAL_H
