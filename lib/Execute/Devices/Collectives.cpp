//===- Collectives.cpp - What collectives compute --------------------------===//
#include "Collectives.h"
#include "moai/IR/Moai.h"

using namespace mlir;
using namespace moai;

std::optional<Collective> Collective::of(Operation &op) {
  if (auto gather = dyn_cast<GatherBucketOp>(op))
    return Collective{gather.getAxes().getValue(), {}};
  if (auto scatter = dyn_cast<ScatterBucketOp>(op))
    return Collective{scatter.getAxes().getValue(), {}};
  auto reduce = dyn_cast<AllReduceOp>(op);
  if (!reduce)
    return std::nullopt;
  if (reduce.getAxes())
    return Collective{reduce.getAxes()->getValue(), {}};
  return Collective{AxisSet(), llvm::SmallVector<int64_t>(*reduce.getStages())};
}

llvm::SmallVector<int64_t> Collective::membersAt(const DeviceMesh &mesh, int64_t rank) const {
  if (!axes.isEmpty())
    return mesh.membersOf(rank, axes);
  llvm::SmallVector<int64_t> members;
  for (int64_t stage : stages)
    members.push_back(mesh.memberAt(rank, MeshAxis::Stage, stage));
  return members;
}

Tensor moai::shardOf(const TensorList &tensors, int64_t size, int64_t index) {
  int64_t total = 0;
  for (const auto &tensor : tensors)
    total += tensor->size();
  int64_t length = (total + size - 1) / size, begin = index * length, end = begin + length, at = 0;
  Tensor shard(llvm::ArrayRef<int64_t>{length});
  for (const auto &tensor : tensors) {
    for (int64_t i = std::max(begin, at); i < std::min(end, at + tensor->size()); ++i)
      shard.values[i - begin] = tensor->values[i - at];
    at += tensor->size();
  }
  return shard;
}

std::vector<Tensor> moai::joinShards(const TensorList &shards, llvm::ArrayRef<llvm::SmallVector<int64_t, 4>> shapes) {
  std::vector<double> flat;
  for (const auto &shard : shards)
    flat.insert(flat.end(), shard->values.begin(), shard->values.end());
  std::vector<Tensor> tensors;
  auto at = flat.begin();
  for (const auto &shape : shapes) {
    Tensor tensor(shape);
    std::copy_n(at, tensor.size(), tensor.values.begin());
    at += tensor.size();
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

static std::vector<Tensor> sumOf(llvm::ArrayRef<TensorList> contributions) {
  std::vector<Tensor> sums;
  for (size_t i = 0; i < contributions[0].size(); ++i) {
    Tensor sum = *contributions[0][i];
    for (const TensorList &other : llvm::drop_begin(contributions))
      for (size_t k = 0; k < sum.values.size(); ++k)
        sum.values[k] += other[i]->values[k];
    sums.push_back(std::move(sum));
  }
  return sums;
}

// Each member sums only what it keeps.
static Tensor sumOfShard(llvm::ArrayRef<TensorList> contributions, int64_t size, int64_t index) {
  Tensor sum = shardOf(contributions[0], size, index);
  for (const TensorList &other : llvm::drop_begin(contributions)) {
    Tensor shard = shardOf(other, size, index);
    for (size_t k = 0; k < sum.values.size(); ++k)
      sum.values[k] += shard.values[k];
  }
  return sum;
}

bool Collective::isCommon(Operation &op) { return !isa<ScatterBucketOp>(op); }

std::vector<Tensor> Collective::combine(Operation &op, llvm::ArrayRef<TensorList> contributions, size_t member,
                                        const DimBinding &binding) const {
  if (isa<ScatterBucketOp>(op))
    return {sumOfShard(contributions, static_cast<int64_t>(contributions.size()), static_cast<int64_t>(member))};
  if (!isa<GatherBucketOp>(op))
    return sumOf(contributions);
  TensorList shards;
  for (const TensorList &contribution : contributions)
    shards.push_back(contribution[0]);
  llvm::SmallVector<llvm::SmallVector<int64_t, 4>> shapes;
  for (Value result : op.getResults())
    shapes.push_back(tensorOf(result).getDims().evaluate(binding));
  return joinShards(shards, shapes);
}
