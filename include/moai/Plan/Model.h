//===- Model.h - What was understood of a model ----------------------------===//
#ifndef MOAI_PLAN_MODEL_H
#define MOAI_PLAN_MODEL_H

#include "moai/Plan/Dim.h"
#include "llvm/Support/JSON.h"
#include <string>
#include <vector>

namespace moai {

/// A block of layers that occurs several times with one and the same structure.
struct ModelBlock {
  std::string name; ///< module path with `*` for the instance number
  int64_t repeats = 0;
  int64_t ops = 0;        ///< ops of one instance
  int64_t parameters = 0; ///< of one instance
};

/// Attention layers of one kind.
struct ModelAttention {
  std::string kind;   ///< causal, sliding_window, full or bias
  int64_t window = 0; ///< of a sliding window
  int64_t queryHeads = 0, keyHeads = 0, width = 0;
  int64_t count = 0;
};

/// Facts about an imported model, for people and for plan.json.
struct ModelSummary {
  std::string path;
  int64_t parameters = 0; ///< elements, tied ones once, frozen ones as well
  int64_t parameterBytes = 0;
  std::vector<int64_t> trainedTensorBytes; ///< of each parameter that is not frozen, in the order of the graph
  int64_t ops = 0;                         ///< ops of the graph after import, repeats counted
  double forwardFlops = 0;                 ///< of one step at `binding`
  double totalFlops = 0;                   ///< and with its backward; 0 until that is built
  std::vector<std::string> opaqueOps;
  std::vector<ModelBlock> blocks;
  std::vector<ModelAttention> attention;
  int64_t experts = 0; ///< experts of a mixture layer, 0 without
  DimBinding exported; ///< batch and sequence at export
  DimBinding binding;  ///< batch (of the whole step) and sequence described here
  bool hasSequence = false;
  bool hasLoss = false;
  std::string largestTensor;            ///< name of the largest activation
  int64_t largestTensorBytes = 0;       ///< its size for one sample
  std::vector<std::string> inputs;      ///< `input_ids [b, s] i64`
  std::vector<std::string> assumptions; ///< what could not be read off the file
  std::vector<std::string> warnings;
};

llvm::json::Object toJSON(const ModelSummary &model);

} // namespace moai

#endif // MOAI_PLAN_MODEL_H
