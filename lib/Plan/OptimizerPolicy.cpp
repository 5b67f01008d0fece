//===- OptimizerPolicy.cpp - How parameters are updated, and in which types -===//
#include "moai/Plan/OptimizerPolicy.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "llvm/ADT/SmallVector.h"
#include <charconv>
#include <set>

using namespace moai;

static constexpr const char *kKindNames[] = {"adamw", "adam", "sgd"};
static constexpr const char *kFloatNames[] = {"exported", "f32", "bf16", "f16"};

llvm::StringRef moai::toString(OptimizerKind kind) { return kKindNames[static_cast<unsigned>(kind)]; }

int64_t moai::widthOf(FloatKind kind, int64_t exportedWidth) {
  return kind == FloatKind::Exported ? exportedWidth : kind == FloatKind::Float32 ? 4 : 2;
}

namespace {
/// A number of the policy: which optimizers use it, and where it may lie.
struct NumberField {
  const char *name;
  double OptimizerPolicy::*value;
  bool adam, sgd;
  double least, below; ///< least <= value < below
};
constexpr double kUnbounded = 1e30;
constexpr NumberField kNumbers[] = {
    {"learning_rate", &OptimizerPolicy::learningRate, true, true, 0, 1e6},
    {"beta1", &OptimizerPolicy::beta1, true, false, 0, 1},
    {"beta2", &OptimizerPolicy::beta2, true, false, 0, 1},
    {"epsilon", &OptimizerPolicy::epsilon, true, false, 0, kUnbounded},
    {"weight_decay", &OptimizerPolicy::weightDecay, true, true, 0, 1e6},
    {"momentum", &OptimizerPolicy::momentum, false, true, 0, 1},
    {"max_gradient_norm", &OptimizerPolicy::maxGradientNorm, true, true, 0, kUnbounded},
};

struct FloatField {
  const char *name;
  FloatKind PrecisionPolicy::*value;
};
constexpr FloatField kFloats[] = {
    {"parameter", &PrecisionPolicy::parameter}, {"gradient", &PrecisionPolicy::gradient}, {"accumulation", &PrecisionPolicy::accumulation},
    {"master", &PrecisionPolicy::master},       {"state", &PrecisionPolicy::state},
};
} // namespace

static bool uses(OptimizerKind kind, const NumberField &field) { return kind == OptimizerKind::Sgd ? field.sgd : field.adam; }

static std::string shortest(double number) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
}

template <size_t N> static std::string joined(const char *const (&names)[N]) {
  std::string text;
  for (size_t i = 0; i < N; ++i)
    absl::StrAppend(&text, i == 0 ? "" : i + 1 == N ? " or " : ", ", names[i]);
  return text;
}

template <typename Enum, size_t N> static std::optional<Enum> findName(const char *const (&names)[N], llvm::StringRef text) {
  for (size_t i = 0; i < N; ++i)
    if (text == names[i])
      return static_cast<Enum>(i);
  return std::nullopt;
}

static absl::Status readNumber(OptimizerPolicy &policy, const NumberField &field, llvm::StringRef text) {
  if (!uses(policy.kind, field))
    return absl::InvalidArgumentError(absl::StrCat(toString(policy.kind).str(), " has no ", field.name, "; leave it out"));
  double value;
  if (!absl::SimpleAtod(absl::string_view(text.data(), text.size()), &value) || !(value >= field.least && value < field.below))
    return absl::InvalidArgumentError(
        absl::StrCat(field.name, " is '", text.str(), "', expected a number of ", shortest(field.least), " or more",
                     field.below < kUnbounded ? absl::StrCat(" and less than ", shortest(field.below)) : std::string()));
  policy.*field.value = value;
  return absl::OkStatus();
}

static absl::Status readFloat(PrecisionPolicy &precision, const FloatField &field, llvm::StringRef text) {
  auto kind = findName<FloatKind>(kFloatNames, text);
  if (!kind)
    return absl::InvalidArgumentError(absl::StrCat(field.name, " is '", text.str(), "', expected ", joined(kFloatNames)));
  precision.*field.value = *kind;
  return absl::OkStatus();
}

// Hands every `key=value` behind the name to `read`, which returns nothing for a key that it doesn't know.
template <typename Read> static absl::Status readItems(llvm::StringRef items, const std::string &known, Read read) {
  std::set<std::string> seen;
  llvm::SmallVector<llvm::StringRef> parts;
  items.split(parts, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef part : parts) {
    auto [key, value] = part.split('=');
    key = key.trim();
    std::optional<absl::Status> status = read(key, value.trim());
    if (!status)
      return absl::InvalidArgumentError(absl::StrCat("'", key.str(), "' is not known, expected one of ", known));
    if (!status->ok())
      return *status;
    if (!seen.insert(key.str()).second)
      return absl::InvalidArgumentError(absl::StrCat(key.str(), " is given twice; give it once"));
  }
  return absl::OkStatus();
}

static std::optional<absl::Status> readPrecisionItem(PrecisionPolicy &precision, llvm::StringRef key, llvm::StringRef value) {
  for (const FloatField &field : kFloats)
    if (key == field.name)
      return readFloat(precision, field, value);
  return std::nullopt;
}

static std::string floatKeys() {
  std::string known;
  for (const FloatField &field : kFloats)
    absl::StrAppend(&known, known.empty() ? "" : ", ", field.name);
  return known;
}

absl::StatusOr<PrecisionPolicy> moai::parsePrecision(llvm::StringRef text) {
  auto [name, items] = text.split(',');
  PrecisionPolicy precision;
  if (name == "mixed")
    precision.master = precision.state = FloatKind::Float32;
  else if (name != "exported")
    return absl::InvalidArgumentError(
        absl::StrCat("'", name.str(), "' is not known; expected exported or mixed, and perhaps ", "key=type for the keys ", floatKeys()));
  absl::Status status =
      readItems(items, floatKeys(), [&](llvm::StringRef key, llvm::StringRef value) { return readPrecisionItem(precision, key, value); });
  if (!status.ok())
    return status;
  return precision;
}

absl::StatusOr<OptimizerPolicy> moai::parseOptimizer(llvm::StringRef text) {
  auto [name, items] = text.split(',');
  auto kind = findName<OptimizerKind>(kKindNames, name.trim());
  if (!kind)
    return absl::InvalidArgumentError(absl::StrCat("'", name.str(), "' is not known; expected ", joined(kKindNames)));
  OptimizerPolicy policy;
  policy.kind = *kind;
  if (*kind != OptimizerKind::AdamW)
    policy.weightDecay = 0;
  std::string known;
  for (const NumberField &field : kNumbers)
    if (uses(*kind, field))
      absl::StrAppend(&known, field.name, ", ");
  known += floatKeys();
  absl::Status status = readItems(items, known, [&](llvm::StringRef key, llvm::StringRef value) -> std::optional<absl::Status> {
    for (const NumberField &field : kNumbers)
      if (key == field.name)
        return readNumber(policy, field, value);
    return readPrecisionItem(policy.precision, key, value);
  });
  if (!status.ok())
    return status;
  return policy;
}

static std::string keysOf(const PrecisionPolicy &precision) {
  std::string text;
  for (const FloatField &field : kFloats)
    absl::StrAppend(&text, ",", field.name, "=", kFloatNames[static_cast<unsigned>(precision.*field.value)]);
  return text;
}

std::string moai::toString(const OptimizerPolicy &policy) {
  std::string text = toString(policy.kind).str();
  for (const NumberField &field : kNumbers)
    if (uses(policy.kind, field))
      absl::StrAppend(&text, ",", field.name, "=", shortest(policy.*field.value));
  return text + keysOf(policy.precision);
}

std::string moai::toString(const PrecisionPolicy &precision) { return "exported" + keysOf(precision); }

llvm::json::Object moai::toJSON(const OptimizerPolicy &policy) {
  llvm::json::Object object{{"name", toString(policy.kind)}};
  for (const NumberField &field : kNumbers)
    if (uses(policy.kind, field))
      object[field.name] = policy.*field.value;
  for (const FloatField &field : kFloats)
    object[field.name] = kFloatNames[static_cast<unsigned>(policy.precision.*field.value)];
  return object;
}
