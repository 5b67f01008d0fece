//===- FuseAttention.cpp - Attention that an export wrote out --------------===//
#include "Recognition.h"
#include <cmath>

using namespace moai;

namespace {
/// A scaled factor of the scores: q * scale, or k transposed * scale.
struct Factor {
  ValueId tensor = kNoValue; ///< [batch, heads, positions, width]
  double scale = 1;
};

/// Matches backwards from the product with the values.
class AttentionMatcher {
public:
  AttentionMatcher(TrainingGraph &graph) : graph(graph), users(graph.values.size()) {
    for (auto [index, op] : llvm::enumerate(graph.ops))
      for (ValueId operand : op.operands)
        if (operand != kNoValue)
          users[operand].push_back(static_cast<int32_t>(index));
    for (ValueId output : graph.outputs)
      users[output].push_back(-1);
  }

  bool fuse(size_t productIndex);

private:
  void dropCopyOfHeads(ValueId result);
  const GraphOp *producer(ValueId value, OpCode code) const {
    const GraphOp *op = graph.producerOf(value);
    return op && op->code == code ? op : nullptr;
  }
  const GraphOp *elementwise(ValueId value, llvm::StringRef kind, size_t operands, size_t numbers = 0) const {
    const GraphOp *op = producer(value, OpCode::Elementwise);
    return op && op->kind == kind && op->operands.size() == operands && op->floats.size() == numbers ? op : nullptr;
  }
  bool isFull(ValueId value, double number) const {
    const GraphOp *op = producer(value, OpCode::Generate);
    return op && op->kind == "full" && op->floats.size() == 1 && op->floats[0] == number;
  }
  size_t rank(ValueId value) const { return graph.values[value].dims.size(); }
  bool sameDim(ValueId a, size_t i, ValueId b, size_t j) const {
    return graph.dims.canonical(graph.values[a].dims[i]) == graph.dims.canonical(graph.values[b].dims[j]);
  }
  ValueId stripCopies(ValueId value) const;
  ValueId unmerged(ValueId value) const;
  Factor stripScale(ValueId value) const;
  Factor matchKey(ValueId value) const;
  const GraphOp *matchProbabilities(ValueId value) const;
  bool isSafeSoftmax(const GraphOp &where, const GraphOp &softmax) const;
  ValueId widenedFrom(ValueId value, DType type) const;
  std::optional<size_t> onlyUser(ValueId value) const {
    return users[value].size() == 1 && users[value][0] >= 0 ? std::optional<size_t>(users[value][0]) : std::nullopt;
  }

  TrainingGraph &graph;
  std::vector<llvm::SmallVector<int32_t, 2>> users; ///< ops that read each value; -1 for an output
};
} // namespace

static bool areInts(llvm::ArrayRef<int64_t> found, std::initializer_list<int64_t> expected) { return found == llvm::ArrayRef(expected); }

// Copies, and expansions to the shape a tensor has already.
ValueId AttentionMatcher::stripCopies(ValueId value) const {
  for (const GraphOp *op = graph.producerOf(value); op; op = graph.producerOf(value)) {
    bool sameShape = op->code == OpCode::Copy || op->code == OpCode::Expand;
    for (size_t i = 0; sameShape && i < rank(value); ++i)
      sameShape = rank(op->operands[0]) == rank(value) && sameDim(value, i, op->operands[0], i);
    if (!sameShape)
      break;
    value = op->operands[0];
  }
  return value;
}

// [batch, heads, m, n] behind its merged form [batch * heads, m, n].
ValueId AttentionMatcher::unmerged(ValueId value) const {
  if (rank(value) == 3) {
    const GraphOp *merge = producer(value, OpCode::Reshape);
    if (!merge || rank(merge->operands[0]) != 4 || !sameDim(value, 1, merge->operands[0], 2) || !sameDim(value, 2, merge->operands[0], 3))
      return kNoValue;
    value = merge->operands[0];
  }
  return rank(value) == 4 ? stripCopies(value) : kNoValue;
}

Factor AttentionMatcher::stripScale(ValueId value) const {
  if (const GraphOp *scaled = elementwise(value, "mul", 1, 1))
    return {stripCopies(scaled->operands[0]), scaled->floats[0]};
  return {value, 1};
}

// k -> transpose -> scale, or scale ahead of the transpose.
Factor AttentionMatcher::matchKey(ValueId value) const {
  Factor outer = stripScale(value);
  const GraphOp *transpose = producer(outer.tensor, OpCode::Transpose);
  if (!transpose || !areInts(transpose->ints, {0, 1, 3, 2}))
    return {};
  Factor inner = stripScale(stripCopies(transpose->operands[0]));
  return {inner.tensor, outer.scale * inner.scale};
}

// where(not any(scores != -inf), 0, softmax(scores)): rows without any key to attend to become zero.
bool AttentionMatcher::isSafeSoftmax(const GraphOp &where, const GraphOp &softmax) const {
  const GraphOp *none = elementwise(where.operands[0], "not", 1);
  const GraphOp *any = none ? producer(none->operands[0], OpCode::Reduce) : nullptr;
  const GraphOp *kept = any && any->kind == "any" && areInts(any->ints, {3}) ? elementwise(any->operands[0], "not", 1) : nullptr;
  const GraphOp *masked = kept ? elementwise(kept->operands[0], "eq", 1, 1) : nullptr;
  return masked && masked->operands[0] == softmax.operands[0] && masked->floats[0] == -std::numeric_limits<double>::infinity() &&
         isFull(where.operands[1], 0) && onlyUser(any->operands[0]) && onlyUser(kept->operands[0]);
}

// The softmax over keys behind the weights of the values.
const GraphOp *AttentionMatcher::matchProbabilities(ValueId value) const {
  const GraphOp *where = elementwise(value, "where", 3);
  ValueId probabilities = where ? where->operands[2] : value;
  const GraphOp *softmax = producer(probabilities, OpCode::Softmax);
  if (!softmax || !areInts(softmax->ints, {3, 0}) || !onlyUser(probabilities) || (where && !isSafeSoftmax(*where, *softmax)))
    return nullptr;
  // Only the softmax and its guard may read the scores.
  return users[softmax->operands[0]].size() == (where ? 2 : 1) ? softmax : nullptr;
}

// The tensor of the given type ahead of its cast.
ValueId AttentionMatcher::widenedFrom(ValueId value, DType type) const {
  const GraphOp *cast = producer(value, OpCode::Cast);
  return cast && graph.values[cast->operands[0]].dtype == type ? cast->operands[0] : kNoValue;
}

static bool isProduct(const GraphOp &op) {
  return op.code == OpCode::Contract && (op.kind == "abk,akn->abn" || op.kind == "abck,abkn->abcn") && op.operands[2] == kNoValue;
}

bool AttentionMatcher::fuse(size_t productIndex) {
  const GraphOp &product = graph.ops[productIndex];
  ValueId weights = unmerged(product.operands[0]), value = unmerged(product.operands[1]);
  if (weights == kNoValue || value == kNoValue)
    return false;
  const GraphOp *softmax = matchProbabilities(weights);
  if (!softmax)
    return false;
  // scores + mask
  ValueId scores = softmax->operands[0], mask = kNoValue;
  if (const GraphOp *masked = elementwise(scores, "add", 2)) {
    scores = masked->operands[0];
    mask = masked->operands[1];
    if (rank(scores) != 4 || !onlyUser(scores))
      return false;
  }
  const GraphOp *split = producer(scores, OpCode::Reshape);
  const GraphOp *scoring = graph.producerOf(split ? split->operands[0] : scores);
  if (!scoring || !isProduct(*scoring) || !onlyUser(scoring->results[0]))
    return false;
  ValueId left = unmerged(scoring->operands[0]), right = unmerged(scoring->operands[1]);
  if (left == kNoValue || right == kNoValue)
    return false;
  Factor query = stripScale(left), key = matchKey(right);
  if (key.tensor == kNoValue)
    return false;

  // [batch * heads, queries, width] -> [batch, heads, queries, width] -> the type of the model
  ValueId result = product.results[0];
  size_t last = productIndex;
  auto follow = [&](OpCode code) {
    auto user = onlyUser(result);
    if (!user || graph.ops[*user].code != code)
      return false;
    last = *user;
    result = graph.ops[*user].results[0];
    return true;
  };
  if (rank(result) == 3 && !follow(OpCode::Reshape))
    return false;
  ValueId tensors[3] = {query.tensor, key.tensor, value};
  DType narrow = graph.values[result].dtype;
  if (auto user = onlyUser(result); user && graph.ops[*user].code == OpCode::Cast)
    narrow = graph.values[graph.ops[*user].results[0]].dtype;
  if (narrow != graph.values[result].dtype && llvm::all_of(tensors, [&](ValueId v) { return widenedFrom(v, narrow) != kNoValue; })) {
    for (ValueId &tensor : tensors)
      tensor = widenedFrom(tensor, narrow);
    follow(OpCode::Cast);
  }
  auto [q, k, v] = tensors;
  for (ValueId tensor : {q, k, v, result})
    if (rank(tensor) != 4)
      return false;
  bool fits = sameDim(q, 0, k, 0) && sameDim(q, 1, k, 1) && sameDim(q, 3, k, 3) && sameDim(q, 0, result, 0) && sameDim(q, 1, result, 1) &&
              sameDim(q, 2, result, 2) && sameDim(v, 3, result, 3) && sameDim(q, 2, scores, 2) && sameDim(k, 2, scores, 3);
  for (size_t i : {0, 1, 2})
    fits &= sameDim(k, i, v, i);
  if (!fits)
    return false;

  GraphValue rows;
  rows.dims.assign(graph.values[result].dims.begin(), graph.values[result].dims.end() - 1);
  rows.producer = static_cast<int32_t>(last);
  graph.values.push_back(std::move(rows));
  GraphOp &op = graph.ops[last];
  llvm::StringRef path = op.path;
  op = GraphOp();
  op.code = OpCode::Attention;
  op.kind = mask == kNoValue ? "full" : "bias";
  op.operands = {q, k, v, mask};
  op.results = {result, static_cast<ValueId>(graph.values.size() - 1)};
  op.ints = {0};
  op.floats = {query.scale * key.scale, 0};
  op.path = path;
  dropCopyOfHeads(result);
  return true;
}

// A fused kernel writes the heads of a position next to each other, so that joining them needs no copy.
void AttentionMatcher::dropCopyOfHeads(ValueId result) {
  auto transpose = onlyUser(result);
  if (!transpose || graph.ops[*transpose].code != OpCode::Transpose || !areInts(graph.ops[*transpose].ints, {0, 2, 1, 3}))
    return;
  ValueId joined = graph.ops[*transpose].results[0];
  auto copy = onlyUser(joined);
  if (!copy || graph.ops[*copy].code != OpCode::Copy)
    return;
  for (int32_t user : users[graph.ops[*copy].results[0]])
    if (user >= 0)
      std::replace(graph.ops[user].operands.begin(), graph.ops[user].operands.end(), graph.ops[*copy].results[0], joined);
}

unsigned moai::fuseAttention(TrainingGraph &graph) {
  AttentionMatcher matcher(graph);
  unsigned fused = 0;
  for (size_t i = 0; i < graph.ops.size(); ++i)
    if (isProduct(graph.ops[i]))
      fused += matcher.fuse(i);
  return fused;
}
