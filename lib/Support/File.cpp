//===- File.cpp - Files that are written whole or not at all ---------------===//
#include "moai/Support/File.h"
#include "absl/strings/str_cat.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

using namespace moai;

absl::Status moai::createFolder(llvm::StringRef path) {
  if (std::error_code error = llvm::sys::fs::create_directories(path))
    return absl::PermissionDeniedError(absl::StrCat(path.str(), ": the folder can't be created (", error.message(), "); name one that can be written"));
  if (std::error_code error = llvm::sys::fs::access(path, llvm::sys::fs::AccessMode::Write))
    return absl::PermissionDeniedError(absl::StrCat(path.str(), ": the folder can't be written (", error.message(), "); name one that can"));
  return absl::OkStatus();
}

absl::Status moai::writeFile(llvm::StringRef path, llvm::StringRef content) {
  auto fail = [&](const std::string &reason) {
    return absl::PermissionDeniedError(absl::StrCat(path.str(), ": can't be written (", reason, ")"));
  };
  auto temporary = llvm::sys::fs::TempFile::create(path + ".%%%%%%.tmp", llvm::sys::fs::all_read | llvm::sys::fs::owner_write);
  if (!temporary)
    return fail(llvm::toString(temporary.takeError()));
  llvm::raw_fd_ostream stream(temporary->FD, /*shouldClose=*/false);
  stream << content;
  stream.flush();
  if (stream.has_error()) {
    std::string reason = stream.error().message();
    stream.clear_error();
    llvm::consumeError(temporary->discard());
    return fail(reason);
  }
  if (llvm::Error error = temporary->keep(path))
    return fail(llvm::toString(std::move(error)));
  return absl::OkStatus();
}
