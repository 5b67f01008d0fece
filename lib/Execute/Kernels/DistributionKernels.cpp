//===- DistributionKernels.cpp - Accumulation, norms, the optimizer --------===//
#include "Kernels.h"
#include "moai/Execute/Executor.h"
#include "moai/Plan/OptimizerPolicy.h"
#include <cmath>

using namespace mlir;
using namespace moai;

static void accumulate(AccumulateOp op, KernelCall &call) {
  for (auto [accumulator, gradient, output] : llvm::zip(op.getAccumulators(), op.getGradients(), op.getOutputs())) {
    const Tensor &sum = call[accumulator], &added = call[gradient];
    for (size_t i = 0; i < sum.values.size(); ++i)
      call.result(output).values[i] = sum.values[i] + added.values[i];
  }
}

static void squaredNorm(SquaredNormOp op, KernelCall &call) {
  double total = 0;
  for (Value input : op.getInputs())
    for (double value : call[input].values)
      total += value * value;
  call.result(op.getResult()).values[0] = total;
}

// As PyTorch's clip_grad_norm_: by less than 1, or not at all.
static double clipFactor(double squaredNorm, double maxNorm) {
  constexpr double kEpsilon = 1e-6;
  return std::min(1.0, maxNorm / (std::sqrt(squaredNorm) + kEpsilon));
}

namespace {
/// One element's parameter and states, before and after.
struct Element {
  double parameter, first, second;
};

/// The formulas of one step.
class Update {
public:
  Update(const OptimizerPolicy &policy, int64_t step) : p(policy), isFirst(step == 1) {
    correction1 = 1 - std::pow(p.beta1, static_cast<double>(step));
    correction2 = std::sqrt(1 - std::pow(p.beta2, static_cast<double>(step)));
  }

  Element operator()(Element e, double gradient) const {
    if (p.kind == OptimizerKind::AdamW)
      e.parameter *= 1 - p.learningRate * p.weightDecay;
    else
      gradient += p.weightDecay * e.parameter;
    return p.kind == OptimizerKind::Sgd ? sgd(e, gradient) : adam(e, gradient);
  }

private:
  Element adam(Element e, double gradient) const {
    e.first = p.beta1 * e.first + (1 - p.beta1) * gradient;
    e.second = p.beta2 * e.second + (1 - p.beta2) * gradient * gradient;
    e.parameter -= p.learningRate / correction1 * e.first / (std::sqrt(e.second) / correction2 + p.epsilon);
    return e;
  }
  // The first gradient is the momentum.
  Element sgd(Element e, double gradient) const {
    if (p.momentum > 0)
      gradient = e.first = isFirst ? gradient : p.momentum * e.first + gradient;
    e.parameter -= p.learningRate * gradient;
    return e;
  }

  const OptimizerPolicy &p;
  bool isFirst;
  double correction1, correction2;
};
} // namespace

static void optimize(OptimizerOp op, KernelCall &call) {
  OptimizerPolicy policy = *parseOptimizer(op.getPolicy().getText());
  policy.learningRate *= call.learningRateFactor;
  Update update(policy, call.step);
  size_t count = op.getGradients().size();
  double factor = op.getSquaredNorm() ? clipFactor(call[op.getSquaredNorm()].values[0], policy.maxGradientNorm) : 1;
  for (size_t i = 0; i < count; ++i) {
    Tensor gradient = call[op.getGradients()[i]];
    if (factor < 1) {
      for (double &value : gradient.values)
        value *= factor;
      if (!call.float64)
        roundTo(tensorOf(op.getGradients()[i]).getElementType(), gradient.values);
    }
    const Tensor &parameter = call[op.getParameters()[i]];
    const Tensor *states[2] = {};
    Tensor *outputs[3] = {&call.result(op.getOutputs()[i])};
    for (int64_t k = 0; k < policy.numStates(); ++k) {
      states[k] = &call[op.getStates()[k * count + i]];
      outputs[k + 1] = &call.result(op.getOutputs()[(k + 1) * count + i]);
    }
    for (size_t k = 0; k < parameter.values.size(); ++k) {
      Element next =
          update({parameter.values[k], states[0] ? states[0]->values[k] : 0, states[1] ? states[1]->values[k] : 0}, gradient.values[k]);
      outputs[0]->values[k] = next.parameter;
      if (outputs[1])
        outputs[1]->values[k] = next.first;
      if (outputs[2])
        outputs[2]->values[k] = next.second;
    }
  }
}

void moai::addDistributionKernels(KernelTable &table) {
  table.add<AccumulateOp>(accumulate);
  table.add<SquaredNormOp>(squaredNorm);
  table.add<OptimizerOp>(optimize);
}
