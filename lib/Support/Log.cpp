//===- Log.cpp - Time-stamped lines on standard error ----------------------===//
#include "moai/Support/Log.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>

std::string moai::timeStamp() {
  auto now = std::chrono::system_clock::now();
  std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  int milliseconds = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000);
  std::tm local{};
  localtime_r(&seconds, &local);
  char stamp[40];
  size_t length = std::strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
  std::snprintf(stamp + length, sizeof stamp - length, ".%03d", milliseconds);
  return stamp;
}

static void log(const char *level, llvm::StringRef message) {
  llvm::errs() << "[" + moai::timeStamp() + "] [" + level + "] " + message.str() + "\n";
}

void moai::logInfo(llvm::StringRef message) { log("info", message); }
void moai::logWarning(llvm::StringRef message) { log("warning", message); }
