//===- PartitionStages.cpp - Assigns ops to pipeline stages ----------------===//
#include "Config.h"
#include "moai/CostModel/GraphCost.h"
#include "moai/IR/Storage.h"
#include "moai/Passes/Passes.h"
#include "moai/Passes/Pipelines.h"
#include "llvm/ADT/MapVector.h"
#include <cmath>

namespace moai {
#define GEN_PASS_DEF_PARTITIONSTAGES
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {

/// A forward op that depends on parameters, with the backward ops that belong to it.
struct Atom {
  Operation *op;
  int64_t picoseconds = 0;    ///< forward, backward and recomputation
  int64_t parameterBytes = 0; ///< parameters that it reads
  int64_t crossingBytes = 0;  ///< forward values needed after it
};

/// How good a split is, most important first.
struct Score {
  int64_t slowest = 0, largest = 0, traffic = 0;
  bool operator<(const Score &o) const { return std::tie(slowest, largest, traffic) < std::tie(o.slowest, o.largest, o.traffic); }
};

struct PartitionStagesPass : public moai::impl::PartitionStagesBase<PartitionStagesPass> {
  using PartitionStagesBase::PartitionStagesBase;
  explicit PartitionStagesPass(GraphCost *cost) : cost(cost) {}
  void runOnOperation() override;

private:
  LogicalResult collectAtoms(func::FuncOp step, const ParallelConfig &config, GraphCost &cost);
  /// First atom of each stage.
  SmallVector<size_t> split(size_t stages) const;
  void labelOps(func::FuncOp step, ArrayRef<size_t> starts);
  void replicateInactive(func::FuncOp step);
  void separateTied(func::FuncOp step);
  void insertTransfers(func::FuncOp step, int64_t stages);
  static int64_t stageOf(Operation *op) {
    auto stage = op->getAttrOfType<IntegerAttr>(attrs::kStage);
    return stage ? stage.getInt() : -1;
  }
  static bool isBackward(Operation *op) { return op->hasAttr(attrs::kPhase); }

  GraphCost *cost = nullptr;
  std::vector<Atom> atoms;
};

} // namespace

LogicalResult PartitionStagesPass::collectAtoms(func::FuncOp step, const ParallelConfig &config, GraphCost &cost) {
  atoms.clear();
  ByteCounts bytes(getBinding(step->getParentOp()));
  DenseMap<int64_t, size_t> byPosition;
  for (Operation &op : step.getBody().front().without_terminator()) {
    auto position = op.getAttrOfType<IntegerAttr>(attrs::kPosition);
    if (!position)
      continue;
    if (!isBackward(&op)) {
      byPosition[position.getInt()] = atoms.size();
      atoms.push_back({&op, 0, 0, 0});
      for (Value operand : op.getOperands())
        if (auto argument = dyn_cast<BlockArgument>(operand))
          if (step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole) == "parameter")
            atoms.back().parameterBytes += bytes(operand);
    }
    auto it = byPosition.find(position.getInt());
    if (it == byPosition.end())
      return op.emitOpError() << "belongs to position " << position.getInt() << ", where no forward op is";
    double seconds = cost.seconds(&op);
    if (!isBackward(&op) && config.recomputation == Recomputation::Full && isa<func::CallOp>(op))
      seconds *= 2;
    atoms[it->second].picoseconds += std::llround(seconds * 1e12);
  }
  // Values alive across each boundary, from where they are made to their last forward use.
  DenseMap<Operation *, size_t> indices;
  for (auto [index, atom] : llvm::enumerate(atoms))
    indices[atom.op] = index;
  for (auto [index, atom] : llvm::enumerate(atoms))
    for (Value result : atom.op->getResults()) {
      size_t last = index;
      for (Operation *user : result.getUsers())
        if (auto it = indices.find(user); it != indices.end())
          last = std::max(last, it->second);
      for (size_t i = index; i < last; ++i)
        atoms[i].crossingBytes += bytes(result);
    }
  return success();
}

// Dynamic programming over (stages, atoms): the best score of putting the first `i` atoms on `s` stages, none empty.
SmallVector<size_t> PartitionStagesPass::split(size_t stages) const {
  size_t n = atoms.size();
  std::vector<int64_t> time(n + 1), memory(n + 1);
  for (size_t i = 0; i < n; ++i) {
    time[i + 1] = time[i] + atoms[i].picoseconds;
    memory[i + 1] = memory[i] + atoms[i].parameterBytes;
  }
  std::vector<std::vector<Score>> best(stages + 1, std::vector<Score>(n + 1));
  std::vector<std::vector<size_t>> from(stages + 1, std::vector<size_t>(n + 1));
  for (size_t i = 1; i <= n; ++i)
    best[1][i] = {time[i], memory[i], 0};
  for (size_t s = 2; s <= stages; ++s)
    for (size_t i = s; i <= n; ++i) {
      bool found = false;
      // Earlier starts of the last stage only make it slower; stop once it alone is slower than the best split.
      for (size_t j = i - 1; j + 1 >= s; --j) {
        int64_t own = time[i] - time[j];
        if (found && own > best[s][i].slowest)
          break;
        const Score &before = best[s - 1][j];
        Score score{std::max(before.slowest, own), std::max(before.largest, memory[i] - memory[j]), before.traffic + atoms[j - 1].crossingBytes};
        if (!found || score < best[s][i]) {
          best[s][i] = score;
          from[s][i] = j;
          found = true;
        }
      }
    }
  SmallVector<size_t> starts(stages);
  size_t end = n;
  for (size_t s = stages; s > 1; --s)
    end = starts[s - 1] = from[s][end];
  starts[0] = 0;
  return starts;
}

void PartitionStagesPass::labelOps(func::FuncOp step, ArrayRef<size_t> starts) {
  Builder builder(&getContext());
  DenseMap<int64_t, Attribute> stageOfPosition;
  size_t stage = 0;
  for (auto [index, atom] : llvm::enumerate(atoms)) {
    while (stage + 1 < starts.size() && index >= starts[stage + 1])
      ++stage;
    stageOfPosition[atom.op->getAttrOfType<IntegerAttr>(attrs::kPosition).getInt()] = builder.getI64IntegerAttr(static_cast<int64_t>(stage));
  }
  for (Operation &op : step.getBody().front().without_terminator())
    if (auto position = op.getAttrOfType<IntegerAttr>(attrs::kPosition))
      op.setAttr(attrs::kStage, stageOfPosition[position.getInt()]);
}

// What depends on no parameter (positions, rotary tables) is cheap: every stage that needs it makes its own.
void PartitionStagesPass::replicateInactive(func::FuncOp step) {
  Builder builder(&getContext());
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(step.getBody().front().without_terminator()))) {
    if (op.hasAttr(attrs::kStage))
      continue;
    SmallVector<int64_t> users;
    for (Operation *user : op.getUsers())
      if (int64_t stage = stageOf(user); stage >= 0 && !llvm::is_contained(users, stage))
        users.push_back(stage);
    llvm::sort(users);
    if (users.empty()) {
      if (op.use_empty())
        op.erase();
      continue;
    }
    for (int64_t stage : llvm::drop_begin(users)) {
      Operation *copy = op.clone();
      copy->setAttr(attrs::kStage, builder.getI64IntegerAttr(stage));
      op.getBlock()->getOperations().insertAfter(op.getIterator(), copy);
      for (auto [from, to] : llvm::zip(op.getResults(), copy->getResults()))
        from.replaceUsesWithIf(to, [&](OpOperand &use) { return stageOf(use.getOwner()) == stage; });
    }
    op.setAttr(attrs::kStage, builder.getI64IntegerAttr(users.front()));
  }
}

// A parameter used on several stages lives on each of them. Its gradients are summed once per step, not sent per
// micro-batch: the adds between stages become one all-reduce of what each stage has.
void PartitionStagesPass::separateTied(func::FuncOp step) {
  auto stepReturn = cast<func::ReturnOp>(step.getBody().front().getTerminator());
  OpBuilder builder(stepReturn);
  for (OpOperand &returned : stepReturn->getOpOperands().drop_front()) {
    SmallVector<ElementwiseOp> adds;
    SmallVector<Value> leaves;
    SmallVector<Value> queue{returned.get()};
    while (!queue.empty()) {
      Value value = queue.pop_back_val();
      auto add = value.getDefiningOp<ElementwiseOp>();
      if (add && add.getKind() == "add" && add.getInputs().size() == 2 && value.hasOneUse() &&
          (stageOf(add.getInputs()[0].getDefiningOp()) != stageOf(add) || stageOf(add.getInputs()[1].getDefiningOp()) != stageOf(add))) {
        adds.push_back(add);
        queue.append({add.getInputs()[0], add.getInputs()[1]});
      } else {
        leaves.push_back(value);
      }
    }
    if (adds.empty())
      continue;
    SmallVector<Type> types;
    for (Value leaf : leaves)
      types.push_back(leaf.getType());
    auto sum = builder.create<AllReduceOp>(stepReturn.getLoc(), types, leaves, "tied", static_cast<int64_t>(leaves.size()));
    sum->setAttr(attrs::kPart, builder.getStringAttr("update"));
    returned.set(sum.getOutputs()[0]);
    for (ElementwiseOp add : adds)
      add->erase();
  }
}

void PartitionStagesPass::insertTransfers(func::FuncOp step, int64_t stages) {
  OpBuilder builder(&getContext());
  Location loc = step.getLoc();
  Block &body = step.getBody().front();
  // `from` to its neighbour `to`: everything made on `from`'s side that is used on `to`'s side, in program order.
  auto connect = [&](int64_t from, int64_t to, bool backward) {
    auto onFromSide = [&](int64_t stage) { return from < to ? stage >= 0 && stage <= from : stage >= from; };
    auto onToSide = [&](int64_t stage) { return stage >= 0 && !onFromSide(stage); };
    SmallVector<Value> crossing;
    Operation *last = nullptr;
    for (Operation &op : body.without_terminator()) {
      if (op.hasAttr(attrs::kPart) || isBackward(&op) != backward || !onFromSide(stageOf(&op)))
        continue;
      if (stageOf(&op) == from)
        last = &op;
      for (Value result : op.getResults())
        if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !user->hasAttr(attrs::kPart) && onToSide(stageOf(user)); }))
          crossing.push_back(result);
    }
    if (crossing.empty() || !last)
      return;
    builder.setInsertionPointAfter(last);
    auto label = [&](Operation *op, int64_t stage) {
      op->setAttr(attrs::kStage, builder.getI64IntegerAttr(stage));
      if (backward)
        op->setAttr(attrs::kPhase, builder.getStringAttr("backward"));
    };
    label(builder.create<SendOp>(loc, TypeRange(), crossing, to), from);
    auto receive = builder.create<ReceiveOp>(loc, ValueRange(crossing).getTypes(), ValueRange(), from);
    label(receive, to);
    for (auto [value, received] : llvm::zip(crossing, receive.getOutputs()))
      value.replaceUsesWithIf(received, [&](OpOperand &use) {
        return use.getOwner() != receive && !use.getOwner()->hasAttr(attrs::kPart) && onToSide(stageOf(use.getOwner()));
      });
  };
  for (int64_t stage = 0; stage + 1 < stages; ++stage)
    connect(stage, stage + 1, /*backward=*/false);
  for (int64_t stage = stages - 1; stage > 0; --stage)
    connect(stage, stage - 1, /*backward=*/true);
}

void PartitionStagesPass::runOnOperation() {
  ModuleOp module = getOperation();
  auto step = module.lookupSymbol<func::FuncOp>("step");
  FailureOr<ParallelConfig> config = getConfig(module);
  if (failed(config))
    return signalPassFailure();
  if (!step) {
    module.emitError("has no function @step to partition");
    return signalPassFailure();
  }
  std::optional<Accelerator> own;
  std::optional<GraphCost> ownCost;
  if (!cost) {
    auto resolved = resolveAccelerator(accelerator);
    if (!resolved.ok()) {
      module.emitError() << std::string(resolved.status().message());
      return signalPassFailure();
    }
    own = *resolved;
    ownCost.emplace(*own, getBinding(module), 1.0);
  }
  if (failed(collectAtoms(step, *config, cost ? *cost : *ownCost)))
    return signalPassFailure();
  if (static_cast<int64_t>(atoms.size()) < config->numStages) {
    module.emitError() << "has " << atoms.size() << " ops to put on " << config->numStages << " stages";
    return signalPassFailure();
  }
  labelOps(step, split(config->numStages));
  replicateInactive(step);
  separateTied(step);
  insertTransfers(step, config->numStages);
}

std::unique_ptr<Pass> moai::createPartitionStagesPass(GraphCost *cost) { return std::make_unique<PartitionStagesPass>(cost); }
