//===- MoaiInterfaces.td - What an op says about itself --------------------===//
#ifndef MOAI_IR_MOAIINTERFACES_TD
#define MOAI_IR_MOAIINTERFACES_TD

include "mlir/IR/OpBase.td"

def Moai_WorkOpInterface : OpInterface<"WorkOpInterface"> {
  let cppNamespace = "::moai";
  let description = [{ What running the op once costs: floating-point operations and bytes of memory traffic. }];
  let methods = [
    InterfaceMethod<[{Floating-point operations, bytes moved and kernel kind under a binding. By default a kernel that
      reads its operands and writes its results once.}],
      "::moai::OpWork", "getWork", (ins "const ::moai::DimBinding &":$binding), "",
      [{ return ::moai::getStreamingWork($_op.getOperation(), binding); }]>,
    InterfaceMethod<"Bytes that the op's kernels hold between them, beside operands and results.",
      "int64_t", "getTemporaryBytes", (ins "const ::moai::DimBinding &":$binding), "", [{ return 0; }]>,
  ];
}

def Moai_ViewOpInterface : OpInterface<"ViewOpInterface"> {
  let cppNamespace = "::moai";
  let description = [{ The op rearranges its first operand; its result may share that operand's storage. }];
  let methods = [
    InterfaceMethod<[{Strides of the result, in elements, if it can alias an operand of the given concrete shape and strides;
      nothing if it must copy.}],
      "::std::optional<::llvm::SmallVector<int64_t, 4>>", "getAliasStrides",
      (ins "::llvm::ArrayRef<int64_t>":$shape, "::llvm::ArrayRef<int64_t>":$strides, "const ::moai::DimBinding &":$binding)>,
  ];
}

def Moai_InPlaceOpInterface : OpInterface<"InPlaceOpInterface"> {
  let cppNamespace = "::moai";
  let description = [{ Every result takes over the storage of one operand, which nothing may read afterwards. }];
  let methods = [
    InterfaceMethod<"The operand whose storage a result takes over.", "::mlir::Value", "getUpdatedOperand", (ins "unsigned":$result)>,
  ];
}

def Moai_GradientOpInterface : OpInterface<"GradientOpInterface"> {
  let cppNamespace = "::moai";
  let description = [{ The op's reverse-mode rule. }];
  let methods = [
    InterfaceMethod<[{Emits the ops that turn gradients of the results into gradients of the operands. The builder says which
      operands need one, hands out forward values (recording them as saved) and takes the results.}],
      "void", "buildGradient", (ins "::moai::GradientBuilder &":$gradients)>,
    InterfaceMethod<"Whether there is a rule for an op of this kind.", "bool", "hasGradientRule", (ins), "", [{ return true; }]>,
  ];
}

def Moai_FactorOpInterface : OpInterface<"FactorOpInterface"> {
  let cppNamespace = "::moai";
  let description = [{
    What splitting the op along its dimensions means (IR/Factors.h). Every op has it, except those that aren't understood, calls, and those
    that only exist because something was split. What isn't certain is whole.
  }];
  let methods = [
    InterfaceMethod<"Factors of the dimensions of all operands and results.", "::moai::OpFactors", "getFactors", (ins)>,
  ];
}

def Moai_RandomOpInterface : OpInterface<"RandomOpInterface"> {
  let cppNamespace = "::moai";
  let description = [{
    The op may draw random numbers. They depend on its `stream`, so a copy of the op, wherever it runs for the same block of the same step,
    draws the same ones. NormalizeGraph numbers the streams.
  }];
  let methods = [
    InterfaceMethod<"Whether it draws any.", "bool", "drawsNumbers", (ins)>,
    InterfaceMethod<"Gives it a stream of its own.", "void", "setStream", (ins "uint64_t":$stream)>,
  ];
}

#endif // MOAI_IR_MOAIINTERFACES_TD
