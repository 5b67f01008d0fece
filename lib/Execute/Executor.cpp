//===- Executor.cpp - Runs a moai module -----------------------------------===//
#include "moai/Execute/Executor.h"
#include "Eigen/Core"
#include "Kernels.h"
#include "absl/strings/str_cat.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <cmath>

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

Offsets moai::rowMajorStrides(ArrayRef<int64_t> shape) {
  Offsets strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * shape[i];
  return strides;
}

Offsets moai::broadcastStrides(ArrayRef<int64_t> from, ArrayRef<int64_t> to) {
  Offsets own = rowMajorStrides(from), strides(to.size(), 0);
  size_t extra = to.size() - from.size();
  for (size_t i = 0; i < from.size(); ++i)
    strides[i + extra] = from[i] == 1 ? 0 : own[i];
  return strides;
}

Tensor moai::permute(const Tensor &tensor, ArrayRef<int64_t> permutation) {
  Offsets own = rowMajorStrides(tensor.shape), strides;
  Tensor result;
  for (int64_t dim : permutation) {
    result.shape.push_back(tensor.shape[dim]);
    strides.push_back(own[dim]);
  }
  result.values.reserve(tensor.values.size());
  walk<1>(result.shape, {strides}, [&](auto at) { result.values.push_back(tensor.values[at[0]]); });
  return result;
}

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

void moai::roundTo(Type type, std::vector<double> &values) {
  if (auto complex = dyn_cast<ComplexType>(type))
    type = complex.getElementType();
  if (type.isF32()) {
    for (double &value : values)
      value = static_cast<float>(value);
  } else if (type.isBF16()) {
    for (double &value : values)
      value = static_cast<float>(Eigen::bfloat16(static_cast<float>(value)));
  } else if (type.isF16()) {
    for (double &value : values)
      value = static_cast<float>(Eigen::half(static_cast<float>(value)));
  }
}

// SplitMix64: every state gives an independent number.
double KernelCall::random() {
  uint64_t z = (*randomState += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

//===----------------------------------------------------------------------===//
// Executor
//===----------------------------------------------------------------------===//

// Complex numbers are pairs, in a last dimension of 2.
static Offsets concreteShape(SymTensorType type, const DimBinding &binding) {
  Offsets shape = type.getDims().evaluate(binding);
  if (isa<ComplexType>(type.getElementType()))
    shape.push_back(2);
  return shape;
}

struct Executor::State {
  ModuleOp module;
  ExecuteOptions options;
  KernelTable kernels;
  DimBinding binding;
  uint64_t random;

  absl::StatusOr<Values> run(func::FuncOp function, Values arguments);
  absl::Status runOp(Operation &op, llvm::function_ref<std::shared_ptr<const Tensor>(Value)> look, Values &results);
};

Executor::Executor(ModuleOp module, const ExecuteOptions &options) : state(std::make_unique<State>()) {
  state->module = module;
  state->options = options;
  state->binding = getBinding(module);
  state->random = options.seed;
  for (auto add : {addMatmulKernels, addAttentionKernels, addElementwiseKernels, addReductionKernels, addViewKernels, addIndexKernels})
    add(state->kernels);
}

Executor::~Executor() = default;

static std::string describe(Operation &op) {
  std::string text = op.getName().getStringRef().str();
  if (auto kind = op.getAttrOfType<StringAttr>("kind"))
    text += " '" + kind.str() + "'";
  if (auto location = dyn_cast<NameLoc>(op.getLoc()); location && !location.getName().empty())
    text += " of " + location.getName().str();
  return text;
}

absl::Status Executor::State::runOp(Operation &op, llvm::function_ref<std::shared_ptr<const Tensor>(Value)> look, Values &results) {
  const KernelTable::Kernel *kernel = kernels.find(&op);
  if (!kernel)
    return absl::InvalidArgumentError(absl::StrCat(describe(op), " has no kernel, so the graph can't be executed"));
  KernelCall call;
  call.binding = binding;
  call.float64 = options.float64;
  call.randomState = &random;
  for (Value operand : op.getOperands())
    call.operands[operand] = look(operand);
  for (Value result : op.getResults()) {
    call.results[result] = std::make_shared<Tensor>(concreteShape(tensorOf(result), binding));
  }
  (*kernel)(&op, call);
  if (!call.error.empty())
    return absl::InvalidArgumentError(absl::StrCat(describe(op), " ", call.error));
  for (Value result : op.getResults()) {
    std::shared_ptr<Tensor> tensor = call.results[result];
    if (!options.float64)
      roundTo(tensorOf(result).getElementType(), tensor->values);
    if (options.stopAtNan && llvm::any_of(tensor->values, [](double value) { return std::isnan(value); }))
      return absl::InvalidArgumentError(absl::StrCat(describe(op), " is the first op with a NaN in its result"));
    results.push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

absl::StatusOr<Executor::Values> Executor::State::run(func::FuncOp function, Values arguments) {
  Block &body = function.getBody().front();
  // What is alive. A tensor goes after its last use.
  DenseMap<Value, std::shared_ptr<const Tensor>> values;
  DenseMap<Value, unsigned> usesLeft;
  auto define = [&](Value value, std::shared_ptr<const Tensor> tensor) {
    if (unsigned uses = std::distance(value.use_begin(), value.use_end())) {
      usesLeft[value] = uses;
      values[value] = std::move(tensor);
    }
  };
  for (auto [argument, tensor] : llvm::zip(body.getArguments(), arguments)) {
    Offsets expected = concreteShape(tensorOf(argument), binding);
    if (expected != tensor->shape)
      return absl::InvalidArgumentError(
          absl::StrCat("argument ", argument.getArgNumber(), " of @", function.getName().str(), " has another shape than its type"));
    define(argument, std::move(tensor));
  }
  arguments.clear();

  auto look = [&](Value value) { return values.find(value)->second; };
  for (Operation &op : body) {
    Values results;
    if (auto call = dyn_cast<func::CallOp>(op)) {
      Values operands;
      for (Value operand : op.getOperands())
        operands.push_back(look(operand));
      auto inner = run(SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(&op, call.getCalleeAttr()), std::move(operands));
      if (!inner.ok()) {
        auto block = op.getAttrOfType<StringAttr>(attrs::kBlock);
        return block ? absl::InvalidArgumentError(absl::StrCat("in ", block.str(), ": ", inner.status().message())) : inner.status();
      }
      results = std::move(*inner);
    } else if (op.hasTrait<OpTrait::IsTerminator>()) {
      for (Value operand : op.getOperands())
        results.push_back(look(operand));
      return results;
    } else if (absl::Status status = runOp(op, look, results); !status.ok()) {
      return status;
    }
    for (Value operand : op.getOperands())
      if (--usesLeft[operand] == 0)
        values.erase(operand);
    for (auto [result, tensor] : llvm::zip(op.getResults(), results))
      define(result, std::move(tensor));
  }
  return absl::InternalError("a function without an end");
}

absl::StatusOr<Executor::Values> Executor::run(StringRef function, Values arguments) {
  auto found = state->module.lookupSymbol<func::FuncOp>(function);
  if (!found || found.getNumArguments() != arguments.size())
    return absl::InvalidArgumentError(absl::StrCat("no function @", function.str(), " that takes ", arguments.size(), " arguments"));
  return state->run(found, std::move(arguments));
}

//===----------------------------------------------------------------------===//
// AdamW
//===----------------------------------------------------------------------===//

void AdamW::update(Tensor &parameter, Tensor &firstMoment, Tensor &secondMoment, const Tensor &gradient, int64_t step) const {
  double correction1 = 1 - std::pow(beta1, static_cast<double>(step)), correction2 = 1 - std::pow(beta2, static_cast<double>(step));
  for (size_t i = 0; i < parameter.values.size(); ++i) {
    double &p = parameter.values[i], &m = firstMoment.values[i], &v = secondMoment.values[i], g = gradient.values[i];
    p *= 1 - learningRate * weightDecay;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    p -= learningRate / correction1 * m / (std::sqrt(v) / std::sqrt(correction2) + epsilon);
  }
}
