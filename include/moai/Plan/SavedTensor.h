//===- SavedTensor.h - What waits from the forward for the backward --------===//
#ifndef MOAI_PLAN_SAVEDTENSOR_H
#define MOAI_PLAN_SAVEDTENSOR_H

#include "llvm/Support/JSON.h"
#include <string>
#include <vector>

namespace moai {

/// A forward op that makes a saved tensor, or whose backward reads it.
struct SavedTensorUser {
  std::string module;         ///< framework's path; empty outside of all modules, as a loss may be
  std::string op;             ///< `moai.contract`, `moai.elementwise mul`
  std::vector<int64_t> shape; ///< of the view that it makes or reads

  bool operator==(const SavedTensorUser &other) const { return module == other.module && op == other.op && shape == other.shape; }
};

/// A storage that lives from the forward to the backward. Views of it are no storages of their own.
struct SavedTensor {
  std::string role; ///< activation, parameter, buffer, constant or input
  std::string name; ///< in the framework, of what is no activation
  std::string type; ///< element type as the dialect spells it: bf16, f32, i64
  std::vector<int64_t> shape;
  int64_t bytes = 0;
  SavedTensorUser maker;                ///< of an activation
  std::vector<SavedTensorUser> holders; ///< each once, in the order of the backward
};

llvm::json::Array toJSON(const std::vector<SavedTensor> &tensors);

} // namespace moai

#endif // MOAI_PLAN_SAVEDTENSOR_H
