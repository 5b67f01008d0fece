//===- Table.h - Tables as MoAI's tools print them -------------------------===//
#ifndef MOAI_SUPPORT_TABLE_H
#define MOAI_SUPPORT_TABLE_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include <string>
#include <vector>

namespace moai {

/// Columns widen to their content, headers stand in the middle, a title stands to the right above them:
///
///     +----------------------+
///     |    Version: 24.2.0   |
///     +----------------------+
///     |  Device  |   Model   |
///     +======================+
///     |       0  |  Small    |
///     +----------------------+
class Table {
public:
  enum class Align : uint8_t { Left, Right };
  struct Column {
    std::string header;
    Align align = Align::Left;
  };

  explicit Table(std::vector<Column> columns, std::string title = {});
  /// A cell per column. Characters that a terminal would not print become question marks.
  void addRow(const std::vector<std::string> &cells);
  /// `colored`: headers are bold.
  void print(llvm::raw_ostream &out, bool colored = false) const;

private:
  std::vector<Column> columns;
  std::string title;
  std::vector<std::vector<std::string>> rows;
};

/// Columns that printable text takes on a terminal.
size_t columnWidth(llvm::StringRef text);
/// Text made printable, and cut to a number of columns with `...` at its end if it is longer.
std::string fitText(llvm::StringRef text, size_t columns);

} // namespace moai

#endif // MOAI_SUPPORT_TABLE_H
