//===- ProgressBar.cpp - How far long work is ------------------------------===//
#include "moai/Support/ProgressBar.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <cmath>

using namespace moai;

ProgressBar::ProgressBar(int64_t total, int64_t first)
    : total(std::max<int64_t>(1, total)), first(first), isShown(llvm::sys::Process::StandardErrIsDisplayed()),
      start(std::chrono::steady_clock::now()) {}

void ProgressBar::clear() {
  if (isShown)
    llvm::errs() << "\r\033[K";
}

void ProgressBar::draw(int64_t done) {
  if (isShown)
    llvm::errs() << "\r\033[K" << text(done, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

std::string ProgressBar::text(int64_t done, double seconds) const {
  constexpr int64_t kWidth = 30;
  int64_t filled = std::clamp<int64_t>(kWidth * done / total, 0, kWidth);
  std::string bar = std::string(filled, '=') + (filled < kWidth ? ">" : "");
  std::string left =
      done > first ? formatDuration(seconds * static_cast<double>(total - done) / static_cast<double>(done - first)) : "-:--";
  return absl::StrFormat("[%-*s] %d/%d, %s left", static_cast<int>(kWidth), bar, done, total, left);
}

std::string moai::formatDuration(double seconds) {
  auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600)
    return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}
