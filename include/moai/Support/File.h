//===- File.h - Files that are written whole or not at all -----------------===//
#ifndef MOAI_SUPPORT_FILE_H
#define MOAI_SUPPORT_FILE_H

#include "absl/status/status.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

namespace moai {

/// Whether files could be written into a folder of that path, which need not exist yet. Changes nothing.
absl::Status checkWritableFolder(llvm::StringRef path);
/// Creates the folder and its parents if needed. Fails with a sentence that names it.
absl::Status createFolder(llvm::StringRef path);
/// Writes to a temporary file beside `path` and renames it, so that a reader sees the old or the new content and a
/// failure loses nothing. A link stays a link to what is replaced; a pipe or a device is written to.
absl::Status writeFile(llvm::StringRef path, llvm::StringRef content);
/// The same of what `write` writes, for content too large to be held at once; returns once the disk has it.
absl::Status writeFile(llvm::StringRef path, llvm::function_ref<void(llvm::raw_ostream &)> write);

} // namespace moai

#endif // MOAI_SUPPORT_FILE_H
