//===- DataSourceTest.cpp - Samples to train on ----------------------------===//
#include "moai/Execute/DataSource.h"
#include "TestFolder.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "moai/Execute/Safetensors.h"
#include "llvm/Support/Endian.h"
#include "gmock/gmock.h"
#include <numeric>
#include <random>
#include <set>

using namespace moai;
using ::testing::ElementsAre;

namespace {

ModelInput sequence(const char *name, InputUse use, int64_t length, int64_t numIds = 0) {
  ModelInput input;
  input.name = name;
  input.type = "I64";
  input.shape = {2, length};
  input.perSample = {1, 0};
  input.use = use;
  input.numIds = numIds;
  input.ignoredId = -100;
  return input;
}

ModelInput nextTokens(const char *name, int64_t length, int64_t numIds) {
  ModelInput input = sequence(name, InputUse::Targets, length, numIds);
  input.takesNextToken = true;
  return input;
}

// A model of sequences of four tokens below 256.
std::vector<ModelInput> fourTokens(int64_t numIds = 256) { return {sequence("ids", InputUse::Tokens, 4, numIds)}; }

std::string refusal(llvm::StringRef name, llvm::StringRef bytes, llvm::ArrayRef<ModelInput> inputs,
                    std::optional<DataFormat> format = std::nullopt) {
  auto source = DataSource::parse(bytes, name, format, inputs);
  return source.ok() ? (*source)->describe() : std::string(source.status().message());
}

template <typename T> std::string bytesOf(const std::vector<int64_t> &numbers) {
  std::string bytes;
  for (int64_t number : numbers) {
    T narrow = static_cast<T>(number);
    bytes.append(reinterpret_cast<const char *>(&narrow), sizeof(T));
  }
  return bytes;
}

// As numpy.save writes it.
std::string npy(const std::string &header, const std::string &data, char version = 1) {
  std::string text = header;
  text.resize((text.size() + 10 + 64) / 64 * 64 - 10 - 1, ' ');
  text += '\n';
  std::string length(version == 1 ? 2 : 4, '\0');
  length[0] = static_cast<char>(text.size() & 0xff);
  length[1] = static_cast<char>(text.size() >> 8);
  return std::string("\x93NUMPY") + version + '\0' + length + text + data;
}

std::string npyHeader(const std::string &type, const std::string &shape, const char *order = "False") {
  return "{'descr': '" + type + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
}

std::string tensorsFile(const StoredTensors &tensors) {
  TestFolder folder;
  std::string path = folder.path("t.safetensors");
  EXPECT_EQ(writeSafetensors(path, tensors), absl::OkStatus());
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

StoredTensor stored(const char *type, std::vector<int64_t> shape, std::vector<double> values = {}) {
  StoredTensor tensor{type, Tensor(shape)};
  if (!values.empty())
    tensor.tensor.values = std::move(values);
  return tensor;
}

//===----------------------------------------------------------------------===//
// What tokens become
//===----------------------------------------------------------------------===//

TEST(DataSource, CutsText) {
  auto source = DataSource::parse("abcdefghij", "a.txt", std::nullopt, fourTokens());
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->describe(), "a.txt: 2 samples of 4 tokens (text, a byte a token)");
  EXPECT_EQ((*source)->numSamples(), 2);
  Batch batch = (*source)->read({1, 0, 1});
  EXPECT_THAT(batch.at("ids")->shape, ElementsAre(3, 4));
  EXPECT_THAT(batch.at("ids")->values, ElementsAre('e', 'f', 'g', 'h', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'));
}

TEST(DataSource, FillsEveryInputThatTokensTell) {
  std::vector<ModelInput> inputs = {sequence("ids", InputUse::Tokens, 3, 300),
                                    sequence("labels", InputUse::Targets, 3, 300),
                                    nextTokens("next", 3, 300),
                                    sequence("attention_mask", InputUse::Mask, 3),
                                    sequence("position_ids", InputUse::Positions, 3),
                                    sequence("token_type_ids", InputUse::Segments, 3),
                                    sequence("start", InputUse::Tokens, 2, 300)};
  inputs.push_back(sequence("flat", InputUse::Tokens, 3, 300));
  inputs.back().shape = {6};
  inputs.back().perSample = {3};
  auto source = DataSource::parse("1 2 3 4\n5 6 7 8\n", "a", std::nullopt, inputs);
  ASSERT_TRUE(source.ok()) << source.status();
  Batch batch = (*source)->read({0, 1});
  EXPECT_EQ(batch.size(), inputs.size());
  EXPECT_THAT(batch.at("ids")->values, ElementsAre(1, 2, 3, 5, 6, 7));
  EXPECT_THAT(batch.at("labels")->values, ElementsAre(1, 2, 3, 5, 6, 7));
  EXPECT_THAT(batch.at("next")->values, ElementsAre(2, 3, 4, 6, 7, 8));
  EXPECT_THAT(batch.at("attention_mask")->values, ElementsAre(1, 1, 1, 1, 1, 1));
  EXPECT_THAT(batch.at("position_ids")->values, ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_THAT(batch.at("token_type_ids")->values, ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(batch.at("start")->values, ElementsAre(1, 2, 5, 6));
  EXPECT_THAT(batch.at("flat")->values, ElementsAre(1, 2, 3, 5, 6, 7));
  EXPECT_THAT(batch.at("flat")->shape, ElementsAre(6));
}

// A sample of a target that takes the next token has one token more, or, in a row of its own, an end that nothing follows.
TEST(DataSource, TheNextTokenIsOfTheSample) {
  std::vector<ModelInput> inputs = {sequence("ids", InputUse::Tokens, 2, 256), nextTokens("y", 2, 256)};
  auto cut = DataSource::parse("abcdefgh", "a.txt", std::nullopt, inputs);
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ((*cut)->describe(), "a.txt: 2 samples of 3 tokens (text, a byte a token)");
  EXPECT_THAT((*cut)->read({1}).at("ids")->values, ElementsAre('d', 'e'));
  EXPECT_THAT((*cut)->read({1}).at("y")->values, ElementsAre('e', 'f'));
  auto rows = DataSource::parse("1 2\n3 4\n", "a.ids", std::nullopt, inputs);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT((*rows)->read({1}).at("ids")->values, ElementsAre(3, 4));
  EXPECT_THAT((*rows)->read({1}).at("y")->values, ElementsAre(4, -100));
  EXPECT_EQ(refusal("a", "1 2 3 4\n", inputs), "a: line 1 has 4 tokens, a sample takes 3 (or 2)");
}

TEST(DataSource, RefusesModelsThatTokensDontFeed) {
  std::vector<ModelInput> inputs = fourTokens();
  inputs.push_back(sequence("pixels", InputUse::Other, 7));
  EXPECT_EQ(refusal("a.txt", "text", inputs),
            "a.txt: the model takes the input 'pixels' of shape [2, 7], which tokens don't tell; give a .safetensors file with all inputs");
  inputs.back() = sequence("classes", InputUse::Targets, 1, 10);
  inputs.back().shape = {2};
  inputs.back().perSample = {1};
  EXPECT_EQ(refusal("a.txt", "text", inputs),
            "a.txt: the model takes the input 'classes' of shape [2], which tokens don't tell; give a .safetensors file with all inputs");
  inputs.back() = sequence("scale", InputUse::Other, 1);
  inputs.back().shape = {};
  inputs.back().perSample = {};
  EXPECT_EQ(refusal("a.txt", "text", inputs),
            "a.txt: the model takes the input 'scale' of shape [], which tokens don't tell; give a .safetensors file with all inputs");
  EXPECT_EQ(refusal("a.txt", "text", {sequence("m", InputUse::Mask, 4)}),
            "a.txt: the model takes no token ids; give a .safetensors file with all inputs");
}

//===----------------------------------------------------------------------===//
// Formats
//===----------------------------------------------------------------------===//

TEST(DataSource, FormatsHaveNames) {
  for (const char *name : {"text", "ids", "npy", "bin16", "bin32", "safetensors"}) {
    auto format = parseDataFormat(name);
    ASSERT_TRUE(format.ok());
    EXPECT_EQ(toString(*format), name);
  }
  EXPECT_EQ(parseDataFormat("csv").status().message(), "'csv' is no format of data; expected text, ids, npy, bin16, bin32 or safetensors");
}

TEST(DataSource, KnowsFormatsByNameAndContent) {
  std::vector<int64_t> four = {1, 2, 3, 4};
  EXPECT_EQ(refusal("a", "1 2,3\t4", fourTokens()), "a: 1 sample of 4 tokens (ids, a sample on each line)");
  EXPECT_EQ(refusal("a", "1 2 3 x", fourTokens()), "a: 1 sample of 4 tokens (text, a byte a token)");
  EXPECT_EQ(refusal("a", " , , ", fourTokens()), "a: 1 sample of 4 tokens (text, a byte a token)");
  EXPECT_EQ(refusal("a", "1 2 3 4", fourTokens(), DataFormat::Text), "a: 1 sample of 4 tokens (text, a byte a token)");
  EXPECT_EQ(refusal("a.bin", bytesOf<uint32_t>(four), fourTokens()), "a.bin: 1 sample of 4 tokens (bin32)");
  EXPECT_EQ(refusal("a.bin", bytesOf<uint16_t>(four), fourTokens()), "a.bin: 1 sample of 4 tokens (bin16)");
  EXPECT_EQ(refusal("a.npy", npy(npyHeader("<u2", "(4,)"), bytesOf<uint16_t>(four)), fourTokens()),
            "a.npy: 1 sample of 4 tokens (npy of '<u2')");
  EXPECT_EQ(refusal("a.safetensors", tensorsFile({{"ids", stored("I64", {1000, 4})}}), fourTokens()),
            "a.safetensors: 1,000 samples of 1 tensor (safetensors)");
}

TEST(DataSource, RefusesWhatIsNoWholeSample) {
  EXPECT_EQ(refusal("a.txt", "", fourTokens()), "a.txt: is empty, a sample takes 4 tokens");
  EXPECT_EQ(refusal("a.txt", "abc", fourTokens()), "a.txt: has 3 tokens, a sample takes 4");
  EXPECT_EQ(refusal("a.ids", "\n \n", fourTokens(), DataFormat::Ids), "a.ids: has 0 tokens, a sample takes 4");
  EXPECT_EQ(refusal("a.bin", bytesOf<uint16_t>({1, 2, 3}), fourTokens()), "a.bin: has 3 tokens, a sample takes 4");
  EXPECT_EQ(refusal("a.npy", npy(npyHeader("<i8", "(0,)"), ""), fourTokens()), "a.npy: has 0 tokens, a sample takes 4");
  EXPECT_EQ(refusal("a.npy", npy(npyHeader("<i8", "(0, 4)"), ""), fourTokens()), "a.npy: has 0 tokens, a sample takes 4");
}

TEST(DataSource, NamesTheSampleOfATokenBeyondTheVocabulary) {
  EXPECT_EQ(refusal("a.txt", "abcdefg\xE2", fourTokens(128)),
            "a.txt: sample 1 has the byte 0xE2 at position 3, the model's vocabulary has 128 ids");
  EXPECT_EQ(refusal("data.ids", "1 2 3 4\n\n1 2 300 4\n", fourTokens()),
            "data.ids: sample 1 (line 3) has the token 300 at position 2, the model's vocabulary has 256 ids");
  EXPECT_EQ(refusal("a.bin", bytesOf<uint16_t>({1, 2, 3, 4, 5, 256, 7, 8}), fourTokens(), DataFormat::Bin16),
            "a.bin: sample 1 has the token 256 at position 1, the model's vocabulary has 256 ids");
  EXPECT_EQ(refusal("a.npy", npy(npyHeader("<i4", "(2, 4)"), bytesOf<int32_t>({1, 2, 3, 4, 5, 6, 7, -8})), fourTokens()),
            "a.npy: sample 1 has the token -8 at position 3, the model's vocabulary has 256 ids");
  // What is left over isn't used, so it isn't looked at.
  EXPECT_EQ(refusal("a.txt", "abcd\xE2", fourTokens(128)), "a.txt: 1 sample of 4 tokens (text, a byte a token)");
  // The smaller of two vocabularies counts.
  EXPECT_EQ(refusal("a", "5 7 1 1", {sequence("a", InputUse::Tokens, 4, 9), sequence("b", InputUse::Targets, 4, 6)}),
            "a: sample 0 (line 1) has the token 7 at position 1, the model's vocabulary has 6 ids");
}

TEST(DataSource, RefusesLinesOfAnythingElse) {
  auto ids = [](const char *text) { return refusal("a.ids", text, fourTokens(), DataFormat::Ids); };
  EXPECT_EQ(ids("1 2 3 4\n1 2 3\n"), "a.ids: line 2 has 3 tokens, the lines before it 4");
  EXPECT_EQ(ids("1 2 3 4 5\n"), "a.ids: line 1 has 5 tokens, a sample takes 4");
  EXPECT_EQ(ids("1 2 3 4\n1 2 three 4\n"), "a.ids: line 2 has 'three'; expected decimal token ids, separated by spaces, tabs or commas");
  EXPECT_EQ(ids("1 2.5 3 4"), "a.ids: line 1 has '2.5'; expected decimal token ids, separated by spaces, tabs or commas");
  EXPECT_EQ(ids("1 - 3 4"), "a.ids: line 1 has '-'; expected decimal token ids, separated by spaces, tabs or commas");
  EXPECT_EQ(ids("\x01\xff"), "a.ids: line 1 has '\\01\\FF'; expected decimal token ids, separated by spaces, tabs or commas");
  EXPECT_EQ(ids("abcdefghijklmnopqrstuvwxyz"),
            "a.ids: line 1 has 'abcdefghijklmnopqrst...'; expected decimal token ids, separated by spaces, tabs or commas");
  EXPECT_EQ(ids("1 -2 3 4"), "a.ids: sample 0 (line 1) has the token -2 at position 1, the model's vocabulary has 256 ids");
  EXPECT_EQ(ids("1 4294967297 3 4"), "a.ids: sample 0 (line 1) has the token 4294967297 at position 1, the model's vocabulary has 256 ids");
  EXPECT_EQ(ids("99999999999999999999999"),
            "a.ids: sample 0 (line 1) has the token 99999999999999999999... at position 0, the model's vocabulary has 256 ids");
}

TEST(DataSource, TakesLinesAsEditorsEndThem) {
  for (const char *text : {"1 2 3 4\n5 6 7 8\n", "1 2 3 4\n5 6 7 8", "1 2 3 4\r\n5 6 7 8\r\n", "\n1, 2, 3, 4,\n\n\t5\t6\t7\t8  \n\n",
                           "01 02 03 04\n5 6 7 8"}) {
    auto source = DataSource::parse(text, "a", std::nullopt, fourTokens());
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_THAT((*source)->read({0, 1}).at("ids")->values, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  }
}

TEST(DataSource, RefusesBrokenBin) {
  EXPECT_EQ(refusal("a.bin", "abcde", fourTokens()), "a.bin: has 5 bytes, which are no whole number of 16-bit ids");
  EXPECT_EQ(refusal("a.bin", "abcdef", fourTokens(), DataFormat::Bin32), "a.bin: has 6 bytes, which are no whole number of 32-bit ids");
}

TEST(DataSource, ReadsEveryNpyOfWholeNumbers) {
  std::vector<int64_t> numbers = {1, 2, 3, 4, 5, 6, 7, 100};
  std::pair<const char *, std::string> types[] = {{"|u1", bytesOf<uint8_t>(numbers)},  {"<u2", bytesOf<uint16_t>(numbers)},
                                                  {"<u4", bytesOf<uint32_t>(numbers)}, {"<u8", bytesOf<uint64_t>(numbers)},
                                                  {"|i1", bytesOf<int8_t>(numbers)},   {"<i2", bytesOf<int16_t>(numbers)},
                                                  {"<i4", bytesOf<int32_t>(numbers)},  {"<i8", bytesOf<int64_t>(numbers)}};
  for (const auto &[type, data] : types)
    for (char version : {1, 2, 3})
      for (const char *shape : {"(8,)", "(2, 4)"}) {
        std::string file = npy(npyHeader(type, shape), data, version);
        auto source = DataSource::parse(file, "a.npy", std::nullopt, fourTokens());
        ASSERT_TRUE(source.ok()) << source.status();
        EXPECT_THAT((*source)->read({1}).at("ids")->values, ElementsAre(5, 6, 7, 100)) << type;
      }
}

TEST(DataSource, RefusesOtherNpy) {
  auto of = [](const std::string &bytes) { return refusal("a.npy", bytes, fourTokens()); };
  std::string data = bytesOf<int64_t>({1, 2, 3, 4});
  EXPECT_EQ(of("no array here"), "a.npy: doesn't begin as an .npy file does");
  EXPECT_EQ(of("\x93NUMPY"), "a.npy: doesn't begin as an .npy file does");
  EXPECT_EQ(of(npy(npyHeader("<i8", "(4,)"), data, 4)), "a.npy: is of version 4 of .npy, which moai doesn't read; expected 1, 2 or 3");
  EXPECT_EQ(of(npy(npyHeader("<i8", "(4,)"), data).substr(0, 40)),
            "a.npy: the header claims 118 bytes, the file has 30 more; it is cut off");
  for (std::string header : {"", "{", "{'descr': '<i8'}", "[1]", "{'descr': '<i8', 'fortran_order': 1, 'shape': (4,)}",
                             "{'descr': '<i8', 'fortran_order': False, 'shape': (-4,)}", "{'descr': '<i8', 'other': 1}",
                             "{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (4,)}"})
    EXPECT_EQ(of(npy(header, data)), "a.npy: the header is not one that NumPy writes") << header;
  for (std::string type : {">i8", "<f8", "<f2", "|b1", "<U8", "|V8", "|O", "<i3", "", "<", "|i8"})
    EXPECT_EQ(of(npy(npyHeader(type, "(4,)"), data)),
              "a.npy: is an array of '" + type + "'; expected whole numbers of 1, 2, 4 or 8 bytes, little-endian");
  EXPECT_EQ(of(npy(npyHeader("<i8", "(4,)", "True"), data)),
            "a.npy: is in Fortran's order; expected C's, as numpy.ascontiguousarray gives");
  EXPECT_EQ(of(npy(npyHeader("<i8", "()"), data)), "a.npy: has the shape (); expected one dimension, or two with a sample in each row");
  EXPECT_EQ(of(npy(npyHeader("<i8", "(1, 2, 2)"), data)),
            "a.npy: has the shape (1, 2, 2); expected one dimension, or two with a sample in each row");
  EXPECT_EQ(of(npy(npyHeader("<i8", "(5,)"), data)), "a.npy: its shape takes 40 bytes, the file has 32 after the header; it is cut off");
  EXPECT_EQ(of(npy(npyHeader("<i8", "(4611686018427387904, 4)"), data)), "a.npy: has more elements than can be counted");
  EXPECT_EQ(of(npy(npyHeader("<i8", "(2, 2)"), data)), "a.npy: has 2 tokens in a row, a sample takes 4");
}

// Every format of the same tokens gives the same batches and counts as the same data.
TEST(DataSource, FormatsAgree) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20; ++round) {
    int64_t length = 1 + random() % 9, samples = 1 + random() % 40, numIds = 2 + random() % 250;
    std::vector<ModelInput> inputs = {sequence("ids", InputUse::Tokens, length, numIds), nextTokens("y", length, numIds)};
    int64_t perSample = length + 1;
    std::vector<int64_t> tokens(samples * perSample);
    for (int64_t &token : tokens)
      token = random() % numIds;
    std::string lines;
    for (int64_t i = 0; i < samples; ++i)
      lines += absl::StrJoin(llvm::ArrayRef(tokens).slice(i * perSample, perSample), ", ") + "\n";
    std::string flat = absl::StrCat("(", tokens.size(), ",)"), rows = absl::StrCat("(", samples, ", ", perSample, ")");
    std::tuple<const char *, DataFormat, std::string> files[] = {
        {"a.txt", DataFormat::Text, bytesOf<uint8_t>(tokens)},
        {"a.ids", DataFormat::Ids, lines},
        {"a.bin", DataFormat::Bin16, bytesOf<uint16_t>(tokens)},
        {"a.bin", DataFormat::Bin32, bytesOf<uint32_t>(tokens)},
        {"a.npy", DataFormat::Npy, npy(npyHeader("<i4", flat), bytesOf<int32_t>(tokens))},
        {"a.npy", DataFormat::Npy, npy(npyHeader("<u8", rows), bytesOf<uint64_t>(tokens), 2)}};
    std::vector<int64_t> wanted(1 + random() % 8);
    for (int64_t &sample : wanted)
      sample = random() % samples;
    std::vector<double> ids, next;
    for (int64_t sample : wanted)
      for (int64_t i = 0; i < length; ++i) {
        ids.push_back(static_cast<double>(tokens[sample * perSample + i]));
        next.push_back(static_cast<double>(tokens[sample * perSample + i + 1]));
      }
    std::set<uint64_t> fingerprints;
    for (const auto &[name, format, bytes] : files) {
      auto source = DataSource::parse(bytes, name, format, inputs);
      ASSERT_TRUE(source.ok()) << source.status();
      ASSERT_EQ((*source)->numSamples(), samples);
      Batch batch = (*source)->read(wanted);
      EXPECT_EQ(batch.at("ids")->values, ids) << name;
      EXPECT_EQ(batch.at("y")->values, next) << name;
      fingerprints.insert((*source)->fingerprint());
    }
    EXPECT_EQ(fingerprints.size(), 1u);
    tokens[random() % tokens.size()] ^= 1;
    auto changed = DataSource::parse(std::get<2>(files[0]).replace(0, std::string::npos, bytesOf<uint8_t>(tokens)), "a.txt",
                                     DataFormat::Text, {sequence("ids", InputUse::Tokens, length, 256), nextTokens("y", length, 256)});
    ASSERT_TRUE(changed.ok());
    EXPECT_EQ(fingerprints.count((*changed)->fingerprint()), 0u);
  }
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

std::vector<ModelInput> imageInputs() {
  ModelInput pixels = sequence("pixels", InputUse::Other, 3), labels = sequence("labels", InputUse::Targets, 1, 10);
  pixels.type = "F32";
  labels.shape = {2};
  labels.perSample = {1};
  return {pixels, labels};
}

TEST(DataSource, TakesTensorsOfAnyNumberOfSamples) {
  std::vector<ModelInput> inputs = imageInputs();
  inputs.push_back(sequence("scale", InputUse::Other, 1));
  inputs.back().type = "F64";
  inputs.back().shape = {2};
  inputs.back().perSample = {0};
  // Samples along the second dimension, two positions each.
  inputs.push_back(sequence("late", InputUse::Other, 1));
  inputs.back().shape = {2, 4};
  inputs.back().perSample = {0, 2};
  std::string file = tensorsFile({{"input.pixels", stored("BF16", {3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9})},
                                  {"labels", stored("I32", {3}, {0, -100, 9})},
                                  {"scale", stored("F32", {2}, {5, 6})},
                                  {"late", stored("U8", {2, 6}, {0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15})},
                                  {"param.more", stored("F32", {1})}});
  auto source = DataSource::parse(file, "a.safetensors", std::nullopt, inputs);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->describe(), "a.safetensors: 3 samples of 4 tensors (safetensors)");
  Batch batch = (*source)->read({2, 1});
  EXPECT_THAT(batch.at("pixels")->values, ElementsAre(7, 8, 9, 4, 5, 6));
  EXPECT_THAT(batch.at("labels")->values, ElementsAre(9, -100));
  EXPECT_THAT(batch.at("scale")->values, ElementsAre(5, 6));
  EXPECT_THAT(batch.at("late")->values, ElementsAre(4, 5, 2, 3, 14, 15, 12, 13));
  EXPECT_THAT(batch.at("late")->shape, ElementsAre(2, 4));
}

TEST(DataSource, RefusesTensorsThatAreNotTheInputs) {
  auto of = [](StoredTensors tensors) { return refusal("a.safetensors", tensorsFile(tensors), imageInputs()); };
  StoredTensor pixels = stored("F32", {3, 3}), labels = stored("I64", {3});
  EXPECT_EQ(of({{"pixels", pixels}}), "a.safetensors: has no tensor 'input.labels', which the graph needs");
  EXPECT_EQ(of({{"pixels", pixels}, {"labels", labels}, {"input.more", labels}}),
            "a.safetensors: the graph has no input for tensor 'input.more'");
  EXPECT_EQ(of({{"pixels", stored("F32", {3, 4})}, {"labels", labels}}),
            "a.safetensors: tensor 'pixels' has the shape [3, 4], expected [samples, 3]");
  EXPECT_EQ(of({{"input.pixels", stored("F32", {9})}, {"labels", labels}}),
            "a.safetensors: tensor 'input.pixels' has the shape [9], expected [samples, 3]");
  EXPECT_EQ(of({{"pixels", stored("F32", {0, 3})}, {"labels", labels}}),
            "a.safetensors: tensor 'pixels' has the shape [0, 3], expected [samples, 3]");
  EXPECT_EQ(of({{"pixels", stored("F64", {3, 3})}, {"labels", labels}}),
            "a.safetensors: tensor 'pixels' is of type F64, the graph takes F32");
  EXPECT_EQ(of({{"pixels", stored("I64", {3, 3})}, {"labels", labels}}),
            "a.safetensors: tensor 'pixels' is of type I64, the graph takes F32");
  EXPECT_EQ(of({{"pixels", pixels}, {"labels", stored("F32", {3})}}), "a.safetensors: tensor 'labels' is of type F32, the graph takes I64");
  EXPECT_EQ(of({{"pixels", pixels}, {"labels", stored("I64", {4})}}), "a.safetensors: tensor 'labels' holds 4 samples, 'pixels' 3");
  EXPECT_EQ(of({{"pixels", pixels}, {"labels", stored("I64", {3}, {0, -100, 10})}}),
            "a.safetensors: sample 2 of tensor 'labels' has the id 10 at position 0, expected less than 10");
  EXPECT_EQ(of({{"pixels", pixels}, {"labels", stored("I64", {3}, {0, -1, 3})}}),
            "a.safetensors: sample 1 of tensor 'labels' has the id -1 at position 0, expected less than 10");
  EXPECT_EQ(refusal("a.safetensors", tensorsFile({{"ids", stored("I64", {2, 4}, {0, 0, 0, 0, 0, 0, 256, 0})}}), fourTokens()),
            "a.safetensors: sample 1 of tensor 'ids' has the id 256 at position 2, expected less than 256");
  EXPECT_EQ(refusal("a.safetensors", "abc", imageInputs()),
            "a.safetensors: has 3 bytes; expected a .safetensors file, which begins with the length of its header");
}

TEST(DataSource, RefusesInputsThatFilesDontHold) {
  std::vector<ModelInput> inputs = imageInputs();
  inputs.front().perSample = {1, 2};
  EXPECT_EQ(refusal("a.safetensors", tensorsFile({}), inputs),
            "a.safetensors: the model's input 'pixels' has samples along several dimensions, which can't be read from files");
  inputs = {sequence("scale", InputUse::Other, 2)};
  inputs.front().perSample = {0, 0};
  EXPECT_EQ(refusal("a.safetensors", tensorsFile({{"scale", stored("I64", {2, 2})}}), inputs),
            "a.safetensors: the model takes no input of samples");
}

//===----------------------------------------------------------------------===//
// Files and orders
//===----------------------------------------------------------------------===//

TEST(DataSource, OpensFiles) {
  TestFolder folder;
  auto of = [&](const std::string &path) { return DataSource::open(path, std::nullopt, fourTokens()); };
  auto source = of(folder.write("text", std::string(100'000, 'a') + "bcde"));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->describe(), folder.path("text") + ": 25,001 samples of 4 tokens (text, a byte a token)");
  EXPECT_THAT((*source)->read({25'000}).at("ids")->values, ElementsAre('b', 'c', 'd', 'e'));
  EXPECT_EQ(of(folder.path()).status().message(), folder.path() + ": is a directory; expected a file of samples");
  absl::Status missing = of(folder.path("none")).status();
  EXPECT_EQ(missing.message(), folder.path("none") + ": can't be read (No such file or directory)");
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(of(folder.write("empty", "")).status().message(), folder.path("empty") + ": is empty, a sample takes 4 tokens");
}

TEST(SampleOrder, VisitsEachSampleOncePerEpoch) {
  std::vector<std::vector<int64_t>> orders;
  for (uint64_t seed : {0, 1})
    for (int64_t epoch : {0, 1, 7}) {
      SampleOrder order(50, seed, /*shuffle=*/true);
      orders.push_back(order.at(epoch * 50, 50));
      std::vector<int64_t> sorted = orders.back(), expected(50);
      llvm::sort(sorted);
      std::iota(expected.begin(), expected.end(), 0);
      EXPECT_EQ(sorted, expected);
      EXPECT_NE(orders.back(), expected);
    }
  EXPECT_EQ(std::set<std::vector<int64_t>>(orders.begin(), orders.end()).size(), orders.size());
}

TEST(SampleOrder, IsTheSameHoweverItIsAskedFor) {
  std::mt19937_64 random(1);
  for (int64_t samples : {1, 2, 7, 100})
    for (bool shuffle : {false, true}) {
      std::vector<int64_t> whole = SampleOrder(samples, 3, shuffle).at(0, 1000), parts;
      SampleOrder order(samples, 3, shuffle);
      while (parts.size() < whole.size()) {
        auto begin = static_cast<int64_t>(parts.size());
        auto part = order.at(begin, std::min<int64_t>(random() % 30, 1000 - begin));
        parts.insert(parts.end(), part.begin(), part.end());
      }
      EXPECT_EQ(parts, whole);
      EXPECT_EQ(SampleOrder(samples, 3, shuffle).at(500, 9), std::vector<int64_t>(whole.begin() + 500, whole.begin() + 509));
    }
}

// Written down, as checkpoints hold places in it.
TEST(SampleOrder, StaysAsItIs) {
  EXPECT_THAT(SampleOrder(5, 0, false).at(3, 4), ElementsAre(3, 4, 0, 1));
  EXPECT_THAT(SampleOrder(8, 0, true).at(0, 8), ElementsAre(1, 6, 5, 3, 7, 4, 0, 2));
}

// Where a sample lands is as good as uniform.
TEST(SampleOrder, HasNoFavourites) {
  constexpr int64_t kSamples = 10, kEpochs = 20'000;
  SampleOrder order(kSamples, 9, true);
  std::vector<int64_t> counts(kSamples * kSamples);
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    std::vector<int64_t> samples = order.at(epoch * kSamples, kSamples);
    for (int64_t place = 0; place < kSamples; ++place)
      ++counts[place * kSamples + samples[place]];
  }
  double expected = static_cast<double>(kEpochs) / kSamples;
  for (int64_t count : counts)
    EXPECT_NEAR(static_cast<double>(count), expected, 5 * std::sqrt(expected));
}

} // namespace
