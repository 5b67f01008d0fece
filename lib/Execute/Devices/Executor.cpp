//===- Executor.cpp - Runs a moai module -----------------------------------===//
#include "moai/Execute/Executor.h"
#include "VirtualDevice.h"
#include "absl/strings/str_cat.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace moai;

struct Executor::State {
  State(ModuleOp module, const ExecuteOptions &options) : functions(module, getBinding(module)), options(options) {
    addAllKernels(kernels);
  }

  FunctionTable functions;
  ExecuteOptions options;
  KernelTable kernels;
};

Executor::Executor(ModuleOp module, const ExecuteOptions &options) : state(std::make_unique<State>(module, options)) {}

Executor::~Executor() = default;

absl::StatusOr<Executor::Values> Executor::run(StringRef name, Values arguments) {
  auto function = state->functions.module.lookupSymbol<func::FuncOp>(name);
  if (!function || function.getNumArguments() != arguments.size())
    return absl::InvalidArgumentError(absl::StrCat("no function @", name.str(), " that takes ", arguments.size(), " arguments"));
  VirtualDevice device(state->functions, state->kernels, state->options, DevicePlace());
  std::vector<DeviceValue> operands;
  for (auto [argument, tensor] : llvm::zip(function.getArguments(), arguments))
    operands.push_back(device.allocate(std::move(tensor), argument));
  if (absl::Status status = device.start(function, std::move(operands), state->options.firstSample); !status.ok())
    return status;
  Rendezvous nobody;
  absl::StatusOr<bool> ended = device.run(nobody);
  if (!ended.ok())
    return ended.status();
  if (!*ended)
    return absl::InvalidArgumentError(absl::StrCat(device.describePosition(), ", but there are no other devices"));
  Values results;
  for (DeviceValue &value : device.takeResults())
    results.push_back(std::move(value.tensor));
  return results;
}
