//===- OptimizerPolicy.h - How parameters are updated, and in which types ---===//
#ifndef MOAI_PLAN_OPTIMIZERPOLICY_H
#define MOAI_PLAN_OPTIMIZERPOLICY_H

#include "absl/status/statusor.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/JSON.h"
#include <cstdint>
#include <string>

namespace moai {

enum class OptimizerKind : uint8_t { AdamW, Adam, Sgd };

/// An element type of what belongs to a parameter; `Exported` is the type that the graph has for the parameter itself.
enum class FloatKind : uint8_t { Exported, Float32, BFloat16, Float16 };

/// In which types a parameter and what belongs to it are kept. Kernels compute in the exported types whatever is chosen here.
struct PrecisionPolicy {
  FloatKind parameter = FloatKind::Exported;    ///< the copy that forward and backward read, cast where kernels want another
  FloatKind gradient = FloatKind::Exported;     ///< summed over devices, and given to the optimizer
  FloatKind accumulation = FloatKind::Exported; ///< the sum over micro-batches
  FloatKind master = FloatKind::Exported;       ///< what the optimizer updates; kept beside the parameter where it is of another type
  FloatKind state = FloatKind::Exported;        ///< moments, momentum

  bool operator==(const PrecisionPolicy &o) const {
    return parameter == o.parameter && gradient == o.gradient && accumulation == o.accumulation && master == o.master && state == o.state;
  }
};

/// Formulas are PyTorch's: torch.optim.AdamW, Adam (decay is added to the gradient) and SGD (without dampening or
/// Nesterov's variant), and torch.nn.utils.clip_grad_norm_ over all parameters.
struct OptimizerPolicy {
  OptimizerKind kind = OptimizerKind::AdamW;
  double learningRate = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8; ///< of AdamW and Adam
  double weightDecay = 0.01;
  double momentum = 0;        ///< of SGD
  double maxGradientNorm = 0; ///< gradients are scaled down to this norm over all of them; 0: never
  PrecisionPolicy precision;

  /// Tensors of the parameter's shape that are kept from step to step: 2, or 1 or 0 for SGD with and without momentum.
  int64_t numStates() const { return kind != OptimizerKind::Sgd ? 2 : momentum > 0 ? 1 : 0; }
};

/// `adamw`, `adam`, `sgd`.
llvm::StringRef toString(OptimizerKind kind);
/// Bytes of an element, where the exported type has so many.
int64_t widthOf(FloatKind kind, int64_t exportedWidth);

/// Reads `NAME[,key=value...]`: `adamw`, `sgd,momentum=0.9`. Keys are learning_rate, beta1, beta2, epsilon, weight_decay
/// (0.01 for adamw, 0 for the others), momentum, max_gradient_norm, and those of parsePrecision, in exported types if they
/// aren't given. `parseOptimizer(toString(p)) == p`. InvalidArgument, in one sentence, for an unknown name or key, a number
/// out of its range, a key that is given twice or that the optimizer has no use for.
absl::StatusOr<OptimizerPolicy> parseOptimizer(llvm::StringRef text);
/// Every field that its kind uses.
std::string toString(const OptimizerPolicy &policy);
/// The same names, and `name`.
llvm::json::Object toJSON(const OptimizerPolicy &policy);

/// Reads `NAME[,key=type...]`. NAME is `exported`, all types as the graph has them and states in the parameters', as PyTorch
/// does by default; or `mixed`, which keeps a float32 master and float32 states of each parameter beside it. Keys are
/// parameter, gradient, accumulation, master and state, types are exported, f32, bf16 and f16.
absl::StatusOr<PrecisionPolicy> parsePrecision(llvm::StringRef text);
/// Every key: `parsePrecision(toString(p)) == p`.
std::string toString(const PrecisionPolicy &precision);

} // namespace moai

#endif // MOAI_PLAN_OPTIMIZERPOLICY_H
