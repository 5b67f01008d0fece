//===- ElementStorage.cpp - How numbers lie in files -----------------------===//
#include "ElementStorage.h"
#include "Eigen/Core"
#include "llvm/ADT/StringMap.h"
#include <cstring>

using namespace moai;

// Via is float for half types, which convert by way of it.
template <typename T, typename Via> static double loadOne(const char *bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return static_cast<double>(static_cast<Via>(value));
}

template <typename T, typename Via> static void load(const char *bytes, int64_t stride, double *to, size_t count) {
  if (stride == 1)
    for (size_t i = 0; i < count; ++i)
      to[i] = loadOne<T, Via>(bytes + i * sizeof(T));
  else
    for (size_t i = 0; i < count; ++i)
      to[i] = loadOne<T, Via>(bytes + static_cast<int64_t>(i * sizeof(T)) * stride);
}

template <typename T, typename Via> static void store(const double *from, char *bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    T value = static_cast<T>(static_cast<Via>(from[i]));
    std::memcpy(bytes + i * sizeof(T), &value, sizeof(T));
  }
}

template <typename T, typename Via = T> static ElementStorage storage() { return {sizeof(T), load<T, Via>, store<T, Via>}; }

const ElementStorage *moai::findStorage(llvm::StringRef type) {
  static const llvm::StringMap<ElementStorage> known = {{"F64", storage<double>()},
                                                        {"F32", storage<float>()},
                                                        {"F16", storage<Eigen::half, float>()},
                                                        {"BF16", storage<Eigen::bfloat16, float>()},
                                                        {"I64", storage<int64_t>()},
                                                        {"I32", storage<int32_t>()},
                                                        {"I16", storage<int16_t>()},
                                                        {"I8", storage<int8_t>()},
                                                        {"U64", storage<uint64_t>()},
                                                        {"U32", storage<uint32_t>()},
                                                        {"U16", storage<uint16_t>()},
                                                        {"U8", storage<uint8_t>()},
                                                        {"BOOL", storage<uint8_t>()}};
  auto it = known.find(type);
  return it == known.end() ? nullptr : &it->second;
}
