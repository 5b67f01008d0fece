//===- JsonMutator.cpp - Changes to JSON that leave it JSON ----------------===//
#include "JsonMutator.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace moai;
namespace json = llvm::json;

namespace {
/// A value of the document, and the key it lies under (that of the array, for an array's entries).
struct Place {
  json::Value *value;
  llvm::StringRef key;
};
} // namespace

static void collect(json::Value &value, llvm::StringRef key, std::vector<Place> &places) {
  places.push_back({&value, key});
  if (json::Object *object = value.getAsObject())
    for (auto &field : *object)
      collect(field.second, field.first, places);
  else if (json::Array *array = value.getAsArray())
    for (json::Value &entry : *array)
      collect(entry, key, places);
}

static size_t below(size_t limit, std::minstd_rand &random) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random); }

static int64_t otherInteger(int64_t value, std::minstd_rand &random) {
  const int64_t choices[] = {0,         1,         -1, 2,   -2,        16,        int64_t(1) << 31, int64_t(1) << 48,
                             INT64_MAX, INT64_MIN, 7,  64,  value / 2, value ^ 1, value / -3,       value / 3,
                             1000000,   3,         12, 4096};
  return choices[below(std::size(choices), random)];
}

static void changeArray(json::Array &array, std::minstd_rand &random) {
  if (array.empty())
    return;
  size_t at = below(array.size(), random), other = below(array.size(), random);
  switch (below(3, random)) {
  case 0:
    std::swap(array[at], array.back());
    array.pop_back();
    return;
  case 1:
    array.insert(array.begin() + other, json::Value(array[at]));
    return;
  default:
    std::swap(array[at], array[other]);
  }
}

static void dropField(json::Object &object, std::minstd_rand &random) {
  if (object.empty())
    return;
  size_t dropped = below(object.size(), random);
  // A new object: what json::Object erased it copies again.
  json::Object kept;
  for (auto &field : object)
    if (dropped-- != 0)
      kept.try_emplace(field.first.str(), std::move(field.second));
  object = std::move(kept);
}

static json::Value emptyValue(std::minstd_rand &random) {
  switch (below(4, random)) {
  case 0:
    return nullptr;
  case 1:
    return json::Array();
  case 2:
    return json::Object();
  default:
    return "";
  }
}

static void change(json::Value &document, std::minstd_rand &random) {
  std::vector<Place> places;
  collect(document, "", places);
  const Place &place = places[below(places.size(), random)];
  json::Value &value = *place.value;
  size_t choice = below(16, random);
  if (choice == 0) {
    value = emptyValue(random);
  } else if (auto integer = value.getAsInteger(); integer && choice < 8) {
    value = otherInteger(*integer, random);
  } else if (auto truth = value.getAsBoolean(); truth && choice < 8) {
    value = !*truth;
  } else if (value.getAsArray() && choice < 8) {
    changeArray(*value.getAsArray(), random);
  } else if (value.getAsObject() && choice < 3) {
    dropField(*value.getAsObject(), random);
  } else {
    std::vector<json::Value *> donors;
    for (const Place &other : places)
      if (other.key == place.key && other.value != place.value)
        donors.push_back(other.value);
    if (donors.empty())
      return;
    json::Value copy = *donors[below(donors.size(), random)];
    value = std::move(copy);
  }
}

std::string moai::mutateJson(llvm::StringRef text, std::minstd_rand &random) {
  auto document = json::parse(text);
  if (!document) {
    llvm::consumeError(document.takeError());
    return text.str();
  }
  for (size_t i = 0, count = 1 + below(4, random); i < count; ++i)
    change(*document, random);
  std::string changed;
  llvm::raw_string_ostream(changed) << *document;
  return changed;
}
