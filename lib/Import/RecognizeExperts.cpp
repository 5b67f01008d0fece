//===- RecognizeExperts.cpp - Routing, dispatch, combine; clean-up ---------===//
#include "Recognition.h"
#include "llvm/ADT/Hashing.h"

using namespace moai;

namespace {
struct Routing {
  ValueId choices = kNoValue, sortIndices = kNoValue;
  ValueId order = kNoValue, inverse = kNoValue, offsets = kNoValue;
  int64_t count = 1;
};
} // namespace

static const GraphOp *skipCasts(const TrainingGraph &graph, ValueId value) {
  const GraphOp *op = graph.producerOf(value);
  while (op && (op->code == OpCode::Cast || op->code == OpCode::Copy))
    op = graph.producerOf(op->operands[0]);
  return op;
}

// offsets = cumsum(histogram(sorted expert numbers)), sorted = sort(flatten(choices)).
static std::optional<Routing> findRouting(const TrainingGraph &graph, ValueId offsets) {
  const GraphOp *sum = skipCasts(graph, offsets);
  if (!sum || sum->code != OpCode::Scan || sum->kind != "cumsum")
    return std::nullopt;
  const GraphOp *histogram = skipCasts(graph, sum->operands[0]);
  if (!histogram || histogram->code != OpCode::Histogram)
    return std::nullopt;
  const GraphOp *sort = skipCasts(graph, histogram->operands[0]);
  if (!sort || sort->code != OpCode::Sort || sort->ints[1] != 0)
    return std::nullopt;
  const GraphOp *flatten = skipCasts(graph, sort->operands[0]);
  if (!flatten || flatten->code != OpCode::Reshape || graph.values[flatten->operands[0]].dims.size() != 2)
    return std::nullopt;
  Routing routing;
  routing.choices = flatten->operands[0];
  routing.sortIndices = sort->results[1];
  routing.offsets = offsets;
  DimId count = graph.values[routing.choices].dims[1];
  if (!graph.dims.dim(count).isConstant())
    return std::nullopt;
  routing.count = graph.dims.dim(count).constant();
  return routing;
}

// scatter(empty, sortIndices, arange): where each flat position went.
static bool isInverse(const TrainingGraph &graph, ValueId value, const Routing &routing) {
  const GraphOp *op = graph.producerOf(value);
  if (!op)
    return false;
  if (op->code == OpCode::Sort) // argsort of the order
    return op->operands[0] == routing.sortIndices && op->results[1] == value;
  if (op->code != OpCode::Scatter || op->operands.size() != 3 || op->operands[1] != routing.sortIndices)
    return false;
  const GraphOp *numbers = graph.producerOf(op->operands[2]);
  return numbers && numbers->code == OpCode::Generate && numbers->kind == "arange";
}

static bool isRowGather(const GraphOp &op) {
  return op.code == OpCode::Gather && op.operands.size() == 2 && (op.kind == "index" || op.kind == "index_select") && op.ints.size() == 1 &&
         op.ints[0] == 0;
}

void moai::recognizeExperts(TrainingGraph &graph) {
  std::vector<Routing> routings;
  llvm::DenseMap<ValueId, unsigned> byOffsets, byOrder;
  for (const GraphOp &op : graph.ops)
    if (op.code == OpCode::ExpertMatmul && !byOffsets.count(op.operands[2]))
      if (auto routing = findRouting(graph, op.operands[2])) {
        byOffsets[op.operands[2]] = routings.size();
        byOrder[routing->sortIndices] = routings.size();
        routings.push_back(*routing);
      }
  if (routings.empty())
    return;

  llvm::DenseMap<ValueId, unsigned> inverseOf;
  for (const GraphOp &op : graph.ops)
    if (op.code == OpCode::Scatter || op.code == OpCode::Sort)
      for (ValueId result : op.results)
        for (auto [index, routing] : llvm::enumerate(routings))
          if (isInverse(graph, result, routing))
            inverseOf[result] = index;

  // Rebuild the list with a route after each choice's producer, and dispatch and combine in place of gathers and sums.
  std::vector<GraphOp> old;
  old.swap(graph.ops);
  llvm::DenseMap<ValueId, ValueId> replaced;
  auto append = [&](GraphOp op) {
    for (ValueId result : op.results)
      graph.values[result].producer = static_cast<int32_t>(graph.ops.size());
    graph.ops.push_back(std::move(op));
  };
  auto makeRoute = [&](Routing &routing, const GraphOp &after) {
    auto create = [&](DType dtype, llvm::ArrayRef<DimId> dims) {
      GraphValue value;
      value.dtype = dtype;
      value.dims.assign(dims.begin(), dims.end());
      graph.values.push_back(value);
      return static_cast<ValueId>(graph.values.size() - 1);
    };
    llvm::SmallVector<DimId, 4> rows(graph.values[routing.sortIndices].dims), experts(graph.values[routing.offsets].dims);
    GraphOp route;
    route.code = OpCode::Route;
    route.operands = {routing.choices};
    route.path = after.path;
    routing.order = create(DType::I64, rows);
    routing.inverse = create(DType::I64, rows);
    ValueId offsets = create(DType::I32, experts);
    route.results = {routing.order, routing.inverse, offsets};
    append(route);
    replaced[routing.offsets] = offsets;
    replaced[routing.sortIndices] = routing.order;
    routing.offsets = offsets;
  };
  auto makeRows = [&](OpCode code, ValueId input, const Routing &routing, const GraphOp &at, ValueId result) {
    GraphOp op;
    op.code = code;
    op.operands = {input, routing.order, routing.inverse};
    op.results = {result};
    op.ints = {routing.count};
    op.path = at.path;
    append(op);
  };

  // producerOf() speaks of the list being built; patterns are matched against the old one.
  llvm::DenseMap<ValueId, const GraphOp *> producers;
  for (const GraphOp &op : old)
    for (ValueId result : op.results)
      producers[result] = &op;
  auto producer = [&](ValueId value) -> const GraphOp * {
    auto it = producers.find(value);
    return it == producers.end() ? nullptr : it->second;
  };
  for (size_t position = 0; position < old.size(); ++position) {
    GraphOp op = old[position];
    bool rewritten = false;
    // Dispatch: rows of the tokens, index = order / choices.
    if (isRowGather(op)) {
      const GraphOp *divide = producer(op.operands[1]);
      if (divide && divide->code == OpCode::Elementwise && divide->kind == "floor_divide" && divide->operands.size() == 1 &&
          byOrder.count(divide->operands[0])) {
        Routing &routing = routings[byOrder[divide->operands[0]]];
        if (!divide->floats.empty() && divide->floats[0] == static_cast<double>(routing.count)) {
          auto it = replaced.find(op.operands[0]);
          makeRows(OpCode::Dispatch, it == replaced.end() ? op.operands[0] : it->second, routing, op, op.results[0]);
          rewritten = true;
        }
      }
    }
    // Combine: gather by the inverse, view as [tokens, choices, width], sum over the choices.
    if (op.code == OpCode::Reduce && op.kind == "sum" && op.ints.size() == 1 && op.ints[0] == 1 && !op.moreInts[0]) {
      const GraphOp *view = producer(op.operands[0]);
      const GraphOp *gather = view && view->code == OpCode::Reshape ? producer(view->operands[0]) : nullptr;
      if (gather && isRowGather(*gather) && inverseOf.count(gather->operands[1]) && graph.values[op.operands[0]].dims.size() == 3) {
        Routing &routing = routings[inverseOf[gather->operands[1]]];
        if (graph.dims.dim(graph.values[op.operands[0]].dims[1]).isConstant(routing.count)) {
          auto it = replaced.find(gather->operands[0]);
          makeRows(OpCode::Combine, it == replaced.end() ? gather->operands[0] : it->second, routing, op, op.results[0]);
          rewritten = true;
        }
      }
    }
    if (!rewritten) {
      for (ValueId &operand : op.operands) {
        auto it = replaced.find(operand);
        if (it != replaced.end())
          operand = it->second;
        auto inverse = inverseOf.find(operand);
        if (inverse != inverseOf.end() && routings[inverse->second].inverse != kNoValue)
          operand = routings[inverse->second].inverse;
      }
      append(op);
    }
    for (ValueId result : op.results)
      for (Routing &routing : routings)
        if (result == routing.choices && routing.order == kNoValue)
          makeRoute(routing, op);
  }
}

void moai::removeDeadOps(TrainingGraph &graph) {
  std::vector<bool> used(graph.values.size());
  for (ValueId output : graph.outputs)
    used[output] = true;
  for (size_t i = graph.ops.size(); i-- > 0;) {
    GraphOp &op = graph.ops[i];
    op.dead = llvm::none_of(op.results, [&](ValueId result) { return used[result]; });
    if (!op.dead)
      for (ValueId operand : op.operands)
        if (operand != kNoValue)
          used[operand] = true;
  }
}

void moai::mergeConstants(TrainingGraph &graph) {
  llvm::DenseMap<ValueId, ValueId> replaced;
  std::vector<size_t> kept;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    GraphOp &op = graph.ops[i];
    for (ValueId &operand : op.operands) {
      auto it = replaced.find(operand);
      if (it != replaced.end())
        operand = it->second;
    }
    bool parameterCast = op.code == OpCode::Cast && isParameter(graph.values[op.operands[0]].role);
    bool generator = op.code == OpCode::Generate && op.kind != "random" && op.kind != "empty";
    if (!parameterCast && !generator)
      continue;
    bool merged = false;
    for (size_t j : kept) {
      const GraphOp &other = graph.ops[j];
      const GraphValue &a = graph.values[op.results[0]], &b = graph.values[other.results[0]];
      if (other.code == op.code && other.kind == op.kind && other.operands == op.operands && other.floats == op.floats &&
          a.dtype == b.dtype && a.dims == b.dims) {
        replaced[op.results[0]] = other.results[0];
        merged = true;
        break;
      }
    }
    if (!merged && generator)
      kept.push_back(i);
    else if (!merged && parameterCast)
      kept.push_back(i);
  }
  for (ValueId &output : graph.outputs)
    if (auto it = replaced.find(output); it != replaced.end())
      output = it->second;
}
