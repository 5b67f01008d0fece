//===- SplitLoss.cpp - Whether parts of a batch make the same step ---------===//
#include "moai/Passes/SplitLoss.h"
#include "absl/strings/str_cat.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/Moai.h"

using namespace mlir;
using namespace moai;

static bool holdsSamples(Dim dim) { return dim.degreeIn(kBatchSymbol) > 0; }

static bool reducesSamples(ReduceOp reduce) {
  return llvm::any_of(reduce.getDims(), [&](int64_t dim) { return holdsSamples(tensorOf(reduce.getInput()).getShape()[dim]); });
}

// The op at which samples become one number, if all between it and the loss scales by a constant or leaves the number as it is.
static Operation *findReduction(Value loss) {
  while (Operation *op = loss.getDefiningOp()) {
    if (auto reduce = dyn_cast<ReduceOp>(op); (reduce && reducesSamples(reduce)) || isa<CrossEntropyOp>(op))
      return op;
    auto elementwise = dyn_cast<ElementwiseOp>(op);
    bool isScaling = elementwise && op->getNumOperands() == 1 && llvm::is_contained({"neg", "mul", "div"}, elementwise.getKind());
    bool leaves =
        isa<CastOp, CopyOp, ReshapeOp>(op) || (isa<ReduceOp>(op) && llvm::is_contained({"sum", "mean"}, cast<ReduceOp>(op).getKind()));
    if (!isScaling && !leaves)
      return nullptr;
    loss = op->getOperand(0);
  }
  return nullptr;
}

// An op besides `reduction` in which samples meet; null if there is none.
static Operation *findMeeting(ModuleOp forward, Operation *reduction) {
  Operation *found = nullptr;
  forward.walk([&](Operation *op) {
    auto reduce = dyn_cast<ReduceOp>(op);
    auto normalize = dyn_cast<NormalizeOp>(op);
    bool isBatchNorm = normalize && normalize.getKind() == "batch_norm";
    bool hasPairs = llvm::any_of(op->getResultTypes(), [](Type type) {
      auto tensor = dyn_cast<SymTensorType>(type);
      return tensor && llvm::count_if(tensor.getShape(), holdsSamples) > 1;
    });
    if (op == reduction || !((reduce && reducesSamples(reduce)) || isBatchNorm || hasPairs))
      return WalkResult::advance();
    found = op;
    return WalkResult::interrupt();
  });
  return found;
}

std::string moai::describeInexactSplit(ModuleOp forward) {
  auto step = forward.lookupSymbol<func::FuncOp>("step");
  Value loss = step.getBody().front().getTerminator()->getOperand(0);
  Operation *reduction = findReduction(loss);
  if (!reduction)
    return "the loss is not a plain mean over samples";
  // Parts are averaged, so of a sum there would be left as much as there is of one part.
  auto reduce = dyn_cast<ReduceOp>(reduction);
  llvm::StringRef kind = reduce ? reduce.getKind() : cast<CrossEntropyOp>(reduction).getReduction();
  if (kind != "mean")
    return absl::StrCat("the loss is a ", kind.str(), " over samples, not a plain mean");
  if (Operation *meeting = findMeeting(forward, reduction))
    return absl::StrCat("samples see each other in ", describeOp(*meeting));
  return "";
}
