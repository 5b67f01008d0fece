//===- BatchFlow.cpp - What splitting the batch makes of each value --------===//
#include "moai/IR/BatchFlow.h"

using namespace mlir;
using namespace moai;

static const Dim &samples() {
  static const Dim symbol = Dim::symbol(kBatchSymbol);
  return symbol;
}

bool BatchState::operator==(const BatchState &o) const {
  return kind == o.kind && sums == o.sums && means == o.means && invariants == o.invariants && dim == o.dim && outer == o.outer &&
         inner == o.inner && isInputOnly == o.isInputOnly && wholeBatch == o.wholeBatch && mixer == o.mixer;
}

static bool holdsSamples(Type type) {
  return llvm::any_of(tensorOf(type).getShape(), [](const Dim &dim) { return dim.degreeIn(kBatchSymbol) > 0; });
}

static BatchState mixed(Operation *op) {
  BatchState state;
  state.kind = BatchKind::Mixed;
  state.mixer = op;
  return state;
}

// Samples are the outermost part of the only dimension that counts them.
static BatchState stateOfArgument(BlockArgument argument, StringRef role) {
  BatchState state;
  state.isInputOnly = llvm::is_contained({"input", "label", "constant", "buffer"}, role);
  auto shape = tensorOf(argument).getShape();
  if (!holdsSamples(argument.getType()))
    return state;
  state.kind = BatchKind::Mixed;
  if (llvm::count_if(shape, [](const Dim &dim) { return dim.degreeIn(kBatchSymbol) > 0; }) != 1)
    return state;
  for (auto [index, dim] : llvm::enumerate(shape))
    if (auto each = dim.dividedBy(samples()); each && dim.degreeIn(kBatchSymbol) == 1) {
      state.kind = BatchKind::BySample;
      state.dim = index;
      state.inner = *each;
    }
  return state;
}

//===----------------------------------------------------------------------===//
// Samples within factors
//===----------------------------------------------------------------------===//

namespace {
/// The factor that samples are in, which is (outer, b, inner).
struct SampleFactor {
  unsigned number;
  Dim outer, inner;

  bool operator!=(const SampleFactor &o) const { return number != o.number || outer != o.outer || inner != o.inner; }
};
} // namespace

// Of a dimension that is (outer, b, inner) and is made of factors; nothing if samples reach over several of them.
static std::optional<SampleFactor> locate(const OpFactors &op, ArrayRef<unsigned> dim, const BatchState &state) {
  for (unsigned i = 0; i < dim.size(); ++i) {
    auto outer = state.outer.dividedBy(sizeOf(op, dim.take_front(i)));
    auto inner = state.inner.dividedBy(sizeOf(op, dim.drop_front(i + 1)));
    if (outer && inner && *outer * samples() * *inner == op.factors[dim[i]].size)
      return SampleFactor{dim[i], *outer, *inner};
  }
  return std::nullopt;
}

// Where the factor puts samples in a value that has it.
static BatchState placeIn(const OpFactors &op, const ValueFactors &value, unsigned dim, const SampleFactor &factor) {
  BatchState state;
  state.kind = BatchKind::BySample;
  state.dim = dim;
  ArrayRef<unsigned> factors = value[dim];
  unsigned at = llvm::find(factors, factor.number) - factors.begin();
  state.outer = sizeOf(op, factors.take_front(at)) * factor.outer;
  state.inner = factor.inner * sizeOf(op, factors.drop_front(at + 1));
  return state;
}

//===----------------------------------------------------------------------===//
// One op
//===----------------------------------------------------------------------===//

namespace {
/// What an op makes of the states of its operands.
class Transfer {
public:
  Transfer(Operation *op, ArrayRef<BatchState> operands) : op(op), operands(operands), results(op->getNumResults()) {}

  SmallVector<BatchState> run();

private:
  bool runWithoutSamples(const OpFactors &factors);
  bool runBySample(const OpFactors &factors);
  bool runTerms(const OpFactors &factors);
  bool settle(const OpFactors &factors, unsigned result, const SampleFactor &factor);
  bool takeWholeBatch();
  bool apply();
  bool isBySample(unsigned operand) const { return operands[operand].kind == BatchKind::BySample; }

  Operation *op;
  SmallVector<BatchState> operands, results;
};
} // namespace

// Nothing but what is equal for every sample: a result that counts samples is spread over them, if it may be.
bool Transfer::runWithoutSamples(const OpFactors &factors) {
  for (auto [result, value] : llvm::enumerate(op->getResults())) {
    if (!holdsSamples(value.getType()))
      continue;
    bool isPlaced = false;
    for (auto [dim, list] : llvm::enumerate(factors.results[result]))
      for (unsigned number : list) {
        const Factor &factor = factors.factors[number];
        auto each = factor.size.dividedBy(samples());
        if (factor.size.degreeIn(kBatchSymbol) == 0)
          continue;
        if (isPlaced || !each || factor.kind != FactorKind::Map || each->degreeIn(kBatchSymbol) > 0)
          return false;
        isPlaced = true;
        results[result] = placeIn(factors, factors.results[result], dim, {number, 1, *each});
      }
    if (!isPlaced)
      return false;
  }
  return true;
}

// What parts of the samples' factor leave of a result.
bool Transfer::settle(const OpFactors &factors, unsigned result, const SampleFactor &factor) {
  BatchState &state = results[result];
  const Factor &split = factors.factors[factor.number];
  if (auto dim = findFactor(factors.results[result], factor.number)) {
    state = placeIn(factors, factors.results[result], *dim, factor);
    return true;
  }
  if (split.kind == FactorKind::Map)
    return !holdsSamples(op->getResult(result).getType());
  bool isCounted = split.rule == rules::kCounted;
  state.kind = BatchKind::Terms;
  state.means = split.kind == FactorKind::Mean;
  state.sums = split.kind == FactorKind::Sum || isCounted;
  // A mean over rows that count adds up once it is divided by the number of them all.
  if (isCounted && result == 0) {
    if (!operands[1].isInputOnly)
      return false;
    state.wholeBatch.push_back(op->getResults().back());
  }
  return true;
}

// All samples must be in the same factor, one that parts make whole.
bool Transfer::runBySample(const OpFactors &factors) {
  std::optional<SampleFactor> factor;
  for (auto [index, state] : llvm::enumerate(operands)) {
    if (state.kind == BatchKind::Invariant)
      continue;
    auto own = state.kind == BatchKind::BySample ? locate(factors, factors.operands[index][state.dim], state) : std::nullopt;
    if (!own || (factor && *own != *factor))
      return false;
    factor = own;
  }
  const Factor &split = factors.factors[factor->number];
  bool isKnown =
      split.kind == FactorKind::Map || split.kind == FactorKind::Sum || split.kind == FactorKind::Mean || split.rule == rules::kCounted;
  for (unsigned result = 0; isKnown && result < results.size(); ++result)
    isKnown = settle(factors, result, *factor);
  return isKnown;
}

// Terms pass where the op is linear in all of them together; what else it is linear in joins them as a term.
bool Transfer::runTerms(const OpFactors &factors) {
  auto isTerm = [&](unsigned operand) { return operands[operand].kind == BatchKind::Terms; };
  for (const auto &group : factors.linear) {
    BatchState joined;
    joined.kind = BatchKind::Terms;
    bool fits = true;
    for (unsigned i = 0; i < operands.size(); ++i) {
      bool isInGroup = llvm::is_contained(group, i);
      fits &= isTerm(i) ? isInGroup : operands[i].kind == BatchKind::Invariant;
      joined.sums |= isTerm(i) && operands[i].sums;
      joined.means |= isTerm(i) && operands[i].means;
      joined.invariants |= isTerm(i) ? operands[i].invariants : isInGroup;
    }
    if (!fits || llvm::any_of(op->getResultTypes(), holdsSamples))
      continue;
    for (auto [state, value] : llvm::zip(results, op->getResults()))
      if (isFloating(tensorOf(value).getElementType()))
        state = joined;
    return true;
  }
  return false;
}

bool Transfer::apply() {
  auto has = [&](BatchKind kind) { return llvm::any_of(operands, [&](const BatchState &state) { return state.kind == kind; }); };
  auto factored = dyn_cast<FactorOpInterface>(op);
  results.assign(op->getNumResults(), BatchState());
  if (has(BatchKind::Mixed))
    return false;
  if (!has(BatchKind::BySample) && !has(BatchKind::Terms) && !llvm::any_of(op->getResultTypes(), holdsSamples))
    return true;
  if (!factored)
    return false;
  OpFactors factors = factored.getFactors();
  return has(BatchKind::BySample) ? runBySample(factors) : has(BatchKind::Terms) ? runTerms(factors) : runWithoutSamples(factors);
}

// Takes what inputs alone decide, and what has no samples any more, for that of the whole batch. Whether there was any.
bool Transfer::takeWholeBatch() {
  bool hasAny = false;
  for (auto [state, value] : llvm::zip(operands, op->getOperands())) {
    bool isPart = state.kind == BatchKind::Terms || state.kind == BatchKind::Mixed;
    if (!isPart || !state.isInputOnly || holdsSamples(value.getType()))
      continue;
    state = BatchState();
    state.isInputOnly = true;
    state.wholeBatch = {value};
    hasAny = true;
  }
  return hasAny;
}

SmallVector<BatchState> Transfer::run() {
  Operation *mixer = nullptr;
  for (const BatchState &state : operands)
    mixer = mixer ? mixer : state.mixer;
  if (!apply() && !(takeWholeBatch() && apply()))
    results.assign(op->getNumResults(), mixed(mixer ? mixer : op));
  for (BatchState &result : results) {
    result.isInputOnly = llvm::all_of(operands, [](const BatchState &state) { return state.isInputOnly; });
    SmallVector<Value, 1> own = std::move(result.wholeBatch);
    result.wholeBatch.clear();
    for (const BatchState &state : operands)
      for (Value value : state.wholeBatch)
        if (!llvm::is_contained(result.wholeBatch, value))
          result.wholeBatch.push_back(value);
    result.wholeBatch.append(own);
  }
  if (isa<CrossEntropyOp>(op)) // how many labels count is up to them alone
    results.back().isInputOnly = operands[1].isInputOnly;
  return results;
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

BatchFlow::BatchFlow(func::FuncOp step) {
  SmallVector<BatchState> arguments;
  for (BlockArgument argument : step.getArguments()) {
    auto role = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole);
    arguments.push_back(stateOfArgument(argument, role ? role.getValue() : ""));
  }
  follow(step, arguments);
}

SmallVector<BatchState> BatchFlow::follow(func::FuncOp function, ArrayRef<BatchState> arguments) {
  for (auto [argument, state] : llvm::zip(function.getArguments(), arguments))
    states[argument] = state;
  auto statesOf = [&](OperandRange values) {
    SmallVector<BatchState> found;
    for (Value value : values)
      found.push_back(states[value]);
    return found;
  };
  auto module = function->getParentOfType<ModuleOp>();
  for (Operation &op : function.getBody().front().without_terminator()) {
    SmallVector<BatchState> operands = statesOf(op.getOperands()), results;
    auto call = dyn_cast<func::CallOp>(op);
    auto callee = call ? module.lookupSymbol<func::FuncOp>(call.getCallee()) : func::FuncOp();
    if (auto repeat = dyn_cast<RepeatOp>(op))
      results = followRepeat(repeat, operands);
    else
      results = callee ? follow(callee, operands) : Transfer(&op, operands).run();
    for (auto [result, state] : llvm::zip(op.getResults(), results))
      states[result] = state;
  }
  return statesOf(function.getBody().front().getTerminator()->getOperands());
}

// Until an iteration changes nothing. All elements of a stack are alike.
SmallVector<BatchState> BatchFlow::followRepeat(RepeatOp repeat, ArrayRef<BatchState> operands) {
  auto callee = repeat->getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(repeat.getCallee());
  SmallVector<BatchState> arguments(operands), results;
  for (int64_t i = 0; i < static_cast<int64_t>(repeat.getCount()); ++i) {
    results = follow(callee, arguments);
    SmallVector<BatchState> next = arguments;
    for (auto [operand, result] : llvm::enumerate(repeat.getCarries()))
      if (result >= 0)
        next[operand] = results[result];
    if (next == arguments)
      break;
    arguments = std::move(next);
  }
  return results;
}
