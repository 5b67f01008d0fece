//===- SavedTensor.cpp - What waits from the forward for the backward ------===//
#include "moai/Plan/SavedTensor.h"

using namespace moai;
using llvm::json::Array;
using llvm::json::Object;

static Object toJSON(const SavedTensorUser &user) { return Object{{"module", user.module}, {"op", user.op}, {"shape", Array(user.shape)}}; }

Array moai::toJSON(const std::vector<SavedTensor> &tensors) {
  Array list;
  for (const SavedTensor &tensor : tensors) {
    Array holders;
    for (const SavedTensorUser &holder : tensor.holders)
      holders.push_back(::toJSON(holder));
    Object entry{{"role", tensor.role},
                 {"type", tensor.type},
                 {"shape", Array(tensor.shape)},
                 {"bytes", tensor.bytes},
                 {"held_by", std::move(holders)}};
    if (tensor.name.empty())
      entry["made_by"] = ::toJSON(tensor.maker);
    else
      entry["name"] = tensor.name;
    list.push_back(std::move(entry));
  }
  return list;
}
