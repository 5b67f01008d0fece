//===- RecognizeAttention.cpp - Masks and repeated heads -------------------===//
#include "MaskEvaluator.h"
#include "Recognition.h"

using namespace moai;

namespace {
struct Mask {
  llvm::StringRef kind = "bias";
  int64_t window = 0;
};

/// What a query may attend to, or nothing where the mask is no plain yes or no.
class MaskReader {
public:
  MaskReader(MaskEvaluator &evaluator, const TrainingGraph &graph, ValueId mask)
      : evaluator(evaluator), mask(mask), shape(evaluator.shapeOf(mask)), boolean(graph.values[mask].dtype == DType::Bool) {}

  std::optional<bool> allows(int64_t batch, int64_t head, int64_t query, int64_t key) {
    llvm::SmallVector<int64_t, 4> full{batch, head, query, key}, index;
    for (size_t i = 0; i < shape.size(); ++i)
      index.push_back(std::min(full[full.size() - shape.size() + i], shape[i] - 1));
    auto value = evaluator.at(mask, index);
    if (!value)
      return std::nullopt;
    if (boolean)
      return *value != 0;
    if (*value == 0)
      return true;
    // Frameworks mask with -inf or the smallest number of the type; half precision's is -65504.
    return *value <= -60000 ? std::optional<bool>(false) : std::nullopt;
  }

  /// First and last sample or head, where the mask tells them apart.
  llvm::SmallVector<int64_t, 2> ends(size_t dim) const {
    int64_t size = dim + shape.size() < 4 ? 1 : shape[dim + shape.size() - 4];
    return size == 1 ? llvm::SmallVector<int64_t, 2>{0} : llvm::SmallVector<int64_t, 2>{0, size - 1};
  }

private:
  MaskEvaluator &evaluator;
  ValueId mask;
  llvm::SmallVector<int64_t, 4> shape;
  bool boolean;
};
} // namespace

static bool expected(const Mask &mask, int64_t query, int64_t key) {
  if (mask.kind == "full")
    return true;
  return key <= query && (mask.kind == "causal" || key > query - mask.window);
}

// Long rows are not read whole.
static constexpr int64_t kLongRow = 1 << 16;

// Where a row's allowed keys begin; nothing unless they are one run up to the last key. In long rows the run is taken for
// granted; the samples of `classify` are to tell otherwise.
static std::optional<int64_t> findFirstAllowed(MaskReader &reader, int64_t query, int64_t keys) {
  if (keys > kLongRow) {
    int64_t low = 0, high = keys - 1;
    while (low < high) {
      int64_t middle = low + (high - low) / 2;
      auto allowed = reader.allows(0, 0, query, middle);
      if (!allowed)
        return std::nullopt;
      (*allowed ? high : low) = *allowed ? middle : middle + 1;
    }
    auto allowed = reader.allows(0, 0, query, low);
    return allowed && *allowed ? std::optional<int64_t>(low) : std::nullopt;
  }
  std::optional<int64_t> first;
  for (int64_t key = 0; key < keys; ++key) {
    auto allowed = reader.allows(0, 0, query, key);
    if (!allowed || (!*allowed && first))
      return std::nullopt;
    if (*allowed && !first)
      first = key;
  }
  return first;
}

// The last row of a mask tells which kind it can be; every other row is then checked where the kinds differ: at the
// diagonal, at the window's edge, at both ends, and spread in between. Small masks are checked everywhere.
static Mask classify(MaskReader &reader, int64_t queries, int64_t keys) {
  Mask none;
  if (queries <= 0 || keys <= 0)
    return none;
  std::optional<int64_t> first = findFirstAllowed(reader, queries - 1, keys);
  if (!first)
    return none;
  int64_t firstAllowed = *first;
  Mask guess;
  auto corner = reader.allows(0, 0, 0, keys - 1);
  if (!corner)
    return none;
  if (*corner && firstAllowed == 0)
    guess.kind = "full";
  else if (queries != keys)
    return none;
  else if (firstAllowed == 0)
    guess.kind = "causal";
  else {
    guess.kind = "sliding_window";
    guess.window = keys - firstAllowed;
  }
  bool everywhere = saturatingMultiply(queries, keys) <= 16384;
  llvm::SmallVector<int64_t, 32> rows, columns;
  auto add = [](llvm::SmallVectorImpl<int64_t> &list, int64_t value, int64_t limit) {
    if (value >= 0 && value < limit)
      list.push_back(value);
  };
  for (int64_t row = 0; row < queries; row += everywhere ? 1 : std::max<int64_t>(1, queries / 8))
    add(rows, row, queries);
  for (int64_t row : {int64_t(1), int64_t(2), guess.window - 1, guess.window, guess.window + 1, queries - 1})
    add(rows, row, queries);
  for (int64_t batch : reader.ends(0))
    for (int64_t head : reader.ends(1))
      for (int64_t row : rows) {
        columns.clear();
        for (int64_t key = 0; key < keys; key += everywhere ? 1 : std::max<int64_t>(1, keys / 16))
          columns.push_back(key);
        for (int64_t edge : {int64_t(0), row, row - guess.window, keys - 1})
          for (int64_t offset : {-1, 0, 1})
            add(columns, edge + offset, keys);
        for (int64_t key : columns) {
          auto allowed = reader.allows(batch, head, row, key);
          if (!allowed || *allowed != expected(guess, row, key))
            return none;
        }
      }
  return guess;
}

// x -> unsqueeze -> expand (-> copy) -> reshape, repeating each head in a row.
static ValueId unrepeated(const TrainingGraph &graph, ValueId value) {
  const GraphOp *merge = graph.producerOf(value);
  if (!merge || merge->code != OpCode::Reshape || graph.values[value].dims.size() != 4)
    return kNoValue;
  const GraphOp *expand = graph.producerOf(merge->operands[0]);
  if (expand && expand->code == OpCode::Copy)
    expand = graph.producerOf(expand->operands[0]);
  if (!expand || expand->code != OpCode::Expand)
    return kNoValue;
  const GraphOp *insert = graph.producerOf(expand->operands[0]);
  if (!insert || insert->code != OpCode::Reshape)
    return kNoValue;
  ValueId source = insert->operands[0];
  llvm::ArrayRef<DimId> from = graph.values[source].dims, one = graph.values[expand->operands[0]].dims,
                        wide = graph.values[merge->operands[0]].dims, to = graph.values[value].dims;
  if (from.size() != 4 || one.size() != 5 || wide.size() != 5 || !graph.dims.isOne(one[2]) || from[2] != to[2] || from[3] != to[3] ||
      from[0] != to[0] || one[1] != from[1] || one[3] != from[2] || one[4] != from[3] || wide[0] != one[0] || wide[1] != one[1] ||
      wide[3] != one[3] || wide[4] != one[4])
    return kNoValue;
  return source;
}

namespace {
/// The key or value of an attention op, before its heads were repeated.
struct Narrow {
  ValueId source = kNoValue;
  GraphOp *cast = nullptr; ///< autocast's, after the repetition; null without
};
} // namespace

static Narrow findNarrow(TrainingGraph &graph, ValueId operand, const llvm::DenseMap<ValueId, unsigned> &uses) {
  Narrow narrow;
  if (GraphOp *producer = graph.producerOf(operand); producer && producer->code == OpCode::Cast && uses.lookup(operand) == 1) {
    narrow.cast = producer;
    operand = producer->operands[0];
  }
  narrow.source = unrepeated(graph, operand);
  return narrow;
}

// The narrow tensor takes the repeated one's place; a cast converts it instead.
static void useNarrow(TrainingGraph &graph, ValueId &operand, const Narrow &narrow) {
  if (!narrow.cast) {
    operand = narrow.source;
    return;
  }
  narrow.cast->operands[0] = narrow.source;
  graph.values[operand].dims = graph.values[narrow.source].dims;
}

static void ungroupHeads(TrainingGraph &graph, GraphOp &attention, const llvm::DenseMap<ValueId, unsigned> &uses) {
  Narrow key = findNarrow(graph, attention.operands[1], uses), value = findNarrow(graph, attention.operands[2], uses);
  if (key.source == kNoValue || value.source == kNoValue || graph.values[key.source].dims[1] != graph.values[value.source].dims[1])
    return;
  useNarrow(graph, attention.operands[1], key);
  useNarrow(graph, attention.operands[2], value);
}

void moai::recognizeAttention(TrainingGraph &graph, const DimBinding &planned) {
  // Two samples, so that a mask that differs between samples shows.
  DimBinding binding = planned;
  binding.values[kBatchSymbol] = std::max<int64_t>(2, std::min<int64_t>(planned.values[kBatchSymbol], 2));
  MaskEvaluator evaluator(graph, binding);
  llvm::DenseMap<ValueId, Mask> known;
  llvm::DenseMap<ValueId, unsigned> uses;
  for (const GraphOp &op : graph.ops)
    for (ValueId operand : op.operands)
      ++uses[operand];
  for (GraphOp &op : graph.ops) {
    if (op.code != OpCode::Attention)
      continue;
    ungroupHeads(graph, op, uses);
    ValueId mask = op.operands[3];
    if (mask == kNoValue || !evaluator.isPure(mask) || graph.values[mask].dims.size() > 4 || graph.values[mask].dims.size() < 2)
      continue;
    auto it = known.find(mask);
    if (it == known.end()) {
      MaskReader reader(evaluator, graph, mask);
      llvm::ArrayRef<int64_t> query = evaluator.shapeOf(op.operands[0]), keyShape = evaluator.shapeOf(op.operands[1]);
      it = known.try_emplace(mask, classify(reader, query[2], keyShape[2])).first;
    }
    if (it->second.kind == "bias")
      continue;
    op.kind = it->second.kind;
    op.ints[0] = it->second.window;
    op.operands[3] = kNoValue;
  }
}
