// Amounts of memory, and how far long work is.
#include "moai/Support/Bytes.h"
#include "moai/Support/ProgressBar.h"
#include "gtest/gtest.h"

using namespace moai;

namespace {

TEST(Bytes, AreReadInAnyUnit) {
  EXPECT_EQ(parseBytes("64MiB"), 64 << 20);
  EXPECT_EQ(parseBytes("1.5 gib"), int64_t(3) << 29);
  EXPECT_EQ(parseBytes("64GB"), int64_t(64) * 1000 * 1000 * 1000);
  EXPECT_EQ(parseBytes(" 1000000 "), 1000000);
  EXPECT_EQ(parseBytes("1B"), 1);
  for (const char *wrong : {"", "MiB", "0", "-1MiB", "1.2.3MiB", "64 MiB of it", "64MIB!", "1e9", "0.5", "99999999TiB", "nan"})
    EXPECT_FALSE(parseBytes(wrong)) << wrong;
}

TEST(Bytes, AreWrittenInTheLargestUnit) {
  EXPECT_EQ(formatBytes(0), "0 bytes");
  EXPECT_EQ(formatBytes(1), "1 byte");
  EXPECT_EQ(formatBytes(1023), "1023 bytes");
  EXPECT_EQ(formatBytes(1536), "1.50 KiB");
  EXPECT_EQ(formatBytes(int64_t(64) << 30), "64.0 GiB");
  EXPECT_EQ(formatBytes(int64_t(512) << 20), "512 MiB");
}

TEST(ProgressBar, SaysHowMuchIsLeft) {
  EXPECT_EQ(ProgressBar(40).text(0, 0), "[>                             ] 0/40, -:-- left");
  EXPECT_EQ(ProgressBar(40).text(10, 20), "[=======>                      ] 10/40, 1:00 left");
  EXPECT_EQ(ProgressBar(40).text(40, 80), "[==============================] 40/40, 0:00 left");
  // Of a resumed run, only its own steps took the time.
  EXPECT_EQ(ProgressBar(40, 20).text(30, 10), "[======================>       ] 30/40, 0:10 left");
}

TEST(Duration, HasHoursWhereNeeded) {
  EXPECT_EQ(formatDuration(7), "0:07");
  EXPECT_EQ(formatDuration(754), "12:34");
  EXPECT_EQ(formatDuration(3723), "1:02:03");
}

} // namespace
