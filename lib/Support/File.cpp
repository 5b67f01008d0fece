//===- File.cpp - Files that are written whole or not at all ---------------===//
#include "moai/Support/File.h"
#include "absl/strings/str_cat.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <unistd.h>

using namespace moai;

static absl::Status notWritable(llvm::StringRef path, const std::string &reason) {
  return absl::PermissionDeniedError(absl::StrCat(path.str(), ": can't be written as a folder (", reason, "); name one that can"));
}

absl::Status moai::checkWritableFolder(llvm::StringRef path) {
  llvm::SmallString<256> existing(path);
  if (std::error_code error = llvm::sys::fs::make_absolute(existing))
    return notWritable(path, error.message());
  while (!llvm::sys::fs::exists(existing) && llvm::sys::path::has_parent_path(existing))
    llvm::sys::path::remove_filename(existing);
  if (!llvm::sys::fs::is_directory(existing))
    return notWritable(path, absl::StrCat(existing.str().str(), " is not a folder"));
  if (std::error_code error = llvm::sys::fs::access(existing, llvm::sys::fs::AccessMode::Write))
    return notWritable(path, absl::StrCat(existing.str().str(), ": ", error.message()));
  return absl::OkStatus();
}

absl::Status moai::createFolder(llvm::StringRef path) {
  // As the user's mask allows.
  if (std::error_code error = llvm::sys::fs::create_directories(path, /*IgnoreExisting=*/true, llvm::sys::fs::all_all))
    return notWritable(path, error.message());
  return checkWritableFolder(path);
}

// What is no regular file, a pipe or a device, is written to and stays what it is.
static absl::Status writeInto(llvm::StringRef path, llvm::function_ref<void(llvm::raw_ostream &)> write) {
  std::error_code error;
  llvm::raw_fd_ostream stream(path, error, llvm::sys::fs::CD_OpenExisting, llvm::sys::fs::FA_Write, llvm::sys::fs::OF_None);
  if (!error) {
    write(stream);
    stream.close();
    error = stream.error();
    stream.clear_error();
  }
  return error ? absl::PermissionDeniedError(absl::StrCat(path.str(), ": can't be written (", error.message(), ")")) : absl::OkStatus();
}

static absl::Status replaceFile(llvm::StringRef given, llvm::function_ref<void(llvm::raw_ostream &)> write, bool waitsForDisk) {
  // A link stays one; what it leads to is replaced.
  llvm::SmallString<256> path(given);
  if (llvm::sys::fs::real_path(given, path))
    path = given;
  llvm::sys::fs::file_status status;
  if (!llvm::sys::fs::status(path, status) && !llvm::sys::fs::is_regular_file(status) && !llvm::sys::fs::is_directory(status))
    return writeInto(path, write);
  auto fail = [&](const std::string &reason) {
    return absl::PermissionDeniedError(absl::StrCat(given.str(), ": can't be written (", reason, ")"));
  };
  auto temporary = llvm::sys::fs::TempFile::create(path + ".%%%%%%.tmp", llvm::sys::fs::all_read | llvm::sys::fs::owner_write);
  if (!temporary)
    return fail(llvm::toString(temporary.takeError()));
  llvm::raw_fd_ostream stream(temporary->FD, /*shouldClose=*/false);
  write(stream);
  stream.flush();
  std::error_code error = stream.error();
  stream.clear_error();
  // Some disks tell only now that they are full.
  if (!error && waitsForDisk && ::fsync(temporary->FD))
    error = std::error_code(errno, std::generic_category());
  if (error) {
    llvm::consumeError(temporary->discard());
    return fail(error.message());
  }
  if (llvm::Error error = temporary->keep(path))
    return fail(llvm::toString(std::move(error)));
  return absl::OkStatus();
}

absl::Status moai::writeFile(llvm::StringRef path, llvm::StringRef content) {
  return replaceFile(path, [&](llvm::raw_ostream &os) { os << content; }, /*waitsForDisk=*/false);
}

absl::Status moai::writeFile(llvm::StringRef path, llvm::function_ref<void(llvm::raw_ostream &)> write) {
  return replaceFile(path, write, /*waitsForDisk=*/true);
}
