//===- GraphArguments.cpp - What a graph does with its arguments -----------===//
#include "GraphArguments.h"
#include "absl/strings/str_cat.h"
#include "moai/IR/BlockCall.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace moai;

std::string moai::storedTypeOf(Type type) {
  if (type.isF64())
    return "F64";
  if (type.isF16())
    return "F16";
  if (type.isBF16())
    return "BF16";
  if (type.isInteger(1))
    return "BOOL";
  if (type.isInteger())
    return absl::StrCat("I", type.getIntOrFloatBitWidth());
  return "F32";
}

// Whether an op's results hold numbers of its operands as they are.
static bool movesNumbers(Operation *op) {
  if (auto elementwise = dyn_cast<ElementwiseOp>(op))
    return elementwise.getKind() == "where" || elementwise.getKind() == "masked_fill";
  return isa<ReshapeOp, TransposeOp, ExpandOp, DetachOp, SliceOp, InsertSliceOp, ConcatOp, PadOp, CastOp, CopyOp>(op);
}

// The dimension that a use of a value indexes, if it is an index.
static std::optional<Dim> indexedDim(OpOperand &use) {
  Operation *op = use.getOwner();
  Value value = use.get();
  if (auto embedding = dyn_cast<EmbeddingOp>(op); embedding && embedding.getIndices() == value)
    return tensorOf(embedding.getWeight()).getShape()[0];
  if (auto loss = dyn_cast<CrossEntropyOp>(op); loss && loss.getTarget() == value)
    return tensorOf(loss.getLogits()).getShape().back();
  if (auto gather = dyn_cast<GatherOp>(op); gather && gather.getInput() != value)
    return tensorOf(gather.getInput()).getShape()[gather.getDims()[use.getOperandNumber() - 1]];
  return std::nullopt;
}

namespace {
/// A value computed from the one that is followed, and how.
struct Derived {
  Value value;
  bool isDirect;
  bool isFromFirst;
};
} // namespace

std::vector<IndexUse> moai::findIndexUses(Value value, const DimBinding &binding) {
  std::vector<IndexUse> uses;
  std::vector<Derived> queue{{value, true, true}};
  llvm::DenseSet<std::pair<Value, unsigned>> seen;
  while (!queue.empty()) {
    Derived from = queue.back();
    queue.pop_back();
    if (!seen.insert({from.value, 2 * from.isDirect + from.isFromFirst}).second)
      continue;
    for (OpOperand &use : from.value.getUses()) {
      Operation *op = use.getOwner();
      if (std::optional<Dim> dim = indexedDim(use)) {
        uses.push_back({op, dim->evaluate(binding), from.isDirect, from.isFromFirst});
        continue;
      }
      if (BlockCall call = op) {
        auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(op, call.callee());
        queue.push_back({callee.getArgument(use.getOperandNumber()), from.isDirect, from.isFromFirst});
        continue;
      }
      auto slice = dyn_cast<SliceOp>(op);
      bool isFromFirst = from.isFromFirst && !(slice && slice.getStart() != "0");
      for (Value result : op->getResults())
        if (tensorOf(result).getElementType().isInteger())
          queue.push_back({result, from.isDirect && movesNumbers(op), isFromFirst});
    }
  }
  return uses;
}
