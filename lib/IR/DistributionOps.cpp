//===- DistributionOps.cpp - Transfers, collectives, the optimizer ---------===//
#include "OpSupport.h"
#include "moai/Plan/OptimizerPolicy.h"

using namespace mlir;
using namespace moai;

static LogicalResult verifyTransfer(Operation *op, int64_t peer) {
  if (peer < 0)
    return op->emitOpError() << "peer must be a stage number, found " << peer;
  return success();
}

LogicalResult SendOp::verify() {
  if (getInputs().empty() || !getOutputs().empty())
    return emitOpError("takes tensors and returns none");
  return verifyTransfer(*this, getPeer());
}

LogicalResult ReceiveOp::verify() {
  if (!getInputs().empty() || getOutputs().empty())
    return emitOpError("takes none and returns tensors");
  return verifyTransfer(*this, getPeer());
}

// A flat shard holds the elements of all the tensors divided by the group, rounded up.
static LogicalResult verifyShard(Operation *op, ValueRange tensors, ValueRange shards, AxisSet axes) {
  if (shards.size() != 1 || tensors.empty())
    return op->emitOpError() << "has " << shards.size() << " shards of " << tensors.size() << " tensors, expected one of one or more";
  SymTensorType shard = tensorOf(shards[0]);
  if (failed(expectRank(op, "shard", shard, 1)))
    return failure();
  Dim total;
  for (Value tensor : tensors) {
    Dim elements = 1;
    for (const Dim &dim : tensorOf(tensor).getShape())
      elements = elements * dim;
    total = total + elements;
  }
  if (!total.isConstant())
    return op->emitOpError() << "cannot shard " << total.str() << " elements: the number depends on the batch";
  std::optional<DeviceMesh> mesh = getMesh(op);
  if (!mesh)
    return success();
  int64_t members = mesh->size(axes);
  return expectDim(op, "shard", shard, 0, Dim((total.constant() + members - 1) / members));
}

LogicalResult GatherBucketOp::verify() { return verifyShard(*this, getOutputs(), getInputs(), getAxes().getValue()); }

LogicalResult ScatterBucketOp::verify() { return verifyShard(*this, getInputs(), getOutputs(), getAxes().getValue()); }

// Stages are in their order, so that all of them list the members alike.
static LogicalResult verifyStages(AllReduceOp op, ArrayRef<int64_t> stages) {
  if (stages.empty())
    return op.emitOpError("must list at least one stage");
  std::optional<DeviceMesh> mesh = getMesh(op);
  int64_t numStages = mesh ? mesh->size(MeshAxis::Stage) : INT64_MAX, last = -1;
  for (int64_t stage : stages) {
    if (stage <= last || stage >= numStages)
      return op.emitOpError() << "must list stages once each and in order, below their number; found " << stage
                              << (last < 0 ? "" : " after " + std::to_string(last));
    last = stage;
  }
  return success();
}

LogicalResult AllReduceOp::verify() {
  if (static_cast<bool>(getAxes()) == static_cast<bool>(getStages()))
    return emitOpError("must name either the axes that it runs over or the stages");
  if (getStages() && failed(verifyStages(*this, *getStages())))
    return failure();
  if (getInputs().size() != getOutputs().size())
    return emitOpError() << "has " << getInputs().size() << " operands and " << getOutputs().size() << " results";
  for (auto [input, output] : llvm::zip(getInputs(), getOutputs()))
    if (failed(expectSameShape(*this, "result", tensorOf(output), tensorOf(input))))
      return failure();
  return success();
}

LogicalResult SquaredNormOp::verify() {
  if (getInputs().empty())
    return emitOpError("takes at least one tensor");
  return expectRank(*this, "result", tensorOf(getResult()), 0);
}

LogicalResult OptimizerOp::verify() {
  // The attribute's verifier has parsed it before.
  OptimizerPolicy policy = *parseOptimizer(getPolicy().getText());
  size_t count = getGradients().size(), numStates = static_cast<size_t>(policy.numStates());
  if (getParameters().size() != count || getStates().size() != numStates * count)
    return emitOpError() << "has " << count << " gradients for " << getParameters().size() << " parameters and " << getStates().size()
                         << " states, expected " << numStates << " of each";
  if (getOutputs().size() != (1 + numStates) * count)
    return emitOpError() << "returns " << getOutputs().size() << " tensors, expected " << (1 + numStates) * count;
  for (auto [gradient, parameter] : llvm::zip(getGradients(), getParameters()))
    if (failed(expectSameShape(*this, "gradient", tensorOf(gradient), tensorOf(parameter))))
      return failure();
  if ((policy.maxGradientNorm > 0) != static_cast<bool>(getSquaredNorm()))
    return emitOpError() << "takes the squared norm of all gradients if, and only if, its policy clips them";
  return success();
}

LogicalResult AccumulateOp::verify() {
  if (getAccumulators().size() != getGradients().size() || getOutputs().size() != getGradients().size())
    return emitOpError() << "has " << getAccumulators().size() << " accumulators and " << getOutputs().size() << " results for "
                         << getGradients().size() << " gradients";
  for (auto [accumulator, gradient] : llvm::zip(getAccumulators(), getGradients()))
    if (failed(expectSameShape(*this, "accumulator", tensorOf(accumulator), tensorOf(gradient))))
      return failure();
  return success();
}

Value AccumulateOp::getUpdatedOperand(unsigned result) { return getAccumulators()[result]; }

// Parameters and states follow the gradients, in the order of the results.
Value OptimizerOp::getUpdatedOperand(unsigned result) { return getOperand(getGradients().size() + result); }
