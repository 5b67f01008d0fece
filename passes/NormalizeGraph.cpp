//===- NormalizeGraph.cpp - Dead ops, identity views, generators -----------===//
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/OperationSupport.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "moai/IR/Moai.h"
#include "moai/Passes/Passes.h"

namespace moai {
#define GEN_PASS_DEF_NORMALIZEGRAPH
#include "moai/Passes/Passes.h.inc"
} // namespace moai

using namespace mlir;
using namespace moai;

namespace {
struct NormalizeGraphPass : public moai::impl::NormalizeGraphBase<NormalizeGraphPass> {
  void runOnOperation() override {
    uint64_t streams = 0;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.getBody().empty()) {
        normalize(function.getBody().front());
        numberStreams(function.getBody().front(), streams);
      }
  }

private:
  static void normalize(Block &body) {
    SmallVector<GenerateOp> generators;
    for (Operation &op : llvm::make_early_inc_range(body)) {
      if (isa<ReshapeOp, ExpandOp, SliceOp>(op) && op.getOperand(0).getType() == op.getResult(0).getType()) {
        op.getResult(0).replaceAllUsesWith(op.getOperand(0));
        op.erase();
        continue;
      }
      if (auto generate = dyn_cast<GenerateOp>(op)) {
        if (generate.getKind() == "random" || generate.getKind() == "empty")
          continue;
        auto twin = llvm::find_if(generators, [&](GenerateOp other) {
          return other.getType() == generate.getType() && other->getAttrDictionary() == generate->getAttrDictionary();
        });
        if (twin == generators.end()) {
          generators.push_back(generate);
        } else {
          generate.getResult().replaceAllUsesWith(twin->getResult());
          generate.erase();
        }
      }
    }
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body)))
      if (isOpTriviallyDead(&op))
        op.erase();
  }

  static void numberStreams(Block &body, uint64_t &next) {
    for (Operation &op : body)
      if (auto random = dyn_cast<RandomOpInterface>(op); random && random.drawsNumbers())
        random.setStream(next++);
  }
};
} // namespace
