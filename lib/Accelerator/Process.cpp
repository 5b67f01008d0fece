//===- Process.cpp - Which process a job is --------------------------------===//
#include "Process.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

using namespace moai;

// What one read gives of a file in /proc; those read here are shorter.
static std::string readShortFile(const std::string &path) {
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return "";
  char text[4096];
  ssize_t size = 0;
  do
    size = read(file, text, sizeof text);
  while (size < 0 && errno == EINTR);
  close(file);
  return std::string(text, size > 0 ? static_cast<size_t>(size) : 0);
}

std::optional<uint64_t> moai::processStart(int64_t pid) {
  std::string text = readShortFile("/proc/" + std::to_string(pid) + "/stat");
  // `PID (NAME) STATE ...`: a name may hold spaces and parentheses, what follows it doesn't.
  llvm::StringRef afterName = llvm::StringRef(text).rsplit(')').second;
  llvm::SmallVector<llvm::StringRef, 64> fields;
  afterName.split(fields, ' ', -1, /*KeepEmpty=*/false);
  constexpr size_t kState = 0, kStart = 19; // fields 3 and 22 of the line
  uint64_t start;
  if (fields.size() <= kStart || fields[kState] == "Z" || fields[kState] == "X" || fields[kStart].getAsInteger(10, start))
    return std::nullopt;
  return start;
}

std::string moai::bootId() { return llvm::StringRef(readShortFile("/proc/sys/kernel/random/boot_id")).trim().str(); }

std::string moai::hostName() {
  char name[128] = {};
  gethostname(name, sizeof name - 1);
  return name;
}
