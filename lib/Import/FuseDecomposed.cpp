//===- FuseDecomposed.cpp - Linear layers, silu and losses written out -----===//
#include "Recognition.h"

using namespace moai;

namespace {
/// Rebuilds what the decompositions of an export with a backward took apart. What an op stood for takes the place of the
/// last op of its parts; the parts die if nothing else reads them.
class Fuser {
public:
  explicit Fuser(TrainingGraph &graph) : graph(graph), users(graph.values.size()) {
    for (auto [index, op] : llvm::enumerate(graph.ops))
      for (ValueId operand : op.operands)
        if (operand != kNoValue)
          users[operand].push_back(index);
  }

  void fuseLinear(GraphOp &product);
  void fuseSilu(GraphOp &mul);
  void fuseCrossEntropy(GraphOp &quotient);

private:
  const GraphOp *producer(ValueId value, OpCode code) const {
    const GraphOp *op = graph.producerOf(value);
    return op && op->code == code ? op : nullptr;
  }
  const GraphOp *elementwise(ValueId value, llvm::StringRef kind) const {
    const GraphOp *op = producer(value, OpCode::Elementwise);
    return op && op->kind == kind ? op : nullptr;
  }
  const GraphOp *sumOfAll(ValueId value) const {
    const GraphOp *op = producer(value, OpCode::Reduce);
    return op && op->kind == "sum" && graph.values[value].dims.empty() ? op : nullptr;
  }
  llvm::ArrayRef<DimId> dims(ValueId value) const { return graph.values[value].dims; }
  bool isFull(ValueId value, double number) const {
    const GraphOp *op = producer(value, OpCode::Generate);
    return op && op->kind == "full" && op->floats.size() == 1 && op->floats[0] == number;
  }
  GraphOp *onlyUser(ValueId value, OpCode code) const {
    return users[value].size() == 1 && graph.ops[users[value][0]].code == code ? &graph.ops[users[value][0]] : nullptr;
  }
  std::optional<int64_t> ignoredTarget(ValueId isCounted, ValueId target) const;
  void become(GraphOp &op, OpCode code, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands);

  TrainingGraph &graph;
  std::vector<llvm::SmallVector<size_t, 2>> users;
};
} // namespace

void Fuser::become(GraphOp &op, OpCode code, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands) {
  GraphOp fused;
  fused.code = code;
  fused.kind = kind;
  fused.operands.assign(operands.begin(), operands.end());
  fused.results = op.results;
  fused.path = op.path;
  op = std::move(fused);
}

// view -> mm with a transposed weight -> view is a linear layer.
void Fuser::fuseLinear(GraphOp &product) {
  if (product.code != OpCode::Contract || product.kind != "ak,kn->an")
    return;
  ValueId input = product.operands[0], weight = product.operands[1], bias = product.operands[2];
  const GraphOp *transpose = producer(weight, OpCode::Transpose);
  if (transpose)
    weight = transpose->operands[0];
  const GraphOp *merge = producer(input, OpCode::Reshape);
  GraphOp *split = onlyUser(product.results[0], OpCode::Reshape);
  if (merge && split) {
    llvm::ArrayRef<DimId> from = dims(merge->operands[0]), to = dims(split->results[0]);
    if (from.size() == 3 && to.size() == 3 && from.drop_back() == to.drop_back() && from.back() == dims(input)[1] &&
        to.back() == dims(product.results[0])[1])
      return become(*split, OpCode::Contract, transpose ? "abk,nk->abn" : "abk,kn->abn", {merge->operands[0], weight, bias});
  }
  if (transpose)
    become(product, OpCode::Contract, "ak,nk->an", {input, weight, bias});
}

// x * sigmoid(x), perhaps in a wider type than the model's.
void Fuser::fuseSilu(GraphOp &mul) {
  if (mul.code != OpCode::Elementwise || mul.kind != "mul" || mul.operands.size() != 2)
    return;
  ValueId x = mul.operands[0];
  const GraphOp *sigmoid = elementwise(mul.operands[1], "sigmoid");
  if (!sigmoid || sigmoid->operands[0] != x || !onlyUser(mul.operands[1], OpCode::Elementwise))
    return;
  const GraphOp *widened = producer(x, OpCode::Cast);
  GraphOp *narrowed = onlyUser(mul.results[0], OpCode::Cast);
  if (widened && narrowed && graph.values[widened->operands[0]].dtype == graph.values[narrowed->results[0]].dtype)
    become(*narrowed, OpCode::Elementwise, "silu", {widened->operands[0]});
  else
    become(mul, OpCode::Elementwise, "silu", {x});
}

// target != ignored
std::optional<int64_t> Fuser::ignoredTarget(ValueId isCounted, ValueId target) const {
  const GraphOp *ne = elementwise(isCounted, "ne");
  if (!ne || ne->operands.size() != 1 || ne->operands[0] != target || ne->floats.size() != 1)
    return std::nullopt;
  return static_cast<int64_t>(ne->floats[0]);
}

// sum(where(counted, -log_softmax(logits)[target], 0)) / sum(counted) is the mean cross entropy.
void Fuser::fuseCrossEntropy(GraphOp &quotient) {
  if (quotient.code != OpCode::Elementwise || quotient.kind != "div" || quotient.operands.size() != 2)
    return;
  const GraphOp *total = sumOfAll(quotient.operands[0]), *widened = producer(quotient.operands[1], OpCode::Cast);
  const GraphOp *count = widened ? sumOfAll(widened->operands[0]) : nullptr;
  const GraphOp *where = total ? elementwise(total->operands[0], "where") : nullptr;
  if (!where || !count || !isFull(where->operands[2], 0))
    return;
  const GraphOp *negated = elementwise(where->operands[1], "neg");
  const GraphOp *squeeze = negated ? producer(negated->operands[0], OpCode::Reshape) : nullptr;
  const GraphOp *gather = squeeze ? producer(squeeze->operands[0], OpCode::Gather) : nullptr;
  const GraphOp *softmax = gather && gather->kind == "gather" ? producer(gather->operands[0], OpCode::Softmax) : nullptr;
  const GraphOp *column = softmax ? producer(gather->operands[1], OpCode::Reshape) : nullptr;
  const GraphOp *safe = column ? elementwise(column->operands[0], "where") : nullptr;
  if (!safe || softmax->ints[0] != 1 || !softmax->ints[1] || !isFull(safe->operands[2], 0))
    return;
  ValueId logits = softmax->operands[0], target = safe->operands[1];
  auto ignored = ignoredTarget(where->operands[0], target);
  if (!ignored || ignoredTarget(safe->operands[0], target) != ignored || ignoredTarget(count->operands[0], target) != ignored ||
      dims(logits).size() != 2 || dims(target).size() != 1)
    return;
  GraphValue logProbabilities = graph.values[softmax->results[0]], counted;
  counted.dtype = logProbabilities.dtype;
  logProbabilities.producer = counted.producer = graph.values[quotient.results[0]].producer;
  become(quotient, OpCode::CrossEntropy, "mean", {logits, target});
  quotient.ints = {*ignored};
  quotient.floats = {0};
  for (GraphValue *value : {&logProbabilities, &counted}) {
    quotient.results.push_back(static_cast<ValueId>(graph.values.size()));
    graph.values.push_back(std::move(*value));
  }
}

void moai::fuseDecomposed(TrainingGraph &graph) {
  Fuser fuser(graph);
  for (GraphOp &op : graph.ops) {
    fuser.fuseLinear(op);
    fuser.fuseSilu(op);
    fuser.fuseCrossEntropy(op);
  }
}
