//===- ElementStorage.h - How numbers lie in files -------------------------===//
#ifndef MOAI_LIB_EXECUTE_ELEMENTSTORAGE_H
#define MOAI_LIB_EXECUTE_ELEMENTSTORAGE_H

#include "llvm/ADT/StringRef.h"
#include <cstddef>
#include <cstdint>

namespace moai {

/// An element type of files: little-endian, at any address.
struct ElementStorage {
  size_t width;
  /// Reads `count` elements, `stride` elements apart.
  void (*load)(const char *bytes, int64_t stride, double *to, size_t count);
  void (*store)(const double *from, char *bytes, size_t count);
};

/// By its name in .safetensors files; null for one that moai doesn't read.
const ElementStorage *findStorage(llvm::StringRef type);

} // namespace moai

#endif // MOAI_LIB_EXECUTE_ELEMENTSTORAGE_H
