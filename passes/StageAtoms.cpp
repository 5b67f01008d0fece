//===- StageAtoms.cpp - What a cut into stages chooses between -------------===//
#include "StageAtoms.h"
#include "CandidateInput.h"
#include "moai/IR/BlockCall.h"
#include <cmath>

using namespace mlir;
using namespace moai;

/// Bytes of a parameter on each device of its stage, as DistributeParams will lay it out.
static int64_t countStateBytes(SymTensorType type, const ParallelConfig &config, const OptimizerPolicy &policy, const DimBinding &binding) {
  int64_t elements = type.countElements(binding), exported = elements ? type.countBytes(binding) / elements : 0;
  const PrecisionPolicy &precision = policy.precision;
  int64_t copy = widthOf(config.lowPrecisionParams ? precision.parameter : FloatKind::Float32, exported);
  int64_t master = widthOf(precision.master, exported), states = policy.numStates() * widthOf(precision.state, exported);
  int64_t gradient = config.numMicroBatches > 1 ? widthOf(precision.accumulation, exported) : exported;
  if (config.zero > 0)
    return elements * (master + states) / config.dataParallel + elements * (copy + gradient);
  return elements * (states + master + (master == copy ? 0 : copy) + gradient);
}

namespace {

/// Reads the atoms off @step.
class AtomCollector {
public:
  AtomCollector(func::FuncOp step, const OpLabels &labels, const ParallelConfig &config, CandidateAnalyses &analyses)
      : step(step), labels(labels), config(config), policy(getOptimizer(step->getParentOfType<ModuleOp>())), cost(analyses.cost),
        memory(analyses.memory) {}
  FailureOr<std::vector<Atom>> collect();

private:
  void addForward(Operation *op, int64_t position);
  int64_t stateBytes(Operation *op);
  bool isKept(Value value) const;
  void addSaved(Operation *op, size_t first);
  int64_t peakOf(Operation *op) const;
  void addCrossing();

  func::FuncOp step;
  const OpLabels &labels;
  const ParallelConfig &config;
  OptimizerPolicy policy;
  GraphCost &cost;
  MemoryWalk &memory;
  std::vector<Atom> atoms;
  SmallVector<Operation *> forwardOps;
  DenseMap<int64_t, size_t> byPosition;     ///< number of the first atom
  DenseMap<Operation *, size_t> firstAtoms; ///< of forward ops
};

} // namespace

static int64_t countAtoms(Operation *op) { return BlockCall(op) ? BlockCall(op).count() : 1; }

int64_t AtomCollector::stateBytes(Operation *op) {
  int64_t total = 0;
  for (Value operand : op->getOperands())
    if (auto argument = dyn_cast<BlockArgument>(operand))
      if (step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole) == "parameter")
        total += countStateBytes(tensorOf(argument), config, policy, memory.bytes.getBinding());
  return total;
}

// Whether the backward reads the value, or a stack that a repeat returns of what it was handed.
bool AtomCollector::isKept(Value value) const {
  return llvm::any_of(value.getUses(), [&](OpOperand &use) {
    Operation *user = use.getOwner();
    if (labels.isBackward(user))
      return true;
    auto repeat = dyn_cast<RepeatOp>(user);
    if (!repeat || repeat.getCarries()[use.getOperandNumber()] < 0)
      return false;
    const FunctionMemory &callee = memory.ofCallee(repeat);
    return llvm::any_of(repeat.getResults(), [&](OpResult result) {
      return callee.results[result.getResultNumber()].front().argument == static_cast<int>(use.getOperandNumber()) && isKept(result);
    });
  });
}

// What each iteration of a repeat leaves for the backward is the same, but for what it hands on.
void AtomCollector::addSaved(Operation *op, size_t first) {
  BlockCall call = op;
  int64_t count = countAtoms(op);
  for (OpResult result : op->getResults()) {
    unsigned number = result.getResultNumber();
    int64_t size = call ? memory.ofCallee(op).ownBytes(number) : memory.bytes(result);
    if (isKept(result))
      for (int64_t i = isa<StackType>(result.getType()) ? 0 : count - 1; i < count; ++i)
        atoms[first + i].savedBytes += size;
    if (!call.repeat())
      continue;
    // The other iterations' results are the next ones' operands.
    for (OpResult stack : op->getResults()) {
      int argument = memory.ofCallee(op).results[stack.getResultNumber()].front().argument;
      if (argument >= 0 && call.carry(argument) == static_cast<int64_t>(number) && isKept(stack))
        for (int64_t i = 0; i + 1 < count; ++i)
          atoms[first + i].savedBytes += size;
    }
  }
}

int64_t AtomCollector::peakOf(Operation *op) const {
  if (BlockCall(op))
    return memory.ofCallee(op).peak;
  int64_t peak = 0;
  for (Value result : op->getResults())
    peak += memory.bytes(result);
  return peak;
}

void AtomCollector::addForward(Operation *op, int64_t position) {
  size_t first = firstAtoms[op] = byPosition[position] = atoms.size();
  forwardOps.push_back(op);
  int64_t state = stateBytes(op);
  for (int64_t i = 0, e = countAtoms(op); i < e; ++i) {
    atoms.push_back({position + i});
    atoms.back().stateBytes = state;
  }
  addSaved(op, first);
}

// Values alive across each boundary, from where they are made to their last forward use.
void AtomCollector::addCrossing() {
  for (Operation *op : forwardOps) {
    size_t first = firstAtoms[op], last = first + countAtoms(op) - 1;
    BlockCall call = op;
    for (OpResult result : op->getResults()) {
      int64_t size = memory.bytes(result);
      if (call.repeat() && !isa<StackType>(result.getType()))
        for (size_t i = first; i < last; ++i)
          atoms[i].crossingBytes += size;
      size_t lastUse = last;
      for (OpOperand &use : result.getUses())
        if (auto it = firstAtoms.find(use.getOwner()); it != firstAtoms.end()) {
          bool isHandedOn = BlockCall(use.getOwner()).getOperation() && BlockCall(use.getOwner()).carry(use.getOperandNumber()) >= 0;
          lastUse = std::max(lastUse, isHandedOn ? it->second : it->second + countAtoms(use.getOwner()) - 1);
        }
      for (size_t i = last; i < lastUse; ++i)
        atoms[i].crossingBytes += size;
    }
  }
}

FailureOr<std::vector<Atom>> AtomCollector::collect() {
  for (Operation &op : step.getBody().front().without_terminator()) {
    int64_t position = labels.position(&op);
    if (position < 0)
      continue;
    bool isBackward = labels.isBackward(&op);
    if (!isBackward)
      addForward(&op, position);
    auto it = byPosition.find(position);
    if (it == byPosition.end())
      return op.emitOpError() << "belongs to position " << position << ", where no forward op is";
    int64_t count = countAtoms(&op), picoseconds = std::llround(cost.seconds(&op) / static_cast<double>(count) * 1e12);
    for (size_t i = it->second; i < it->second + count; ++i) {
      Atom &atom = atoms[i];
      atom.isBlock |= isBackward && BlockCall(&op);
      atom.picoseconds += picoseconds;
      // A recomputed block lives until its backward is done.
      atom.transientBytes = isBackward ? atom.transientBytes + peakOf(&op) : std::max<int64_t>(0, peakOf(&op) - atom.savedBytes);
    }
  }
  addCrossing();
  return std::move(atoms);
}

FailureOr<std::vector<Atom>> moai::collectAtoms(func::FuncOp step, const OpLabels &labels, const ParallelConfig &config,
                                                CandidateAnalyses &analyses) {
  return AtomCollector(step, labels, config, analyses).collect();
}
