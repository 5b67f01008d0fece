//===- TokenFiles.cpp - Ids as text and as plain numbers -------------------===//
#include "DataFiles.h"

using namespace moai;

//===----------------------------------------------------------------------===//
// A sample on each line
//===----------------------------------------------------------------------===//

namespace {
class IdsParser {
public:
  IdsParser(llvm::StringRef path, const TokenDemand &demand) : path(path), demand(demand) {}

  absl::Status parseLine(llvm::StringRef line, int64_t number);

  std::vector<uint32_t> ids;
  int64_t perRow = 0;

private:
  absl::Status parseWord(llvm::StringRef word, int64_t line, int64_t position);

  llvm::StringRef path;
  const TokenDemand &demand;
  int64_t rows = 0;
};
} // namespace

absl::Status IdsParser::parseWord(llvm::StringRef word, int64_t line, int64_t position) {
  llvm::StringRef digits = word;
  bool isNegative = digits.consume_front("-");
  if (digits.empty() || digits.find_first_not_of("0123456789") != llvm::StringRef::npos)
    return wrongData(path, "line ", line, " has ", quoteData(word), "; expected decimal token ids, separated by spaces, tabs or commas");
  uint32_t id = 0;
  bool overflows = false;
  for (char digit : digits)
    overflows |= __builtin_mul_overflow(id, 10u, &id) || __builtin_add_overflow(id, static_cast<uint32_t>(digit - '0'), &id);
  if (isNegative || overflows || id >= demand.numIds)
    return wrongData(path, "sample ", rows, " (line ", line, ") has the token ", word.take_front(20).str(), word.size() > 20 ? "..." : "",
                     " at position ", position, ", the model's vocabulary has ", demand.numIds, " ids");
  ids.push_back(id);
  return absl::OkStatus();
}

absl::Status IdsParser::parseLine(llvm::StringRef line, int64_t number) {
  static constexpr const char *kSeparators = " \t,\r";
  int64_t count = 0;
  for (line = line.ltrim(kSeparators); !line.empty(); line = line.ltrim(kSeparators)) {
    llvm::StringRef word = line.take_until([](char c) { return c == ' ' || c == ',' || c == '\t' || c == '\r'; });
    if (absl::Status status = parseWord(word, number, count++); !status.ok())
      return status;
    line = line.drop_front(word.size());
  }
  if (!count)
    return absl::OkStatus();
  if (!rows && !demand.takes(count))
    return wrongData(path, "line ", number, " has ", count, " tokens, a sample takes ", demand.str());
  if (rows && count != perRow)
    return wrongData(path, "line ", number, " has ", count, " tokens, the lines before it ", perRow);
  perRow = count;
  ++rows;
  return absl::OkStatus();
}

absl::StatusOr<TokenArray> moai::parseIds(llvm::StringRef text, llvm::StringRef path, const TokenDemand &demand) {
  IdsParser parser(path, demand);
  for (int64_t number = 1; !text.empty(); ++number) {
    auto [line, rest] = text.split('\n');
    if (absl::Status status = parser.parseLine(line, number); !status.ok())
      return status;
    text = rest;
  }
  TokenArray array;
  array.storage = findStorage("U32");
  array.own = std::move(parser.ids);
  array.bytes = llvm::StringRef(reinterpret_cast<const char *>(array.own.data()), array.own.size() * sizeof(uint32_t));
  array.description = "ids, a sample on each line";
  array.perRow = parser.perRow;
  return array;
}

//===----------------------------------------------------------------------===//
// Plain numbers
//===----------------------------------------------------------------------===//

absl::StatusOr<TokenArray> moai::parseBin(llvm::StringRef bytes, llvm::StringRef path, DataFormat format) {
  TokenArray array;
  array.storage = findStorage(format == DataFormat::Bin16 ? "U16" : "U32");
  if (bytes.size() % array.storage->width)
    return wrongData(path, "has ", bytes.size(), " bytes, which are no whole number of ", 8 * array.storage->width, "-bit ids");
  array.bytes = bytes;
  array.description = toString(format).str();
  return array;
}
