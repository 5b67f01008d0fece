//===- Model.cpp - What was understood of a model --------------------------===//
#include "moai/Plan/Model.h"

using namespace moai;
using llvm::json::Array;
using llvm::json::Object;
using llvm::json::Value;

static Value strings(const std::vector<std::string> &list) {
  Array array;
  for (const std::string &item : list)
    array.push_back(item);
  return array;
}

Object moai::toJSON(const ModelSummary &model) {
  Array blocks, attention;
  for (const ModelBlock &block : model.blocks)
    blocks.push_back(Object{{"name", block.name}, {"repeats", block.repeats}, {"ops", block.ops}, {"parameters", block.parameters}});
  for (const ModelAttention &kind : model.attention) {
    Object entry{
        {"kind", kind.kind}, {"query_heads", kind.queryHeads}, {"key_heads", kind.keyHeads}, {"width", kind.width}, {"count", kind.count}};
    if (kind.window)
      entry["window"] = kind.window;
    attention.push_back(std::move(entry));
  }
  Object object{
      {"path", model.path},
      {"parameters", model.parameters},
      {"parameter_bytes", model.parameterBytes},
      {"forward_flops", static_cast<int64_t>(model.forwardFlops)},
      {"batch", model.binding.values[kBatchSymbol]},
      {"ops", model.ops},
      {"opaque_ops", strings(model.opaqueOps)},
      {"blocks", std::move(blocks)},
      {"attention", std::move(attention)},
      {"inputs", strings(model.inputs)},
      {"has_loss", model.hasLoss},
      {"largest_tensor_bytes", model.largestTensorBytes},
      {"assumptions", strings(model.assumptions)},
  };
  if (model.totalFlops > 0)
    object["total_flops"] = static_cast<int64_t>(model.totalFlops);
  if (model.hasSequence)
    object["sequence"] = model.binding.values[kSequenceSymbol];
  if (model.experts)
    object["experts"] = model.experts;
  return object;
}
