//===- CheckpointWeightsTest.cpp - A model's weights in files --------------===//
#include "moai/Execute/CheckpointWeights.h"
#include "TestFolder.h"
#include "TestModel.h"
#include "moai/Execute/ModelTensors.h"

using namespace moai;

namespace {

StoredTensor numbers(std::vector<double> values, const char *type = "F32") {
  StoredTensor stored{type, Tensor(std::vector<int64_t>{static_cast<int64_t>(values.size())})};
  stored.tensor.values = std::move(values);
  return stored;
}

class CheckpointFiles : public ::testing::Test {
protected:
  void SetUp() override {
    ASSERT_EQ(writeSafetensors(folder.path("one.safetensors"), {{"a", numbers({1, 2})}, {"b", numbers({3})}}), absl::OkStatus());
    ASSERT_EQ(writeSafetensors(folder.path("two.safetensors"), {{"c", numbers({4}, "BF16")}}), absl::OkStatus());
  }
  std::string writeIndex(const std::string &map) {
    return folder.write("model.safetensors.index.json", R"({"metadata":{"total_size":14},"weight_map":)" + map + "}");
  }
  std::string refusal(const std::string &path) {
    auto weights = CheckpointWeights::open(path);
    std::string message = weights.ok() ? "opened" : std::string(weights.status().message());
    for (size_t at; (at = message.find(folder.path() + "/")) != std::string::npos;)
      message.erase(at, folder.path().size() + 1);
    return message;
  }
  TestFolder folder;
};

TEST_F(CheckpointFiles, AreFoundByAnIndex) {
  std::string index = writeIndex(R"({"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"})");
  for (const std::string &path : {index, folder.path()}) {
    auto weights = CheckpointWeights::open(path);
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ(weights->path(), path);
    ASSERT_EQ(weights->entries().size(), 3u);
    EXPECT_EQ(weights->entries().at("a").read().values, (std::vector<double>{1, 2}));
    EXPECT_EQ(weights->entries().at("c").read().values, (std::vector<double>{4}));
    EXPECT_EQ(weights->entries().at("c").type, "BF16");
  }
}

TEST_F(CheckpointFiles, OnlyWhatTheIndexNamesIsThere) {
  auto weights = CheckpointWeights::open(writeIndex(R"({"b":"one.safetensors"})"));
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->entries().size(), 1u);
}

TEST_F(CheckpointFiles, AWholeFileInAFolderIsPreferred) {
  writeIndex("{}");
  ASSERT_EQ(writeSafetensors(folder.path("model.safetensors"), {{"whole", numbers({1})}}), absl::OkStatus());
  auto weights = CheckpointWeights::open(folder.path());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(weights->entries().count("whole"));
}

TEST_F(CheckpointFiles, AreRefusedWithOneSentence) {
  std::string index = folder.path("model.safetensors.index.json");
  EXPECT_EQ(refusal(index), "model.safetensors.index.json: can't be read (No such file or directory)");
  EXPECT_EQ(refusal(folder.path("none.safetensors")), "none.safetensors: can't be read (No such file or directory)");
  EXPECT_EQ(refusal(folder.path()), folder.path() + ": holds neither model.safetensors nor model.safetensors.index.json");
  folder.write("model.safetensors.index.json", "{nonsense");
  EXPECT_EQ(refusal(index), "model.safetensors.index.json: is not JSON; expected the index of a checkpoint");
  for (const char *content : {"[]", "{}", R"({"weight_map":[]})"}) {
    folder.write("model.safetensors.index.json", content);
    EXPECT_EQ(refusal(index), "model.safetensors.index.json: has no weight_map; expected the index of a checkpoint");
  }
  for (std::string shard : {"../one.safetensors", "/one.safetensors", "sub/one.safetensors", "..", ""})
    EXPECT_EQ(refusal(writeIndex("{\"a\":\"" + shard + "\"}")),
              "model.safetensors.index.json: puts tensor 'a' into '" + shard + "'; expected a file beside it");
  EXPECT_EQ(refusal(writeIndex(R"({"a":3})")), "model.safetensors.index.json: puts tensor 'a' into ''; expected a file beside it");
  EXPECT_EQ(refusal(writeIndex(R"({"a":"three.safetensors"})")),
            "three.safetensors: can't be read (No such file or directory), and model.safetensors.index.json names it");
  EXPECT_EQ(refusal(writeIndex(R"({"c":"one.safetensors"})")),
            "model.safetensors.index.json: puts tensor 'c' into 'one.safetensors', which doesn't have it");
  folder.write("one.safetensors", "abc");
  EXPECT_EQ(refusal(writeIndex(R"({"a":"one.safetensors"})")),
            "one.safetensors: has 3 bytes; expected a .safetensors file, which begins with the length of its header, and "
            "model.safetensors.index.json names it");
}

//===----------------------------------------------------------------------===//
// Names and types
//===----------------------------------------------------------------------===//

class CheckpointNames : public ::testing::Test {
protected:
  CheckpointNames() : model(importTrainingGraph("tiny-gpt2", context)) {
    ModelTensors random(*model.module, model.tiedParameters);
    random.fillTheRest(3);
    for (const ModelTensor &tensor : random.all())
      if (tensor.isTrained())
        graph[tensor.name] = {tensor.type, *tensor.tensor};
  }
  // The graph's parameters under other names.
  template <typename Rename> StoredTensors renamed(Rename rename) {
    StoredTensors tensors;
    for (const auto &[name, stored] : graph)
      tensors[rename(name)] = stored;
    return tensors;
  }
  std::string take(const StoredTensors &tensors) {
    ModelTensors taken(*model.module, model.tiedParameters);
    if (absl::Status status = taken.takeWeights(tensors, "w"); !status.ok())
      return std::string(status.message());
    for (const auto &[name, stored] : graph)
      EXPECT_EQ(taken.find(name)->tensor->values, stored.tensor.values) << name;
    return "taken";
  }
  static std::string shortened(llvm::StringRef name) { return name.drop_front(strlen("model.")).str(); }

  TestContext context;
  ImportedModel model;
  StoredTensors graph;
};

TEST_F(CheckpointNames, MayLackOrHaveAPrefix) {
  EXPECT_EQ(take(renamed([](const std::string &name) { return name; })), "taken");
  EXPECT_EQ(take(renamed([](const std::string &name) { return "param." + name; })), "taken");
  EXPECT_EQ(take(renamed(shortened)), "taken");
  EXPECT_EQ(take(renamed([](const std::string &name) { return "module.outer." + name; })), "taken");
}

// transformer.wte.weight and lm_head.weight are one tensor.
TEST_F(CheckpointNames, TiedParametersAreThereOnce) {
  ASSERT_FALSE(model.tiedParameters.empty());
  const auto &[alias, name] = model.tiedParameters.front();
  for (bool isShort : {false, true}) {
    StoredTensors tensors = renamed([&, &alias = alias, &name = name](const std::string &own) {
      const std::string &used = own == name ? alias : own;
      return isShort ? shortened(used) : used;
    });
    EXPECT_EQ(take(tensors), "taken");
  }
}

TEST_F(CheckpointNames, OtherTensorsAreIgnored) {
  StoredTensors tensors = renamed(shortened);
  tensors["more"] = tensors["optimizer.step"] = numbers({1});
  EXPECT_EQ(take(tensors), "taken");
}

TEST_F(CheckpointNames, OneThatIsMissingIsNamed) {
  StoredTensors tensors = renamed(shortened);
  tensors.erase("transformer.ln_f.weight");
  EXPECT_EQ(take(tensors), "w: has no tensor 'param.model.transformer.ln_f.weight', which the graph needs");
  EXPECT_THAT(take({{"x.y", numbers({1})}}), testing::HasSubstr("which the graph needs"));
}

TEST_F(CheckpointNames, ALaterFileReplacesAnEarlierOne) {
  ModelTensors taken(*model.module, model.tiedParameters);
  taken.fillTheRest(7);
  ASSERT_EQ(taken.takeWeights(graph, "w"), absl::OkStatus());
  for (const auto &[name, stored] : graph)
    EXPECT_EQ(taken.find(name)->tensor->values, stored.tensor.values) << name;
}

TEST_F(CheckpointNames, NarrowerTypesAreTaken) {
  for (const char *type : {"BF16", "F16"}) {
    for (auto &[name, stored] : graph) {
      stored.type = type;
      for (double &value : stored.tensor.values)
        value = std::round(value * 64) / 64;
    }
    EXPECT_EQ(take(graph), "taken");
  }
  graph.begin()->second.type = "F64";
  EXPECT_EQ(take(graph), "w: tensor '" + graph.begin()->first + "' is of type F64, the graph takes F32");
}

TEST(CheckpointTypes, StandForWiderOnes) {
  const char *floats[] = {"BF16", "F16", "F32", "F64"};
  for (int from = 0; from < 4; ++from)
    for (int to = 0; to < 4; ++to)
      EXPECT_EQ(mayStandFor(floats[from], floats[to]), from == to || (to >= 2 && from < to)) << floats[from] << " as " << floats[to];
  for (const char *integer : {"BOOL", "I8", "U8", "I64", "U32"}) {
    EXPECT_TRUE(mayStandFor(integer, "I64"));
    EXPECT_FALSE(mayStandFor(integer, "F64"));
    EXPECT_FALSE(mayStandFor("F32", integer));
  }
}

} // namespace
