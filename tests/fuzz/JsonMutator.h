//===- JsonMutator.h - Changes to JSON that leave it JSON ------------------===//
#ifndef MOAI_TESTS_FUZZ_JSONMUTATOR_H
#define MOAI_TESTS_FUZZ_JSONMUTATOR_H

#include "llvm/ADT/StringRef.h"
#include <random>
#include <string>

namespace moai {

/// The document with one to four changes: numbers at their limits, values exchanged with others of the same key (a name, an
/// argument, a node), entries dropped, doubled and swapped. The text itself if it isn't JSON.
std::string mutateJson(llvm::StringRef text, std::minstd_rand &random);

} // namespace moai

#endif // MOAI_TESTS_FUZZ_JSONMUTATOR_H
