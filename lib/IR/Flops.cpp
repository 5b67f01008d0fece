//===- Flops.cpp - Floating-point operations of a function -----------------===//
#include "moai/IR/Flops.h"
#include "moai/IR/BlockCall.h"

using namespace mlir;
using namespace moai;

namespace {
/// Counts each called function once.
class FlopCounter {
public:
  explicit FlopCounter(const DimBinding &binding) : binding(binding) {}

  double count(func::FuncOp function) {
    double flops = 0;
    for (Operation &op : function.getBody().front()) {
      if (op.hasAttr(attrs::kRecompute))
        continue;
      if (BlockCall call = &op) {
        auto [it, isNew] = known.try_emplace(call.callee(), 0.0);
        if (isNew) {
          double inside = count(SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(&op, call.callee()));
          it = known.insert_or_assign(call.callee(), inside).first;
        }
        flops += it->second * static_cast<double>(call.count());
      } else if (auto work = dyn_cast<WorkOpInterface>(op)) {
        flops += work.getWork(binding).flops;
      }
    }
    return flops;
  }

private:
  const DimBinding &binding;
  llvm::DenseMap<Attribute, double> known;
};
} // namespace

double moai::countFlops(func::FuncOp function, const DimBinding &binding) { return FlopCounter(binding).count(function); }
