//===- MoaiDialect.td - The moai dialect, its types and attributes ---------===//
#ifndef MOAI_IR_MOAIDIALECT_TD
#define MOAI_IR_MOAIDIALECT_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/OpBase.td"

def Moai_Dialect : Dialect {
  let name = "moai";
  let cppNamespace = "::moai";
  let summary = "Training graphs of neural networks, before and after they are split over devices";
  let description = [{
    One dialect for the whole flow: the graph a framework exported, its backward, and what each device of a
    candidate runs. Dimensions are polynomials of symbols (`b` samples of a micro-batch, `s` positions), so batch
    and sequence stay dimensions until a number is needed; the module attribute `moai.binding` gives the numbers.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let hasOperationAttrVerify = 1;
}

def Moai_DimListParameter : TypeParameter<"::moai::DimList", "symbolic dimensions"> {
  let allocator = [{ $_dst = ::moai::DimList($_allocator.copyInto($_self.getPacked())); }];
}

def Moai_TensorType : TypeDef<Moai_Dialect, "SymTensor"> {
  let mnemonic = "tensor";
  let summary = "a dense tensor whose dimensions may be symbolic";
  let description = [{
    `!moai.tensor<[b, s minus 1, 4096], bf16>`. Dimensions are non-negative under every binding with positive symbols;
    a constant dimension must not be negative.
  }];
  let parameters = (ins Moai_DimListParameter:$dims, "::mlir::Type":$elementType);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let builders = [TypeBuilder<(ins "::llvm::ArrayRef<::moai::Dim>":$shape, "::mlir::Type":$elementType)>];
  let extraClassDeclaration = [{
    /// The dimensions, decoded.
    ::llvm::SmallVector<::moai::Dim, 4> getShape() const { return getDims().decode(); }
    unsigned getRank() const { return getDims().getRank(); }
    /// Elements under the binding, saturating.
    int64_t countElements(const ::moai::DimBinding &binding) const;
    /// Bytes under the binding, saturating; an i1 takes one byte, as in PyTorch.
    int64_t countBytes(const ::moai::DimBinding &binding) const;
  }];
}

def Moai_StackType : TypeDef<Moai_Dialect, "Stack"> {
  let mnemonic = "stack";
  let summary = "tensors of one type, one for each instance of a repeated block";
  let description = [{
    `!moai.stack<32 x <[4096, 4096], bf16>>`: the weights that 32 layers have at one place. Each tensor has a storage of
    its own; the stack only names them together, so that a model costs as much IR as it has distinct blocks.
  }];
  let parameters = (ins "int64_t":$count, "::moai::SymTensorType":$element);
  let assemblyFormat = "`<` $count `x` $element `>`";
  let genVerifyDecl = 1;
  let builders = [TypeBuilderWithInferredContext<(ins "int64_t":$count, "::moai::SymTensorType":$element),
                                                 [{ return $_get(element.getContext(), count, element); }]>];
}

def Moai_AnyTensor : Type<CPred<"::llvm::isa<::moai::SymTensorType>($_self)">, "moai tensor", "::moai::SymTensorType">;

def Moai_AnyTensorOrStack : Type<CPred<"::llvm::isa<::moai::SymTensorType, ::moai::StackType>($_self)">, "moai tensor or stack of tensors">;

def Moai_ConfigAttr : AttrDef<Moai_Dialect, "Config"> {
  let mnemonic = "config";
  let summary = "one way of splitting the step: a ParallelConfig in its key=value spelling";
  let description = [{ `#moai.config<"num_stages=2,num_micro_batches=16,batch_per_device=1,data_parallel=16,zero=1">` }];
  let parameters = (ins StringRefParameter<"key=value,...">:$text);
  let assemblyFormat = "`<` $text `>`";
  let genVerifyDecl = 1;
}

def Moai_OptimizerAttr : AttrDef<Moai_Dialect, "OptimizerPolicy"> {
  let mnemonic = "optimizer";
  let summary = "how parameters are updated, and in which types: an OptimizerPolicy in its spelling";
  let description = [{ `#moai.optimizer<"adamw,learning_rate=0.001,master=f32,state=f32">` }];
  let parameters = (ins StringRefParameter<"NAME,key=value,...">:$text);
  let assemblyFormat = "`<` $text `>`";
  let genVerifyDecl = 1;
}

def Moai_AxesAttr : AttrDef<Moai_Dialect, "Axes"> {
  let mnemonic = "axes";
  let summary = "axes of the device mesh, along which the members of a group differ";
  let description = [{ `#moai.axes<data>`, `#moai.axes<stage, tensor>`: the names of an AxisSet. }];
  let parameters = (ins "::moai::AxisSet":$value);
  let hasCustomAssemblyFormat = 1;
}

#endif // MOAI_IR_MOAIDIALECT_TD
