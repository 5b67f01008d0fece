//===- Summarize.cpp - Facts about an imported module ----------------------===//
#include "Summarize.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Import.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace moai;

static void addAttention(AttentionOp op, int64_t times, ModelSummary &summary) {
  ModelAttention kind;
  kind.kind = op.getMask().str();
  kind.window = op.getWindow();
  auto query = tensorOf(op.getQuery()).getShape(), key = tensorOf(op.getKey()).getShape();
  kind.queryHeads = query[1].evaluate(summary.binding);
  kind.keyHeads = key[1].evaluate(summary.binding);
  kind.width = query[3].evaluate(summary.binding);
  for (ModelAttention &known : summary.attention)
    if (known.kind == kind.kind && known.window == kind.window && known.queryHeads == kind.queryHeads && known.keyHeads == kind.keyHeads &&
        known.width == kind.width) {
      known.count += times;
      return;
    }
  kind.count = times;
  summary.attention.push_back(kind);
}

static void addFunction(func::FuncOp function, int64_t times, ModelSummary &summary) {
  DimBinding one = summary.binding;
  one.values[kBatchSymbol] = 1;
  function.walk([&](Operation *op) {
    if (op == function || isa<func::ReturnOp, func::CallOp>(op))
      return;
    summary.ops += times;
    if (auto work = dyn_cast<WorkOpInterface>(op))
      summary.forwardFlops += static_cast<double>(times) * work.getWork(summary.binding).flops;
    if (auto attention = dyn_cast<AttentionOp>(op))
      addAttention(attention, times, summary);
    if (auto expert = dyn_cast<ExpertMatmulOp>(op))
      summary.experts = tensorOf(expert.getWeight()).getShape()[0].evaluate(one);
    // A view of a parameter is no activation; ops that copy are.
    if (!isa<ViewOpInterface>(op))
      for (Value result : op->getResults())
        if (int64_t bytes = tensorOf(result).countBytes(one); bytes > summary.largestTensorBytes) {
          summary.largestTensorBytes = bytes;
          summary.largestTensor = op->getName().getStringRef().str();
        }
  });
}

void moai::summarizeModule(ModuleOp module, ModelSummary &summary) {
  summary.ops = 0;
  summary.forwardFlops = 0;
  summary.parameters = summary.parameterBytes = 0;
  summary.trainedTensorBytes.clear();
  summary.blocks.clear();
  summary.attention.clear();
  summary.inputs.clear();
  auto step = module.lookupSymbol<func::FuncOp>("step");
  llvm::MapVector<Attribute, SmallVector<func::CallOp>> calls;
  step.walk([&](func::CallOp call) { calls[call.getCalleeAttr()].push_back(call); });
  for (BlockArgument argument : step.getArguments()) {
    auto role = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole);
    auto name = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kName);
    SymTensorType type = tensorOf(argument);
    if (role == "parameter" || role == "frozen") {
      summary.parameters += type.countElements(summary.binding);
      summary.parameterBytes += type.countBytes(summary.binding);
      if (role == "parameter")
        summary.trainedTensorBytes.push_back(type.countBytes(summary.binding));
    } else if (role == "input") {
      std::string text = name.str() + " [";
      for (auto [index, dim] : llvm::enumerate(type.getShape()))
        text += (index ? ", " : "") + dim.str();
      text += "] ";
      llvm::raw_string_ostream(text) << type.getElementType();
      summary.inputs.push_back(text);
    }
  }
  addFunction(step, 1, summary);
  for (auto &[callee, sites] : calls) {
    auto function = module.lookupSymbol<func::FuncOp>(cast<FlatSymbolRefAttr>(callee));
    int64_t before = summary.ops;
    addFunction(function, static_cast<int64_t>(sites.size()), summary);
    ModelBlock block;
    block.name = function->getAttrOfType<StringAttr>(attrs::kBlock).str();
    block.repeats = static_cast<int64_t>(sites.size());
    block.ops = (summary.ops - before) / block.repeats;
    for (Value operand : sites.front().getOperands())
      if (auto argument = dyn_cast<BlockArgument>(operand))
        if (auto role = step.getArgAttrOfType<StringAttr>(argument.getArgNumber(), attrs::kRole); role == "parameter" || role == "frozen")
          block.parameters += tensorOf(operand).countElements(summary.binding);
    summary.blocks.push_back(block);
  }
}
