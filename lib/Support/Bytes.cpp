//===- Bytes.cpp - Amounts of memory as people write them ------------------===//
#include "moai/Support/Bytes.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

using namespace moai;

std::optional<int64_t> moai::parseBytes(llvm::StringRef text) {
  text = text.trim();
  llvm::StringRef number = text.take_while([](char c) { return (c >= '0' && c <= '9') || c == '.'; });
  llvm::StringRef unit = text.drop_front(number.size()).trim();
  double amount, scale = 0;
  for (auto [name, factor] : {std::pair("", 1.0),
                              {"B", 1.0},
                              {"KB", 1e3},
                              {"MB", 1e6},
                              {"GB", 1e9},
                              {"TB", 1e12},
                              {"KiB", 0x1p10},
                              {"MiB", 0x1p20},
                              {"GiB", 0x1p30},
                              {"TiB", 0x1p40}})
    if (unit.equals_insensitive(name))
      scale = factor;
  if (scale == 0 || !absl::SimpleAtod(absl::string_view(number.data(), number.size()), &amount))
    return std::nullopt;
  double bytes = amount * scale;
  if (!(bytes >= 1 && bytes <= 0x1p60))
    return std::nullopt;
  return static_cast<int64_t>(bytes);
}

std::string moai::formatBytes(int64_t bytes) {
  static constexpr const char *kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024)
    return absl::StrCat(bytes, bytes == 1 ? " byte" : " bytes");
  double amount = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; amount >= 1024 && unit < 4; ++unit)
    amount /= 1024;
  return absl::StrFormat("%.*f %s", amount < 10 ? 2 : amount < 100 ? 1 : 0, amount, kUnits[unit]);
}
