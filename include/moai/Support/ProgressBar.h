//===- ProgressBar.h - How far long work is --------------------------------===//
#ifndef MOAI_SUPPORT_PROGRESSBAR_H
#define MOAI_SUPPORT_PROGRESSBAR_H

#include <chrono>
#include <cstdint>
#include <string>

namespace moai {

/// `[=====>      ] 12/40, 0:07 left` in the last line of the terminal that standard error is; nothing anywhere else. Whoever writes lines
/// of its own clears it first and draws it again.
class ProgressBar {
public:
  /// Of `total` pieces, `first` of which were done before.
  explicit ProgressBar(int64_t total, int64_t first = 0);
  ~ProgressBar() { clear(); }

  void clear();
  void draw(int64_t done);
  /// The text of the bar, that far and after so many seconds.
  std::string text(int64_t done, double seconds) const;

private:
  int64_t total, first;
  bool isShown;
  std::chrono::steady_clock::time_point start;
};

/// `0:07`, `12:34`, `1:02:03`.
std::string formatDuration(double seconds);

} // namespace moai

#endif // MOAI_SUPPORT_PROGRESSBAR_H
