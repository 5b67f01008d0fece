//===- NpyFile.cpp - Ids in NumPy's arrays ---------------------------------===//
#include "DataFiles.h"
#include "absl/strings/str_join.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"

using namespace moai;

namespace {
/// What a header says: `{'descr': '<i4', 'fortran_order': False, 'shape': (3, 4), }`.
struct NpyHeader {
  std::optional<std::string> type;
  std::optional<bool> fortranOrder;
  std::optional<std::vector<int64_t>> shape;
};

/// Reads the literals of Python that NumPy writes. False where something else stands.
class HeaderParser {
public:
  explicit HeaderParser(llvm::StringRef text) : rest(text.trim()) {}
  bool parse(NpyHeader &header);

private:
  bool consume(llvm::StringRef token) {
    rest = rest.ltrim();
    return rest.consume_front(token);
  }
  bool parseText(std::string &text);
  bool parseBool(bool &value) { return (value = consume("True")) || consume("False"); }
  bool parseSizes(std::vector<int64_t> &sizes);

  llvm::StringRef rest;
};
} // namespace

bool HeaderParser::parseText(std::string &text) {
  char quote = consume("'") ? '\'' : '"';
  if (quote == '"' && !consume("\""))
    return false;
  size_t end = rest.find(quote);
  if (end == llvm::StringRef::npos)
    return false;
  text = rest.take_front(end).str();
  rest = rest.drop_front(end + 1);
  return true;
}

bool HeaderParser::parseSizes(std::vector<int64_t> &sizes) {
  if (!consume("("))
    return false;
  while (!consume(")")) {
    uint64_t size;
    rest = rest.ltrim();
    if (rest.consumeInteger(10, size) || size > INT64_MAX)
      return false;
    sizes.push_back(static_cast<int64_t>(size));
    consume(",");
  }
  return true;
}

bool HeaderParser::parse(NpyHeader &header) {
  if (!consume("{"))
    return false;
  while (!consume("}")) {
    std::string key;
    if (!parseText(key) || !consume(":"))
      return false;
    bool isRead = key == "descr"           ? parseText(header.type.emplace())
                  : key == "fortran_order" ? parseBool(header.fortranOrder.emplace())
                                           : key == "shape" && parseSizes(header.shape.emplace());
    if (!isRead)
      return false;
    consume(",");
  }
  return header.type && header.fortranOrder && header.shape;
}

// The header's text, and what follows it.
static absl::StatusOr<std::pair<llvm::StringRef, llvm::StringRef>> splitHeader(llvm::StringRef bytes, llvm::StringRef path) {
  if (!bytes.starts_with("\x93NUMPY") || bytes.size() < 12)
    return wrongData(path, "doesn't begin as an .npy file does");
  unsigned version = static_cast<uint8_t>(bytes[6]);
  if (version < 1 || version > 3)
    return wrongData(path, "is of version ", version, " of .npy, which moai doesn't read; expected 1, 2 or 3");
  size_t begin = version == 1 ? 10 : 12;
  size_t length = version == 1 ? llvm::support::endian::read16le(bytes.data() + 8) : llvm::support::endian::read32le(bytes.data() + 8);
  if (length > bytes.size() - begin)
    return wrongData(path, "the header claims ", length, " bytes, the file has ", bytes.size() - begin, " more; it is cut off");
  return std::pair(bytes.substr(begin, length), bytes.drop_front(begin + length));
}

// `<u2` is `U16`; empty for what isn't a whole number in little-endian.
static std::string storageName(llvm::StringRef type) {
  bool isOrdered = type.starts_with("<") || ((type.starts_with("|") && type.ends_with("1")));
  llvm::StringRef number = type.drop_front(type.empty() ? 0 : 1);
  unsigned bytes;
  if (!isOrdered || number.size() != 2 || !llvm::StringRef("iu").contains(number.front()) || number.drop_front().getAsInteger(10, bytes))
    return "";
  return absl::StrCat(std::string(1, llvm::toUpper(number.front())), 8 * bytes);
}

absl::StatusOr<TokenArray> moai::parseNpy(llvm::StringRef bytes, llvm::StringRef path, const TokenDemand &demand) {
  auto parts = splitHeader(bytes, path);
  if (!parts.ok())
    return parts.status();
  NpyHeader header;
  if (!HeaderParser(parts->first).parse(header))
    return wrongData(path, "the header is not one that NumPy writes");
  TokenArray array;
  array.storage = findStorage(storageName(*header.type));
  if (!array.storage)
    return wrongData(path, "is an array of ", quoteData(*header.type), "; expected whole numbers of 1, 2, 4 or 8 bytes, little-endian");
  if (*header.fortranOrder)
    return wrongData(path, "is in Fortran's order; expected C's, as numpy.ascontiguousarray gives");
  llvm::ArrayRef<int64_t> shape = *header.shape;
  if (shape.size() != 1 && shape.size() != 2)
    return wrongData(path, "has the shape (", absl::StrJoin(shape, ", "), "); expected one dimension, or two with a sample in each row");
  int64_t count = static_cast<int64_t>(array.storage->width);
  for (int64_t size : shape)
    if (__builtin_mul_overflow(count, size, &count))
      return wrongData(path, "has more elements than can be counted");
  if (static_cast<uint64_t>(count) > parts->second.size())
    return wrongData(path, "its shape takes ", count, " bytes, the file has ", parts->second.size(), " after the header; it is cut off");
  if (shape.size() == 2) {
    if (!demand.takes(shape[1]))
      return wrongData(path, "has ", shape[1], " tokens in a row, a sample takes ", demand.str());
    array.perRow = shape[1];
  }
  array.bytes = parts->second.take_front(count);
  array.description = absl::StrCat("npy of '", *header.type, shape.size() == 2 ? "', a sample in each row" : "'");
  return array;
}
