//===- Table.cpp - Tables as MoAI's tools print them -----------------------===//
#include "moai/Support/Table.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/Unicode.h"
#include <algorithm>
#include <cassert>

using namespace moai;

// Spaces on each side of a cell.
static constexpr size_t kPadding = 2;

// The first character of a text that is not empty, or a question mark for a byte that can't be printed; drops it from the text.
static llvm::StringRef takeCharacter(llvm::StringRef &text) {
  size_t length = llvm::getNumBytesForUTF8(static_cast<llvm::UTF8>(text.front()));
  llvm::StringRef character = text.take_front(length);
  if (character.size() < length || llvm::sys::unicode::columnWidthUTF8(character) < 0) {
    text = text.drop_front();
    return "?";
  }
  text = text.drop_front(length);
  return character;
}

static std::string makePrintable(llvm::StringRef text) {
  std::string printable;
  while (!text.empty())
    printable += takeCharacter(text);
  return printable;
}

size_t moai::columnWidth(llvm::StringRef text) { return static_cast<size_t>(std::max(llvm::sys::unicode::columnWidthUTF8(text), 0)); }

std::string moai::fitText(llvm::StringRef text, size_t columns) {
  std::string printable = makePrintable(text), cut;
  if (columnWidth(printable) <= columns)
    return printable;
  llvm::StringRef rest = printable;
  for (size_t width = 3;;) {
    llvm::StringRef character = takeCharacter(rest);
    width += columnWidth(character);
    if (width > columns)
      return cut + "...";
    cut += character;
  }
}

Table::Table(std::vector<Column> columns, std::string title) : columns(std::move(columns)), title(std::move(title)) {}

void Table::addRow(const std::vector<std::string> &cells) {
  assert(cells.size() == columns.size() && "a cell per column");
  std::vector<std::string> &row = rows.emplace_back();
  for (const std::string &cell : cells)
    row.push_back(makePrintable(cell));
}

static void printAt(llvm::raw_ostream &out, llvm::StringRef text, size_t left, size_t width) {
  out.indent(left) << text;
  out.indent(width - left - columnWidth(text));
}

void Table::print(llvm::raw_ostream &out, bool colored) const {
  std::vector<size_t> widths;
  size_t total = columns.size() - 1; // the lines between columns
  for (size_t i = 0; i < columns.size(); ++i) {
    size_t width = columnWidth(columns[i].header);
    for (const std::vector<std::string> &row : rows)
      width = std::max(width, columnWidth(row[i]));
    widths.push_back(width + 2 * kPadding);
    total += widths.back();
  }
  size_t titleWidth = title.empty() ? 0 : columnWidth(title) + 2 * kPadding;
  if (titleWidth > total) {
    widths.back() += titleWidth - total;
    total = titleWidth;
  }

  auto printBorder = [&](char line) { out << "+" << std::string(total, line) << "+\n"; };
  printBorder('-');
  if (!title.empty()) {
    out << "|";
    printAt(out, title, total + kPadding - titleWidth, total);
    out << "|\n";
    printBorder('-');
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    const std::string &header = columns[i].header;
    out << "|";
    if (colored)
      out << "\033[1m";
    // The middle of the text in the middle of the column.
    printAt(out, header, widths[i] / 2 - columnWidth(header) / 2, widths[i]);
    if (colored)
      out << "\033[0m";
  }
  out << "|\n";
  printBorder('=');
  for (const std::vector<std::string> &row : rows) {
    for (size_t i = 0; i < columns.size(); ++i) {
      out << "|";
      bool right = columns[i].align == Align::Right;
      printAt(out, row[i], right ? widths[i] - kPadding - columnWidth(row[i]) : kPadding, widths[i]);
    }
    out << "|\n";
  }
  printBorder('-');
}
