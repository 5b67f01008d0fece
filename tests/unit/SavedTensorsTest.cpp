// What the forward saves for the backward, storage by storage, against PyTorch's own list: tests/Inputs/saved_tensors.json.
#include "moai/Passes/SavedTensors.h"
#include "TestModel.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include <set>

using namespace moai;

namespace {

/// A storage as both sides can tell it.
struct Row {
  std::string role, type;
  int64_t bytes;
  std::vector<std::vector<int64_t>> shapes;              ///< of the storage, and of the views that are saved of it
  std::set<std::pair<std::string, std::string>> holders; ///< module, and the kind of forward op

  /// Whether this is the storage that PyTorch, which tells the shape of one view, lists.
  bool isListedAs(const Row &other) const;
  std::string str() const;
};

std::string Row::str() const {
  std::string text = role + " " + type + " " + std::to_string(bytes) + " [";
  for (int64_t size : shapes.front())
    text += " " + std::to_string(size);
  text += " ]";
  for (const auto &[module, kind] : holders)
    text += " " + module + ":" + kind;
  return text;
}

// Whether two shapes differ by dimensions of 1, by leading dimensions that are one in the other (a linear layer's rows are batch times
// sequence), or by being transposed (PyTorch tells the shape of the view that was saved).
bool isSameShape(std::vector<int64_t> a, std::vector<int64_t> b) {
  for (auto *shape : {&a, &b})
    llvm::erase(*shape, 1);
  for (auto [longer, shorter] : {std::pair(&a, &b), {&b, &a}})
    while (longer->size() > shorter->size() && longer->size() > 1) {
      (*longer)[1] *= (*longer)[0];
      longer->erase(longer->begin());
    }
  llvm::sort(a);
  llvm::sort(b);
  return a == b;
}

bool Row::isListedAs(const Row &other) const {
  return role == other.role && type == other.type && bytes == other.bytes && holders == other.holders &&
         llvm::any_of(shapes, [&](const std::vector<int64_t> &shape) { return isSameShape(shape, other.shapes.front()); });
}

// PyTorch's node, as the op of the dialect whose gradient it is.
std::string kindOf(llvm::StringRef node) {
  std::string kind = node.take_front(node.find("Backward")).lower();
  if (kind == "mm" || kind == "addmm")
    return "moai.contract";
  if (kind == "scaleddotproductflashattentionforcpu")
    return "moai.attention";
  if (kind == "nativelayernorm")
    return "moai.normalize layer_norm";
  if (kind == "logsoftmax" || kind == "nllloss")
    return "moai.cross_entropy";
  return kind == "embedding" ? "moai.embedding" : "moai.elementwise " + kind;
}

// The test graphs have all layers, the list two.
bool isLaterLayer(llvm::StringRef module) {
  for (llvm::StringRef list : {"layers.", "h."})
    if (size_t at = module.find("." + list.str()); at != llvm::StringRef::npos) {
      unsigned number;
      llvm::StringRef rest = module.drop_front(at + 1 + list.size());
      return !rest.consumeInteger(10, number) && number >= 2;
    }
  return false;
}

std::vector<Row> found(const std::string &graph, int64_t batch, int64_t sequence) {
  TestContext context;
  ImportOptions options;
  options.batch = batch;
  options.sequenceLength = sequence;
  ImportedModel model = importTrainingGraph(graph, context, options);
  std::vector<Row> rows;
  for (const SavedTensor &tensor : listSavedTensors(*model.module, model.summary.binding)) {
    Row row{tensor.role, tensor.type, tensor.bytes, {tensor.shape}, {}};
    for (const SavedTensorUser &holder : tensor.holders) {
      // The exported module wraps the model to compute its loss.
      llvm::StringRef module = holder.module;
      module.consume_front("model.");
      if (isLaterLayer(module))
        continue;
      row.holders.insert({module.empty() ? "(loss)" : module.str(), holder.op});
      row.shapes.push_back(holder.shape);
    }
    if (!row.holders.empty())
      rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Row> expected(const llvm::json::Array &storages) {
  std::vector<Row> rows;
  for (const llvm::json::Value &value : storages) {
    const llvm::json::Array &columns = *value.getAsArray();
    Row row{columns[0].getAsString()->str(), columns[1].getAsString()->str(), *columns[2].getAsInteger(), {{}}, {}};
    for (const llvm::json::Value &size : *columns[3].getAsArray())
      row.shapes.front().push_back(*size.getAsInteger());
    std::string slot;
    for (const llvm::json::Value &holder : *columns[4].getAsArray()) {
      slot = (*holder.getAsArray())[1].getAsString()->str();
      row.holders.insert({(*holder.getAsArray())[0].getAsString()->str(), kindOf(slot)});
    }
    // A layer norm's mean and deviation are one storage here, and its bias, which its gradient doesn't read, is only held.
    if (slot == "NativeLayerNormBackward.bias" || slot == "NativeLayerNormBackward.result2")
      continue;
    if (slot == "NativeLayerNormBackward.result1") {
      row.bytes *= 2;
      row.shapes.front().back() *= 2;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

TEST(SavedTensors, ArePyTorchsOneByOne) {
  auto buffer = llvm::MemoryBuffer::getFile(MOAI_TEST_INPUTS "/saved_tensors.json");
  ASSERT_TRUE(buffer) << buffer.getError().message();
  auto json = llvm::json::parse((*buffer)->getBuffer());
  ASSERT_TRUE(static_cast<bool>(json));
  size_t runs = 0;
  for (const llvm::json::Value &value : *json->getAsObject()->getArray("runs")) {
    const llvm::json::Object &run = *value.getAsObject();
    std::string graph = run.getString("graph")->str();
    SCOPED_TRACE(testing::Message() << graph << ", batch " << *run.getInteger("batch") << ", sequence " << *run.getInteger("sequence"));
    std::vector<Row> rows = found(graph, *run.getInteger("batch"), *run.getInteger("sequence"));
    for (const Row &row : expected(*run.getArray("storages"))) {
      auto match = llvm::find_if(rows, [&](const Row &other) { return other.isListedAs(row); });
      EXPECT_NE(match, rows.end()) << "only PyTorch saves " << row.str();
      if (match != rows.end())
        rows.erase(match);
    }
    for (const Row &row : rows)
      ADD_FAILURE() << "only moai saves " << row.str();
    ++runs;
  }
  EXPECT_EQ(runs, 6u);
}

} // namespace
