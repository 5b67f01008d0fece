//===- MoaiOps.td - The ops of the moai dialect ----------------------------===//
#ifndef MOAI_IR_MOAIOPS_TD
#define MOAI_IR_MOAIOPS_TD

include "moai/IR/MoaiDialect.td"
include "moai/IR/MoaiInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

// Every op takes and returns whole tensors and prints as `moai.op operands attributes : (types) -> types`.
class Moai_Op<string mnemonic, list<Trait> traits = []> : Op<Moai_Dialect, mnemonic, traits> {
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

defvar Work = DeclareOpInterfaceMethods<Moai_WorkOpInterface, ["getWork"]>;
defvar Streams = Moai_WorkOpInterface;
defvar StreamsWithTemporary = DeclareOpInterfaceMethods<Moai_WorkOpInterface, ["getTemporaryBytes"]>;
defvar Grad = DeclareOpInterfaceMethods<Moai_GradientOpInterface>;
defvar Factors = DeclareOpInterfaceMethods<Moai_FactorOpInterface>;
defvar InPlace = DeclareOpInterfaceMethods<Moai_InPlaceOpInterface>;
defvar View = DeclareOpInterfaceMethods<Moai_ViewOpInterface>;
defvar Random = DeclareOpInterfaceMethods<Moai_RandomOpInterface, ["drawsNumbers"]>;
defvar StreamAttr = DefaultValuedAttr<I64Attr, "0">;

//===----------------------------------------------------------------------===//
// Matrix products
//===----------------------------------------------------------------------===//

def Moai_ContractOp : Moai_Op<"contract", [Pure, Work, Grad, Factors]> {
  let summary = "a product summed over shared factors, as einsum writes it";
  let description = [{
    `moai.contract %x, %w {equation = "abk,nk->abn"}` is a linear layer. A letter names a factor; letters missing on the
    right are summed. Constraints: one letter per dimension; equal letters have equal dimensions; the optional third operand
    is a bias of rank 1 that matches the last letter of the result. Matmul work counts 2 x product of all factors.
  }];
  let arguments = (ins Moai_AnyTensor:$lhs, Moai_AnyTensor:$rhs, Optional<Moai_AnyTensor>:$bias, StrAttr:$equation);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ConvolutionOp : Moai_Op<"convolution", [Pure, Work, Grad, Factors]> {
  let summary = "convolution of [n, c, spatial...] with [o, c/groups, spatial...]";
  let arguments = (ins Moai_AnyTensor:$input, Moai_AnyTensor:$weight, Optional<Moai_AnyTensor>:$bias, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation, I64Attr:$groups);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_TransposedConvolutionOp : Moai_Op<"transposed_convolution", [Pure, Work, Grad, Factors]> {
  let summary = "what a convolution's gradient is to its input: [n, o, spatial...] spread by [o, c/groups, spatial...]";
  let arguments = (ins Moai_AnyTensor:$input, Moai_AnyTensor:$weight, Optional<Moai_AnyTensor>:$bias, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation, I64Attr:$groups);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ConvolutionBackwardOp : Moai_Op<"convolution_backward", [Pure, Work, Factors]> {
  let summary = "gradient of a convolution for its input or its weight";
  let description = [{ `wrt` is `input` or `weight`; the result has its shape. Both operands of the forward are kept for either. }];
  let arguments = (ins Moai_AnyTensor:$gradient, Moai_AnyTensor:$input, Moai_AnyTensor:$weight, StrAttr:$wrt, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation, I64Attr:$groups);
  let results = (outs Moai_AnyTensor:$result);
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

class Moai_AttentionBase<string mnemonic, list<Trait> traits> : Moai_Op<mnemonic, traits> {
  string attentionDoc = [{
    `mask` is `causal`, `sliding_window` (of `window` positions, the query's own included), `full`, or `bias` (the operand
    `bias` is added to the scores). Key and value may have fewer heads than the query, by an integer factor. With `dropout`, the
    probabilities are dropped as the random numbers of `stream` say, which the backward draws again. `unfused` says that
    the framework has no fused kernel for it: its backward keeps the scores instead of computing them again.
  }];
}

def Moai_AttentionOp : Moai_AttentionBase<"attention", [Pure, Work, Grad, Factors, Random]> {
  let summary = "scaled dot-product attention over [batch, heads, sequence, width]";
  let description = attentionDoc;
  let arguments = (ins Moai_AnyTensor:$query, Moai_AnyTensor:$key, Moai_AnyTensor:$value, Optional<Moai_AnyTensor>:$bias,
                       StrAttr:$mask, I64Attr:$window, F64Attr:$scale, F64Attr:$dropout, StreamAttr:$stream, UnitAttr:$unfused);
  let results = (outs Moai_AnyTensor:$result, Moai_AnyTensor:$logsumexp);
}

def Moai_AttentionBackwardOp : Moai_AttentionBase<"attention_backward", [Pure, Work, Factors]> {
  let summary = "gradients of attention for query, key, value and, if wanted, bias";
  let description = attentionDoc;
  let arguments = (ins Moai_AnyTensor:$gradient, Moai_AnyTensor:$query, Moai_AnyTensor:$key, Moai_AnyTensor:$value,
                       Moai_AnyTensor:$result, Moai_AnyTensor:$logsumexp, Optional<Moai_AnyTensor>:$bias, StrAttr:$mask,
                       I64Attr:$window, F64Attr:$scale, F64Attr:$dropout, StreamAttr:$stream, UnitAttr:$unfused);
  let results = (outs Variadic<Moai_AnyTensor>:$gradients);
}

//===----------------------------------------------------------------------===//
// Element by element, along a dimension, over dimensions
//===----------------------------------------------------------------------===//

def Moai_ElementwiseOp : Moai_Op<"elementwise", [Pure, Streams, Grad, Factors]> {
  let summary = "one scalar function applied element by element, with broadcasting";
  let description = [{
    `kind` names the function (`add`, `mul`, `silu`, `silu_backward`, ...; the list with arities is in ElementwiseOps.cpp);
    `scalars` are its constant arguments. Shapes are aligned at the last dimension; each operand's dimension equals the
    result's or is 1.
  }];
  let arguments = (ins Variadic<Moai_AnyTensor>:$inputs, StrAttr:$kind, DefaultValuedAttr<DenseF64ArrayAttr, "{}">:$scalars);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_CastOp : Moai_Op<"cast", [Pure, Streams, Grad, Factors]> {
  let summary = "conversion to another element type";
  let arguments = (ins Moai_AnyTensor:$input);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_CopyOp : Moai_Op<"copy", [Pure, Streams, Grad, Factors]> {
  let summary = "a contiguous copy";
  let arguments = (ins Moai_AnyTensor:$input);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ReduceOp : Moai_Op<"reduce", [Pure, Streams, Grad, Factors]> {
  let summary = "reduction over some dimensions";
  let description = [{ `kind` is sum, mean, amax, amin, any, all, prod, var, norm, argmax or argmin. Reduced dimensions stay as 1 if `keep_dims`. }];
  let arguments = (ins Moai_AnyTensor:$input, StrAttr:$kind, DenseI64ArrayAttr:$dims, BoolAttr:$keep_dims);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ScanOp : Moai_Op<"scan", [Pure, Streams, DeclareOpInterfaceMethods<Moai_GradientOpInterface, ["hasGradientRule"]>, Factors]> {
  let summary = "running reduction along one dimension";
  let arguments = (ins Moai_AnyTensor:$input, StrAttr:$kind, I64Attr:$dim);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_NormalizeOp : Moai_Op<"normalize", [Pure, Streams, Grad, AttrSizedOperandSegments, Factors]> {
  let summary = "normalisation with optional scale and shift";
  let description = [{
    `kind` is `layer_norm` or `rms_norm` over the last `axes` dimensions, `group_norm` (`axes` groups) or `batch_norm`. The
    second result holds the statistics the backward needs.
  }];
  let arguments = (ins Moai_AnyTensor:$input, Optional<Moai_AnyTensor>:$weight, Optional<Moai_AnyTensor>:$bias, StrAttr:$kind, I64Attr:$axes, F64Attr:$eps);
  let results = (outs Moai_AnyTensor:$result, Moai_AnyTensor:$statistics);
}

def Moai_NormalizeBackwardOp : Moai_Op<"normalize_backward", [Pure, Streams, Factors]> {
  let summary = "gradients of a normalisation for input and, if given, weight and bias";
  let arguments = (ins Moai_AnyTensor:$gradient, Moai_AnyTensor:$input, Moai_AnyTensor:$statistics, Optional<Moai_AnyTensor>:$weight, StrAttr:$kind, I64Attr:$axes);
  let results = (outs Variadic<Moai_AnyTensor>:$gradients);
}

class Moai_PoolBase<string mnemonic, list<Trait> traits> : Moai_Op<mnemonic, traits> {
  string poolDoc = [{
    `kind` is `max` or `avg`. An average divides by the whole window if `count_padding`, otherwise by what of it lies inside.
    Positions beyond the operand don't count for a maximum. Constraints: window, strides, padding and dilation have one entry
    per spatial dimension.
  }];
}

def Moai_PoolOp : Moai_PoolBase<"pool", [Pure, Streams, Grad, Factors]> {
  let summary = "largest or mean value of each window of [n, c, spatial...]";
  let description = poolDoc;
  let arguments = (ins Moai_AnyTensor:$input, StrAttr:$kind, DenseI64ArrayAttr:$window, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation, BoolAttr:$count_padding);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_PoolBackwardOp : Moai_PoolBase<"pool_backward", [Pure, Streams, Factors]> {
  let summary = "gradient of a pool for its operand; of equal maxima the first gets it";
  let description = poolDoc;
  let arguments = (ins Moai_AnyTensor:$gradient, Moai_AnyTensor:$input, StrAttr:$kind, DenseI64ArrayAttr:$window,
                       DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation, BoolAttr:$count_padding);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_SoftmaxOp : Moai_Op<"softmax", [Pure, Streams, Grad, Factors]> {
  let summary = "softmax, or its logarithm, along one dimension";
  let arguments = (ins Moai_AnyTensor:$input, I64Attr:$dim, BoolAttr:$log);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_SoftmaxBackwardOp : Moai_Op<"softmax_backward", [Pure, Streams, Factors]> {
  let summary = "gradient of softmax, from its result";
  let arguments = (ins Moai_AnyTensor:$gradient, Moai_AnyTensor:$output, I64Attr:$dim, BoolAttr:$log);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_DropoutOp : Moai_Op<"dropout", [Pure, Streams, Grad, Random, Factors]> {
  let summary = "dropout with probability p; the mask is kept for the backward";
  let arguments = (ins Moai_AnyTensor:$input, F64Attr:$p, StreamAttr:$stream);
  let results = (outs Moai_AnyTensor:$result, Moai_AnyTensor:$mask);
}

def Moai_CrossEntropyOp : Moai_Op<"cross_entropy", [Pure, Streams, Grad, Factors]> {
  let summary = "cross entropy of [rows, classes] logits against class indices";
  let description = [{ The second result is the logarithm of the softmax and the third the number of targets that count, which the backward reads. }];
  let arguments = (ins Moai_AnyTensor:$logits, Moai_AnyTensor:$target, StrAttr:$reduction, I64Attr:$ignore_index, F64Attr:$label_smoothing);
  let results = (outs Moai_AnyTensor:$loss, Moai_AnyTensor:$log_probabilities, Moai_AnyTensor:$counted);
}

def Moai_CrossEntropyBackwardOp : Moai_Op<"cross_entropy_backward", [Pure, StreamsWithTemporary, Factors]> {
  let summary = "gradient of the cross entropy for its logits";
  let arguments = (ins Moai_AnyTensor:$gradient, Moai_AnyTensor:$log_probabilities, Moai_AnyTensor:$target, Moai_AnyTensor:$counted, StrAttr:$reduction, I64Attr:$ignore_index, F64Attr:$label_smoothing);
  let results = (outs Moai_AnyTensor:$result);
}

//===----------------------------------------------------------------------===//
// Views and joins
//===----------------------------------------------------------------------===//

def Moai_ReshapeOp : Moai_Op<"reshape", [Pure, Work, View, Grad, Factors]> {
  let summary = "the same elements in row-major order under other dimensions; copies where strides don't allow a view";
  let arguments = (ins Moai_AnyTensor:$input);
  let results = (outs Moai_AnyTensor:$result);
  let hasFolder = 1;
}

def Moai_ComplexViewOp : Moai_Op<"complex_view", [Pure, Work, View, Grad, Factors]> {
  let summary = "pairs of reals, in a last dimension of 2, as complex numbers, or the other way round";
  let arguments = (ins Moai_AnyTensor:$input);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_DetachOp : Moai_Op<"detach", [Pure, Work, View, Factors]> {
  let summary = "the same tensor, through which no gradient passes";
  let arguments = (ins Moai_AnyTensor:$input);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_TransposeOp : Moai_Op<"transpose", [Pure, Work, View, Grad, Factors]> {
  let summary = "dimension i of the result is dimension permutation[i] of the operand";
  let arguments = (ins Moai_AnyTensor:$input, DenseI64ArrayAttr:$permutation);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ExpandOp : Moai_Op<"expand", [Pure, Work, View, Grad, Factors]> {
  let summary = "repeats dimensions of size 1 without copying; new leading dimensions may appear";
  let arguments = (ins Moai_AnyTensor:$input);
  let results = (outs Moai_AnyTensor:$result);
  let hasFolder = 1;
}

def Moai_SliceOp : Moai_Op<"slice", [Pure, Work, View, Grad, Factors]> {
  let summary = "positions start, start + step, ... of one dimension; the result says how many";
  let description = [{ `start` is a dimension in its textual form, so that a slice from the end follows the sequence. }];
  let arguments = (ins Moai_AnyTensor:$input, I64Attr:$dim, StrAttr:$start, I64Attr:$step);
  let results = (outs Moai_AnyTensor:$result);
  let hasFolder = 1;
}

def Moai_InsertSliceOp : Moai_Op<"insert_slice", [Pure, Streams, Grad, Factors]> {
  let summary = "the first operand with one slice replaced by the second";
  let arguments = (ins Moai_AnyTensor:$into, Moai_AnyTensor:$source, I64Attr:$dim, StrAttr:$start, I64Attr:$step);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ConcatOp : Moai_Op<"concat", [Pure, Streams, Grad, Factors]> {
  let summary = "joins along one dimension";
  let arguments = (ins Variadic<Moai_AnyTensor>:$inputs, I64Attr:$dim);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_PadOp : Moai_Op<"pad", [Pure, Streams, Grad, Factors]> {
  let summary = "embeds the operand in zeros: its element 0 lands at `start` of dimension `dim`, further ones `step` apart";
  let arguments = (ins Moai_AnyTensor:$input, I64Attr:$dim, StrAttr:$start, I64Attr:$step);
  let results = (outs Moai_AnyTensor:$result);
}

//===----------------------------------------------------------------------===//
// Sources and indices
//===----------------------------------------------------------------------===//

def Moai_GenerateOp : Moai_Op<"generate", [Pure, Streams, Random, Factors]> {
  let summary = "a tensor made of nothing: arange (start, step), full (value), empty, tril, or random";
  let arguments = (ins StrAttr:$kind, DefaultValuedAttr<DenseF64ArrayAttr, "{}">:$scalars, StreamAttr:$stream);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_EmbeddingOp : Moai_Op<"embedding", [Pure, Work, Grad, Factors]> {
  let summary = "rows of a [vocabulary, width] table";
  let description = [{ The gradient of row `padding_index` is zero; -1 means no such row. }];
  let arguments = (ins Moai_AnyTensor:$weight, Moai_AnyTensor:$indices, I64Attr:$padding_index);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_EmbeddingBackwardOp : Moai_Op<"embedding_backward", [Pure, Streams, Factors]> {
  let summary = "gradient of an embedding for its table";
  let arguments = (ins Moai_AnyTensor:$gradient, Moai_AnyTensor:$indices, I64Attr:$padding_index);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_GatherOp : Moai_Op<"gather", [Pure, Work, Grad, Factors]> {
  let summary = "elements of the first operand at the indices";
  let description = [{ `kind` is `index` (one index tensor per entry of `dims`, broadcast together), `gather` or `index_select` (along dims[0]). }];
  let arguments = (ins Moai_AnyTensor:$input, Variadic<Moai_AnyTensor>:$indices, StrAttr:$kind, DenseI64ArrayAttr:$dims);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ScatterOp : Moai_Op<"scatter", [Pure, Streams, Grad, Factors]> {
  let summary = "the first operand with elements at the indices replaced by, or increased by, the last operand";
  let description = [{ `kind` as in gather, `accumulate` adds. `scalars` holds the value where no tensor of values is given. }];
  let arguments = (ins Moai_AnyTensor:$into, Variadic<Moai_AnyTensor>:$inputs, StrAttr:$kind, DenseI64ArrayAttr:$dims, BoolAttr:$accumulate,
                       DefaultValuedAttr<DenseF64ArrayAttr, "{}">:$scalars);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_SortOp : Moai_Op<"sort", [Pure, Streams, Grad, Factors]> {
  let summary = "largest `k` (or all, if k is 0) along one dimension, with their indices";
  let arguments = (ins Moai_AnyTensor:$input, I64Attr:$dim, I64Attr:$k, BoolAttr:$descending);
  let results = (outs Moai_AnyTensor:$values, Moai_AnyTensor:$indices);
}

def Moai_HistogramOp : Moai_Op<"histogram", [Pure, Streams, Factors]> {
  let summary = "counts in equal bins";
  let arguments = (ins Moai_AnyTensor:$input, F64Attr:$low, F64Attr:$high);
  let results = (outs Moai_AnyTensor:$result);
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

def Moai_RouteOp : Moai_Op<"route", [Pure, Streams, Factors]> {
  let summary = "orders the (token, choice) rows by expert";
  let description = [{
    From [tokens, choices] expert numbers: `order`, the flat (token x choices + choice) positions sorted by expert; `inverse`,
    where each flat position went; `offsets`, the end of each expert's rows.
  }];
  let arguments = (ins Moai_AnyTensor:$choices);
  let results = (outs Moai_AnyTensor:$order, Moai_AnyTensor:$inverse, Moai_AnyTensor:$offsets);
}

def Moai_DispatchOp : Moai_Op<"dispatch", [Pure, Streams, Grad, Factors]> {
  let summary = "copies each token's row once per chosen expert, in expert order";
  let arguments = (ins Moai_AnyTensor:$input, Moai_AnyTensor:$order, Moai_AnyTensor:$inverse, I64Attr:$choices);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ExpertMatmulOp : Moai_Op<"expert_matmul", [Pure, Work, Grad, Factors]> {
  let summary = "[rows, k] times each row's expert of [experts, k, n] (or [experts, n, k] if `transposed`)";
  let arguments = (ins Moai_AnyTensor:$input, Moai_AnyTensor:$weight, Moai_AnyTensor:$offsets, BoolAttr:$transposed);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_ExpertOuterOp : Moai_Op<"expert_outer", [Pure, Work, Factors]> {
  let summary = "per expert, the product of [rows, m] transposed with [rows, n]: [experts, m, n]";
  let arguments = (ins Moai_AnyTensor:$lhs, Moai_AnyTensor:$rhs, Moai_AnyTensor:$offsets);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_CombineOp : Moai_Op<"combine", [Pure, Streams, Grad, Factors]> {
  let summary = "sums the rows of each token's experts, back in token order";
  let arguments = (ins Moai_AnyTensor:$input, Moai_AnyTensor:$order, Moai_AnyTensor:$inverse, I64Attr:$choices);
  let results = (outs Moai_AnyTensor:$result);
}

//===----------------------------------------------------------------------===//
// Ops that aren't understood
//===----------------------------------------------------------------------===//

def Moai_OpaqueOp : Moai_Op<"opaque", [Streams, Grad]> {
  let summary = "a framework op that moai does not know";
  let description = [{ Costs its traffic, can't be split, and saves every operand for a backward of the same cost. }];
  let arguments = (ins Variadic<Moai_AnyTensor>:$inputs, StrAttr:$target);
  let results = (outs Variadic<Moai_AnyTensor>:$outputs);
}

//===----------------------------------------------------------------------===//
// Repeated blocks
//===----------------------------------------------------------------------===//

def Moai_RepeatOp : Moai_Op<"repeat", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "calls a function once per instance of a repeated block, one call after the other";
  let description = [{
    Iteration i calls `callee` with, for each operand: its own element of a stack; or what the iteration before it returned as result
    `carries[operand]` (the first one: the operand itself); or, where that is -1, the operand, the same for all. A result that is a
    stack collects what every iteration returned, others are the last one's. Iteration i has element i of stacks, or element
    count - 1 - i if `reversed`. `blocks` names the instances, by element.
  }];
  let arguments = (ins Variadic<Moai_AnyTensorOrStack>:$inputs, FlatSymbolRefAttr:$callee, I64Attr:$count, DenseI64ArrayAttr:$carries,
                       OptionalAttr<StrArrayAttr>:$blocks, UnitAttr:$reversed);
  let results = (outs Variadic<Moai_AnyTensorOrStack>:$outputs);
  let extraClassDeclaration = [{
    /// The element of stacks that an iteration has.
    int64_t elementOf(int64_t iteration) { return getReversed() ? static_cast<int64_t>(getCount()) - 1 - iteration : iteration; }
    /// Name of the block's instance in an iteration, or null.
    ::mlir::StringAttr blockOf(int64_t iteration) {
      auto names = getBlocksAttr();
      return names ? ::llvm::cast<::mlir::StringAttr>(names[elementOf(iteration)]) : ::mlir::StringAttr();
    }
    bool isStacked(unsigned operand) { return ::llvm::isa<::moai::StackType>(getOperand(operand).getType()); }
  }];
}

//===----------------------------------------------------------------------===//
// Distribution
//===----------------------------------------------------------------------===//

class Moai_TransferOp<string mnemonic> : Moai_Op<mnemonic, []> {
  let arguments = (ins Variadic<Moai_AnyTensor>:$inputs, I64Attr:$peer);
  let results = (outs Variadic<Moai_AnyTensor>:$outputs);
}

def Moai_SendOp : Moai_TransferOp<"send"> {
  let summary = "sends a micro-batch's tensors to stage `peer`";
}
def Moai_ReceiveOp : Moai_TransferOp<"receive"> {
  let summary = "receives a micro-batch's tensors from stage `peer`";
}

class Moai_BucketOp<string mnemonic> : Moai_Op<mnemonic, []> {
  let arguments = (ins Variadic<Moai_AnyTensor>:$inputs, Moai_AxesAttr:$axes);
  let results = (outs Variadic<Moai_AnyTensor>:$outputs);
  let builders = [OpBuilder<(ins "::mlir::TypeRange":$types, "::mlir::ValueRange":$inputs, "::moai::AxisSet":$axes), [{
    build($_builder, $_state, types, inputs, ::moai::AxesAttr::get($_builder.getContext(), axes));
  }]>];
}

def Moai_GatherBucketOp : Moai_BucketOp<"gather_bucket"> {
  let summary = "makes whole tensors of the flat shards that the members of a group along `axes` hold";
  let description = [{
    The operand is one flat shard of [ceil(n / members)] elements, where n counts the elements of all results, one after the
    other. They may be of another element type. The mesh of the module's configuration says how many members there are.
  }];
}
def Moai_ScatterBucketOp : Moai_BucketOp<"scatter_bucket"> {
  let summary = "sums whole tensors over a group along `axes`; each member keeps one flat shard of them all";
}
def Moai_AllReduceOp : Moai_Op<"all_reduce", []> {
  let summary = "sums tensors over a group; every member keeps the sum";
  let description = [{ The group is along `axes`, or of the devices at one place of each of the `stages` listed. }];
  let arguments = (ins Variadic<Moai_AnyTensor>:$inputs, OptionalAttr<Moai_AxesAttr>:$axes, OptionalAttr<DenseI64ArrayAttr>:$stages);
  let results = (outs Variadic<Moai_AnyTensor>:$outputs);
  let builders = [OpBuilder<(ins "::mlir::TypeRange":$types, "::mlir::ValueRange":$inputs, "::moai::AxisSet":$axes), [{
    build($_builder, $_state, types, inputs, ::moai::AxesAttr::get($_builder.getContext(), axes), ::mlir::DenseI64ArrayAttr());
  }]>];
}

def Moai_AccumulateOp : Moai_Op<"accumulate", [AttrSizedOperandSegments, Streams, InPlace, Factors]> {
  let summary = "adds a micro-batch's gradients to those of the micro-batches before it, in place";
  let arguments = (ins Variadic<Moai_AnyTensor>:$accumulators, Variadic<Moai_AnyTensor>:$gradients);
  let results = (outs Variadic<Moai_AnyTensor>:$outputs);
}

def Moai_SquaredNormOp : Moai_Op<"squared_norm", [Pure, Streams, Factors]> {
  let summary = "sum of the squares of all elements of all operands";
  let arguments = (ins Variadic<Moai_AnyTensorOrStack>:$inputs);
  let results = (outs Moai_AnyTensor:$result);
}

def Moai_OptimizerOp : Moai_Op<"optimizer", [AttrSizedOperandSegments, Streams, InPlace, Factors]> {
  let summary = "one update of whole tensors or of flat shards";
  let description = [{
    Takes gradients, parameters (or their masters) and as many states of each as the policy's optimizer keeps: first moments
    (or momentum), then second ones. Returns the new parameters and states, in that order and in place. With
    `squared_norm`, of the gradients of all parameters, they are scaled down to the policy's max_gradient_norm first.
  }];
  let arguments = (ins Variadic<Moai_AnyTensor>:$gradients, Variadic<Moai_AnyTensor>:$parameters, Variadic<Moai_AnyTensor>:$states,
                       Optional<Moai_AnyTensor>:$squared_norm, Moai_OptimizerAttr:$policy);
  let results = (outs Variadic<Moai_AnyTensor>:$outputs);
}

#endif // MOAI_IR_MOAIOPS_TD
