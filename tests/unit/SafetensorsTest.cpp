#include "moai/Execute/Safetensors.h"
#include "TestFolder.h"
#include "absl/strings/str_cat.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MemoryBuffer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <random>

using namespace moai;
using ::testing::HasSubstr;

namespace {

std::string file(const std::string &header, size_t dataBytes) {
  std::string bytes(8, '\0');
  llvm::support::endian::write64le(bytes.data(), header.size());
  return bytes + header + std::string(dataBytes, '\0');
}

std::string refusal(const std::string &bytes) {
  auto tensors = parseSafetensors(bytes, "w.safetensors");
  return tensors.ok() ? "read" : std::string(tensors.status().message());
}

TEST(Safetensors, ReadsEveryType) {
  std::string bytes =
      file(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
           R"("b":{"dtype":"BF16","shape":[1,1],"data_offsets":[8,10]},"c":{"dtype":"I64","shape":[],"data_offsets":[10,18]},)"
           R"("d":{"dtype":"F16","shape":[1],"data_offsets":[18,20]},"e":{"dtype":"BOOL","shape":[1],"data_offsets":[20,21]}})",
           0);
  float a[] = {1.5f, -2.25f};
  int64_t c = -3;
  bytes += std::string(reinterpret_cast<char *>(a), 8) + std::string("\xc0\x3f", 2) + std::string(reinterpret_cast<char *>(&c), 8) +
           std::string("\x00\x3e", 2) + "\x01";
  auto tensors = parseSafetensors(bytes, "w");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 5u);
  EXPECT_EQ(tensors->at("a").tensor.values, (std::vector<double>{1.5, -2.25}));
  EXPECT_EQ(tensors->at("b").tensor.values, (std::vector<double>{1.5}));
  EXPECT_EQ(tensors->at("b").tensor.rank(), 2u);
  EXPECT_EQ(tensors->at("c").tensor.values, (std::vector<double>{-3}));
  EXPECT_EQ(tensors->at("c").tensor.rank(), 0u);
  EXPECT_EQ(tensors->at("d").tensor.values, (std::vector<double>{1.5}));
  EXPECT_EQ(tensors->at("e").tensor.values, (std::vector<double>{1}));
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  StoredTensors tensors;
  tensors["x"] = {"F32", Tensor({2, 2})};
  tensors["x"].tensor.values = {1, 2, 3, 0.1f};
  tensors["y"] = {"BF16", Tensor(std::vector<int64_t>{1})};
  tensors["y"].tensor.values = {-0.5};
  std::string path = ::testing::TempDir() + "/written.safetensors";
  ASSERT_TRUE(writeSafetensors(path, tensors).ok());
  auto read = readSafetensors(path);
  ASSERT_TRUE(read.ok()) << read.status();
  for (const auto &[name, stored] : tensors) {
    EXPECT_EQ(read->at(name).type, stored.type);
    EXPECT_EQ(read->at(name).tensor.shape, stored.tensor.shape);
    EXPECT_EQ(read->at(name).tensor.values, stored.tensor.values);
  }
}

std::string contentOf(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

// Tensors of every type, with numbers that it holds.
StoredTensors randomTensors(std::mt19937_64 &random) {
  StoredTensors tensors;
  for (const char *type : {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"})
    for (int64_t rank = 0; rank < 4; ++rank) {
      std::vector<int64_t> shape(rank);
      for (int64_t &size : shape)
        size = static_cast<int64_t>(random() % 6);
      StoredTensor stored{type, Tensor(shape)};
      llvm::StringRef name(type);
      bool isBool = name == "BOOL", isUnsigned = name.starts_with("U");
      for (double &value : stored.tensor.values)
        value = isBool ? static_cast<double>(random() % 2) : static_cast<double>(random() % 100) - (isUnsigned ? 0 : 50);
      tensors[absl::StrCat(type, ".", rank)] = std::move(stored);
    }
  return tensors;
}

TEST(Safetensors, EveryTypeIsReadAsItWasWritten) {
  std::mt19937_64 random(4);
  TestFolder folder;
  for (int round = 0; round < 10; ++round) {
    StoredTensors tensors = randomTensors(random);
    ASSERT_EQ(writeSafetensors(folder.path("t"), tensors), absl::OkStatus());
    auto read = readSafetensors(folder.path("t"));
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_EQ(read->size(), tensors.size());
    for (const auto &[name, stored] : tensors) {
      EXPECT_EQ(read->at(name).type, stored.type) << name;
      EXPECT_EQ(read->at(name).tensor.shape, stored.tensor.shape) << name;
      EXPECT_EQ(read->at(name).tensor.values, stored.tensor.values) << name;
    }
  }
}

TEST(Safetensors, RowsAreSlicesOfTheWhole) {
  std::mt19937_64 random(6);
  TestFolder folder;
  StoredTensors tensors = randomTensors(random);
  ASSERT_EQ(writeSafetensors(folder.path("t"), tensors), absl::OkStatus());
  auto file = SafetensorsFile::open(folder.path("t"));
  ASSERT_TRUE(file.ok()) << file.status();
  for (const auto &[name, entry] : file->entries()) {
    EXPECT_EQ(entry.type, tensors.at(name).type);
    EXPECT_EQ(entry.shape, tensors.at(name).tensor.shape);
    if (entry.shape.empty())
      continue;
    const Tensor whole = SafetensorsFile::read(entry).tensor;
    for (int round = 0; round < 5; ++round) {
      int64_t first = static_cast<int64_t>(random() % (entry.shape[0] + 1)),
              count = static_cast<int64_t>(random() % (entry.shape[0] - first + 1));
      Tensor rows = SafetensorsFile::readRows(entry, first, count);
      int64_t row = entry.shape[0] ? whole.size() / entry.shape[0] : 0;
      EXPECT_EQ(rows.shape[0], count);
      EXPECT_EQ(rows.values, std::vector<double>(whole.values.begin() + first * row, whole.values.begin() + (first + count) * row)) << name;
    }
  }
}

TEST(Safetensors, KeepsWhatIsSaidOfTheFile) {
  TestFolder folder;
  StoredTensors tensors;
  tensors["x"] = {"F32", Tensor(std::vector<int64_t>{3})};
  std::map<std::string, std::string> metadata = {{"step", "12"}, {"quoted", "a \"b\"\n"}};
  ASSERT_EQ(writeSafetensors(folder.path("t"), tensors, metadata), absl::OkStatus());
  auto file = SafetensorsFile::open(folder.path("t"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metadata(), metadata);
  EXPECT_EQ(file->entries().size(), 1u);
  ASSERT_EQ(writeSafetensors(folder.path("again"), tensors, metadata), absl::OkStatus());
  EXPECT_EQ(contentOf(folder.path("again")), contentOf(folder.path("t")));
}

TEST(Safetensors, AFileThatCantBeWrittenIsNamed) {
  TestFolder folder;
  EXPECT_THAT(std::string(writeSafetensors(folder.path("none/t"), {}).message()), HasSubstr("none/t: can't be written ("));
  EXPECT_EQ(readSafetensors(folder.path()).status().message(), folder.path() + ": is a directory; expected a .safetensors file");
}

TEST(Safetensors, RefusesWithOneSentence) {
  auto one = [](const std::string &entry, size_t bytes) { return refusal(file("{\"t\":" + entry + "}", bytes)); };
  EXPECT_EQ(refusal("abc"), "w.safetensors: has 3 bytes; expected a .safetensors file, which begins with the length of its header");
  EXPECT_THAT(refusal(std::string("\x00\x00\x00\x00\x00\x00\x00\x80", 8)),
              HasSubstr("the header claims 9223372036854775808 bytes, the file has 0 more"));
  EXPECT_THAT(refusal(file("{nonsense", 0)), HasSubstr("the header is not JSON"));
  EXPECT_THAT(refusal(file("[]", 0)), HasSubstr("the header is not a JSON object"));
  EXPECT_THAT(one("3", 0), HasSubstr("tensor 't' has the type ''"));
  EXPECT_THAT(one(R"({"dtype":"F8","shape":[1],"data_offsets":[0,1]})", 1),
              HasSubstr("tensor 't' has the type 'F8', which moai doesn't read"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", 4),
              HasSubstr("needs a shape and two data_offsets of whole numbers"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})", 4), HasSubstr("needs a shape and two data_offsets"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})", 4),
              HasSubstr("more elements than can be counted"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2305843009213693952],"data_offsets":[0,0]})", 0), HasSubstr("in 0 bytes"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 4),
              HasSubstr("lies at 4 to 8, the data has 4 bytes; the file is cut off"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[8,4]})", 8), HasSubstr("lies at 8 to 4"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", 8), HasSubstr("has 3 elements of 4 bytes in 8 bytes"));
  EXPECT_THAT(
      refusal(file(R"({"s":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8)),
      HasSubstr("tensors 's' and 't' overlap"));
}

// A storage of four floats, seen as [2, 2] with its rows exchanged for columns, and in ways that reach beyond it.
TEST(Safetensors, DecodesStridedTensors) {
  float stored[] = {1, 2, 3, 4};
  llvm::StringRef bytes(reinterpret_cast<char *>(stored), sizeof stored);
  auto transposed = decodeTensor("t", "F32", {2, 2}, {1, 2}, 0, bytes);
  ASSERT_TRUE(transposed.ok()) << transposed.status();
  EXPECT_EQ(transposed->tensor.values, (std::vector<double>{1, 3, 2, 4}));
  auto refusal = [&](std::vector<int64_t> shape, std::vector<int64_t> strides, int64_t offset) {
    return std::string(decodeTensor("t", "F32", shape, strides, offset, bytes).status().message());
  };
  EXPECT_EQ(refusal({2, 2}, {2, 1}, 1), "tensor 't' reaches beyond its data");
  EXPECT_EQ(refusal({2}, {1}, -1), "tensor 't' reaches beyond its data");
  EXPECT_EQ(refusal({5}, {0}, 0), "tensor 't' reaches beyond its data");
  EXPECT_EQ(refusal({2}, {-1}, 3), "tensor 't' has a negative size or stride");
  EXPECT_EQ(refusal({-2}, {1}, 0), "tensor 't' has a negative size or stride");
  EXPECT_EQ(refusal({INT64_MAX, 2}, {1, 1}, 0), "tensor 't' has more elements than can be counted");
}

// Tensors of all widths, in pieces, around the borders of the blocks that are summed up.
TEST(Safetensors, ChecksumIsOfEveryByte) {
  TestFolder folder;
  StoredTensors tensors;
  int64_t size = 1;
  for (const char *type : {"U8", "F64", "BF16", "F32", "U8", "I64", "F16"}) {
    StoredTensor stored{type, Tensor(llvm::ArrayRef<int64_t>{size})};
    for (int64_t i = 0; i < size; ++i)
      stored.tensor.values[i] = static_cast<double>(i * 7 % 100);
    tensors[std::to_string(tensors.size()) + type] = stored;
    size = size * 13 + 5;
  }
  TensorViews views = viewsOf(tensors);
  for (auto &[name, view] : views) { // every second tensor in three pieces
    TensorView::Piece whole = view.pieces.front();
    if (whole.count < 3)
      continue;
    int64_t third = whole.count / 3;
    view.pieces = {{whole.tensor, 0, third}, {whole.tensor, third, third}, {whole.tensor, 2 * third, whole.count - 2 * third}};
    EXPECT_EQ(view.read().tensor.values, tensors[name].tensor.values);
  }
  ASSERT_EQ(writeTensorViews(folder.path("t"), views, {{"key", "value"}}, /*withChecksum=*/true), absl::OkStatus());
  auto buffer = llvm::MemoryBuffer::getFile(folder.path("t"), false, false);
  ASSERT_TRUE(buffer);
  std::string good = (*buffer)->getBuffer().str();
  auto file = SafetensorsFile::parse(good, "t");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->hasGoodChecksum());
  for (const auto &[name, stored] : tensors)
    EXPECT_EQ(SafetensorsFile::read(file->entries().at(name)).tensor.values, stored.tensor.values) << name;
  for (size_t i = 0; i < 300; ++i) {
    std::string bad = good;
    size_t at = i < 100 ? 8 + i * 5 : good.size() - 1 - i * i * 97 % (good.size() - 700);
    bad[at] = static_cast<char>(bad[at] ^ 4);
    auto damaged = SafetensorsFile::parse(bad, "t");
    EXPECT_FALSE(damaged.ok() && damaged->hasGoodChecksum()) << "byte " << at;
  }
  ASSERT_EQ(writeSafetensors(folder.path("t"), tensors), absl::OkStatus());
  EXPECT_FALSE(SafetensorsFile::open(folder.path("t"))->hasGoodChecksum());
}

} // namespace
