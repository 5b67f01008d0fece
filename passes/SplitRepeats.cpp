//===- SplitRepeats.cpp - Repeats cut in two or more -----------------------===//
#include "SplitRepeats.h"
#include "OpLabels.h"

using namespace mlir;
using namespace moai;

namespace {

class Splitter {
public:
  Splitter(func::FuncOp step, const RepeatCuts &cuts) : step(step), body(step.getBody().front()), cuts(cuts), labels(step.getContext()) {}
  void run();

private:
  SmallVector<int64_t> boundsOf(RepeatOp repeat) const;
  void splitArgument(BlockArgument argument, ArrayRef<int64_t> bounds);
  void split(RepeatOp repeat, ArrayRef<int64_t> bounds);
  void expandResults();
  void eraseArguments();

  func::FuncOp step;
  Block &body;
  const RepeatCuts &cuts;
  OpLabels labels;
  llvm::DenseMap<Value, SmallVector<Value>> pieces; ///< of each stack that is cut
  SmallVector<Attribute> argumentAttributes;
};

} // namespace

static ArrayAttr slice(ArrayAttr all, int64_t begin, int64_t end) {
  return ArrayAttr::get(all.getContext(), all.getValue().slice(begin, end - begin));
}

// First elements of the pieces, and the end.
SmallVector<int64_t> Splitter::boundsOf(RepeatOp repeat) const {
  auto it = cuts.find(labels.position(repeat));
  if (it == cuts.end())
    return {};
  SmallVector<int64_t> bounds{0};
  bounds.append(it->second);
  bounds.push_back(repeat.getCount());
  return bounds;
}

void Splitter::splitArgument(BlockArgument argument, ArrayRef<int64_t> bounds) {
  NamedAttrList attributes(cast<DictionaryAttr>(argumentAttributes[argument.getArgNumber()]));
  auto names = dyn_cast_if_present<ArrayAttr>(attributes.get(attrs::kName));
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    unsigned number = argument.getArgNumber() + 1 + i;
    Type type = StackType::get(bounds[i + 1] - bounds[i], tensorOf(argument));
    pieces[argument].push_back(body.insertArgument(number, type, argument.getLoc()));
    if (names)
      attributes.set(attrs::kName, slice(names, bounds[i], bounds[i + 1]));
    argumentAttributes.insert(argumentAttributes.begin() + number, attributes.getDictionary(step.getContext()));
  }
}

void Splitter::split(RepeatOp repeat, ArrayRef<int64_t> bounds) {
  size_t count = bounds.size() - 1;
  for (Value operand : repeat.getOperands())
    if (isa<StackType>(operand.getType()) && !pieces.count(operand))
      splitArgument(cast<BlockArgument>(operand), bounds);
  for (Value result : repeat.getResults())
    if (isa<StackType>(result.getType()))
      pieces[result].resize(count);
  OpBuilder builder(repeat);
  RepeatOp before;
  for (size_t i = 0; i < count; ++i) {
    size_t piece = repeat.getReversed() ? count - 1 - i : i;
    int64_t begin = bounds[piece], end = bounds[piece + 1];
    SmallVector<Value> operands;
    for (auto [operand, carry] : llvm::zip(repeat.getOperands(), repeat.getCarries()))
      operands.push_back(isa<StackType>(operand.getType()) ? pieces[operand][piece]
                         : before && carry >= 0            ? before.getResult(carry)
                                                           : operand);
    SmallVector<Type> types;
    for (Type type : repeat.getResultTypes())
      types.push_back(isa<StackType>(type) ? Type(StackType::get(end - begin, tensorOf(type))) : type);
    ArrayAttr names = repeat.getBlocksAttr();
    auto made = builder.create<RepeatOp>(repeat.getLoc(), types, operands, repeat.getCallee(), end - begin, repeat.getCarries(),
                                         names ? slice(names, begin, end) : names, repeat.getReversed());
    made->setDiscardableAttrs(repeat->getDiscardableAttrDictionary());
    labels.setPosition(made, labels.position(repeat) + begin);
    for (auto [result, own] : llvm::zip(repeat.getResults(), made.getResults()))
      if (isa<StackType>(result.getType()))
        pieces[result][piece] = own;
    before = made;
  }
  for (auto [result, last] : llvm::zip(repeat.getResults(), before.getResults()))
    if (!isa<StackType>(result.getType()))
      result.replaceAllUsesWith(last);
}

// Of the step: a gradient's pieces stand in its place.
void Splitter::expandResults() {
  Operation *end = body.getTerminator();
  SmallVector<Value> results;
  SmallVector<Attribute> attributes;
  for (auto [number, value] : llvm::enumerate(end->getOperands())) {
    auto it = pieces.find(value);
    if (it == pieces.end())
      results.push_back(value);
    else
      results.append(it->second);
    DictionaryAttr own = step.getResultAttrDict(number);
    attributes.resize(results.size(), own ? own : DictionaryAttr::get(step.getContext()));
  }
  end->setOperands(results);
  step.setFunctionType(FunctionType::get(step.getContext(), body.getArgumentTypes(), end->getOperandTypes()));
  step.setAllArgAttrs(argumentAttributes);
  step.setAllResultAttrs(attributes);
}

void Splitter::eraseArguments() {
  BitVector replaced(body.getNumArguments());
  for (BlockArgument argument : body.getArguments())
    if (pieces.count(argument))
      replaced.set(argument.getArgNumber());
  step.eraseArguments(replaced);
}

void Splitter::run() {
  for (unsigned i = 0; i < step.getNumArguments(); ++i) {
    DictionaryAttr attributes = step.getArgAttrDict(i);
    argumentAttributes.push_back(attributes ? attributes : DictionaryAttr::get(step.getContext()));
  }
  SmallVector<RepeatOp> whole;
  for (auto repeat : llvm::make_early_inc_range(step.getOps<RepeatOp>()))
    if (SmallVector<int64_t> bounds = boundsOf(repeat); !bounds.empty()) {
      split(repeat, bounds);
      whole.push_back(repeat);
    }
  if (whole.empty())
    return;
  expandResults();
  for (RepeatOp repeat : llvm::reverse(whole))
    repeat->erase();
  eraseArguments();
}

void moai::splitRepeats(func::FuncOp step, const RepeatCuts &cuts) {
  if (!cuts.empty())
    Splitter(step, cuts).run();
}
