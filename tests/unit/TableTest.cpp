//===- TableTest.cpp - Tables as MoAI's tools print them -------------------===//
#include "moai/Support/Table.h"
#include "gtest/gtest.h"

using namespace moai;

namespace {

std::string print(const Table &table, bool colored = false) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  table.print(stream, colored);
  return text;
}

// As the platform's own tool prints them.
TEST(Table, Accelerator) {
  Table table({{"Device"}, {"Name"}, {"Model"}, {"Memory Usage"}, {"Total Memory"}, {"Utilization"}},
              "Current Version: 24.2.0  Latest Version: 24.2.0");
  table.addRow({"* 0", " MoAI Accelerator", "4xLarge.2048GB", "853677 MiB", "2096640 MiB", "100 %"});
  EXPECT_EQ(print(table), R"(
+-----------------------------------------------------------------------------------------------------+
|                                                    Current Version: 24.2.0  Latest Version: 24.2.0  |
+-----------------------------------------------------------------------------------------------------+
|  Device  |        Name         |       Model      |  Memory Usage  |  Total Memory  |  Utilization  |
+=====================================================================================================+
|  * 0     |   MoAI Accelerator  |  4xLarge.2048GB  |  853677 MiB    |  2096640 MiB   |  100 %        |
+-----------------------------------------------------------------------------------------------------+
)" + 1);
}

TEST(Table, Processes) {
  constexpr auto kRight = Table::Align::Right;
  Table table({{"Device", kRight}, {"Job ID", kRight}, {"PID", kRight}, {"Process"}, {"Memory Usage"}});
  table.addRow({"0", "975583", "4090049", "python tutorial/train_qwen.py", "853677 MiB"});
  EXPECT_EQ(print(table), R"(
+------------------------------------------------------------------------------------+
|  Device  |  Job ID  |    PID    |             Process             |  Memory Usage  |
+====================================================================================+
|       0  |  975583  |  4090049  |  python tutorial/train_qwen.py  |  853677 MiB    |
+------------------------------------------------------------------------------------+
)" + 1);
}

TEST(Table, NoRows) {
  EXPECT_EQ(print(Table({{"A"}, {"Bc"}})), R"(
+------------+
|  A  |  Bc  |
+============+
+------------+
)" + 1);
}

TEST(Table, ATitleWidensTheLastColumn) {
  Table table({{"A"}, {"B"}}, "longer than the columns");
  table.addRow({"1", "2"});
  EXPECT_EQ(print(table), R"(
+---------------------------+
|  longer than the columns  |
+---------------------------+
|  A  |          B          |
+===========================+
|  1  |  2                  |
+---------------------------+
)" + 1);
}

TEST(Table, WideAndUnprintableCharacters) {
  Table table({{"Text"}});
  table.addRow({"h\xc3\xbclle"});             // two bytes, one column
  table.addRow({"\xe6\xa8\xa1\xe5\x9e\x8b"}); // three bytes and two columns each
  table.addRow({"a\nb\033[2J\t"});            // would break the table, or the terminal
  table.addRow({"\xff\xc3"});                 // no UTF-8
  EXPECT_EQ(print(table), "+------------+\n|    Text    |\n+============+\n"
                          "|  h\xc3\xbclle     |\n|  \xe6\xa8\xa1\xe5\x9e\x8b      |\n|  a?b?[2J?  |\n|  ??        |\n"
                          "+------------+\n");
}

TEST(Table, HeadersAreBold) {
  EXPECT_EQ(print(Table({{"A"}, {"B"}}), /*colored=*/true),
            "+-----------+\n|\033[1m  A  \033[0m|\033[1m  B  \033[0m|\n+===========+\n+-----------+\n");
}

TEST(FitText, CutsAtTheEnd) {
  EXPECT_EQ(fitText("abcdef", 6), "abcdef");
  EXPECT_EQ(fitText("abcdefg", 6), "abc...");
  EXPECT_EQ(fitText("", 6), "");
  EXPECT_EQ(fitText("a\nb", 6), "a?b");
  // A character of two columns that doesn't fit is left out whole.
  EXPECT_EQ(fitText("a\xe6\xa8\xa1\xe5\x9e\x8b\xe5\x9e\x8b", 6), "a\xe6\xa8\xa1...");
  EXPECT_EQ(fitText("a\xe6\xa8\xa1\xe5\x9e\x8b\xe5\x9e\x8b", 5), "a...");
}

} // namespace
