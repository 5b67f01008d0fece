// Every diagnostic of the dialect's verifiers.
// RUN: moai-opt %s -split-input-file -verify-diagnostics

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

func.func @f(%a0: !moai.tensor<[b, 8, s, 16], f32>, %a1: !moai.tensor<[b, 2, s, 16], f32>, %a2: !moai.tensor<[b, 2, s, 16], f32>) {
  // expected-error @below {{'moai.attention' op mask must be causal, sliding_window, full or bias, found 'diagonal'}}
  %0:2 = moai.attention %a0, %a1, %a2 {dropout = 0.0, scale = 1.0, mask = "diagonal", window = 0} : (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>) -> (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8, s, 16], f32>, %a1: !moai.tensor<[b, 2, s, 16], f32>, %a2: !moai.tensor<[b, 2, s, 16], f32>) {
  // expected-error @below {{'moai.attention' op window must be positive for a sliding window and 0 otherwise, found 0 for 'sliding_window'}}
  %0:2 = moai.attention %a0, %a1, %a2 {dropout = 0.0, scale = 1.0, mask = "sliding_window", window = 0} : (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>) -> (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8, s, 16], f32>, %a1: !moai.tensor<[b, 2, s, 16], f32>, %a2: !moai.tensor<[b, 2, s, 16], f32>) {
  // expected-error @below {{'moai.attention' op needs a bias operand exactly when its mask is 'bias'}}
  %0:2 = moai.attention %a0, %a1, %a2 {dropout = 0.0, scale = 1.0, mask = "bias", window = 0} : (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>) -> (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8, s, 16], f32>, %a1: !moai.tensor<[b, 3, s, 16], f32>, %a2: !moai.tensor<[b, 3, s, 16], f32>) {
  // expected-error @below {{'moai.attention' op has 8 query heads, not a multiple of its 3 key heads}}
  %0:2 = moai.attention %a0, %a1, %a2 {dropout = 0.0, scale = 1.0, mask = "causal", window = 0} : (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 3, s, 16], f32>, !moai.tensor<[b, 3, s, 16], f32>) -> (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8, s, 16], f32>, %a1: !moai.tensor<[b, 2, s, 8], f32>, %a2: !moai.tensor<[b, 2, s, 8], f32>) {
  // expected-error @below {{'moai.attention' op key has dimension 3 = 8, expected 16}}
  %0:2 = moai.attention %a0, %a1, %a2 {dropout = 0.0, scale = 1.0, mask = "causal", window = 0} : (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 2, s, 8], f32>, !moai.tensor<[b, 2, s, 8], f32>) -> (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8, s, 16], f32>, %a1: !moai.tensor<[b, 8, s, 16], f32>, %a2: !moai.tensor<[b, 2, s, 16], f32>, %a3: !moai.tensor<[b, 2, s, 16], f32>, %a4: !moai.tensor<[b, 8, s, 16], f32>, %a5: !moai.tensor<[b, 8, s], f32>) {
  // expected-error @below {{'moai.attention_backward' op must return the gradients of query, key and value}}
  %0 = moai.attention_backward %a0, %a1, %a2, %a3, %a4, %a5 {dropout = 0.0, scale = 1.0, mask = "causal", window = 0} : (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>, !moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s], f32>) -> !moai.tensor<[b, 8, s, 16], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8, s, 16], f32>, %a1: !moai.tensor<[b, 8, s, 16], f32>, %a2: !moai.tensor<[b, 2, s, 16], f32>, %a3: !moai.tensor<[b, 2, s, 16], f32>, %a4: !moai.tensor<[b, 8, s, 16], f32>, %a5: !moai.tensor<[b, 8, s], f32>) {
  // expected-error @below {{'moai.attention_backward' op gradient of the query has shape [b, 8, s, 8], expected [b, 8, s, 16]}}
  %0:3 = moai.attention_backward %a0, %a1, %a2, %a3, %a4, %a5 {dropout = 0.0, scale = 1.0, mask = "causal", window = 0} : (!moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>, !moai.tensor<[b, 8, s, 16], f32>, !moai.tensor<[b, 8, s], f32>) -> (!moai.tensor<[b, 8, s, 8], f32>, !moai.tensor<[b, 2, s, 16], f32>, !moai.tensor<[b, 2, s, 16], f32>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[4, 4], f32>) {
  // expected-error @below {{'moai.contract' op lhs has rank 2, but equation 'abk,nk->abn' gives it 3 letters}}
  %0 = moai.contract %a0, %a1 {equation = "abk,nk->abn"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, s, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[4, 8], f32>) {
  // expected-error @below {{'moai.contract' op rhs has dimension 1 = 8, but factor 'k' is 4}}
  %0 = moai.contract %a0, %a1 {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 8], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[4, 4], f32>) {
  // expected-error @below {{'moai.contract' op equation 'ak,nk->am' has letter 'm' only in its result}}
  %0 = moai.contract %a0, %a1 {equation = "ak,nk->am"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 3, 8, 8], f32>, %a1: !moai.tensor<[4, 3, 2, 2], f32>) {
  // expected-error @below {{'moai.convolution' op strides, padding and dilation must have one entry per spatial dimension}}
  %0 = moai.convolution %a0, %a1 {dilation = array<i64: 1, 1>, groups = 1 : i64, padding = array<i64: 0>, strides = array<i64: 2, 2>} : (!moai.tensor<[b, 3, 8, 8], f32>, !moai.tensor<[4, 3, 2, 2], f32>) -> !moai.tensor<[b, 4, 4, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 3, 8, 8], f32>, %a1: !moai.tensor<[4, 3, 2, 2], f32>) {
  // expected-error @below {{'moai.convolution' op groups must be positive, found 0}}
  %0 = moai.convolution %a0, %a1 {dilation = array<i64: 1, 1>, groups = 0 : i64, padding = array<i64: 0, 0>, strides = array<i64: 2, 2>} : (!moai.tensor<[b, 3, 8, 8], f32>, !moai.tensor<[4, 3, 2, 2], f32>) -> !moai.tensor<[b, 4, 4, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4, 4, 4], f32>, %a1: !moai.tensor<[b, 3, 8, 8], f32>, %a2: !moai.tensor<[4, 3, 2, 2], f32>) {
  // expected-error @below {{'moai.convolution_backward' op wrt must be 'input' or 'weight', found 'bias'}}
  %0 = moai.convolution_backward %a0, %a1, %a2 {dilation = array<i64: 1, 1>, groups = 1 : i64, padding = array<i64: 0, 0>, strides = array<i64: 2, 2>, wrt = "bias"} : (!moai.tensor<[b, 4, 4, 4], f32>, !moai.tensor<[b, 3, 8, 8], f32>, !moai.tensor<[4, 3, 2, 2], f32>) -> !moai.tensor<[b, 3, 8, 8], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4, 4, 4], f32>, %a1: !moai.tensor<[b, 3, 8, 8], f32>, %a2: !moai.tensor<[4, 3, 2, 2], f32>) {
  // expected-error @below {{'moai.convolution_backward' op result has shape [4, 3, 2, 2], expected [b, 3, 8, 8]}}
  %0 = moai.convolution_backward %a0, %a1, %a2 {dilation = array<i64: 1, 1>, groups = 1 : i64, padding = array<i64: 0, 0>, strides = array<i64: 2, 2>, wrt = "input"} : (!moai.tensor<[b, 4, 4, 4], f32>, !moai.tensor<[b, 3, 8, 8], f32>, !moai.tensor<[4, 3, 2, 2], f32>) -> !moai.tensor<[4, 3, 2, 2], f32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Element by element
//===----------------------------------------------------------------------===//

func.func @f() {
  // expected-error @below {{'moai.elementwise' op needs at least one operand}}
  %0 = moai.elementwise  {kind = "add"} : () -> !moai.tensor<[b], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[1, b], f32>) {
  // expected-error @below {{'moai.elementwise' op operand 0 has rank 2, more than the result's 1}}
  %0 = moai.elementwise %a0 {kind = "exp"} : (!moai.tensor<[1, b], f32>) -> !moai.tensor<[b], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[1, 3], f32>) {
  // expected-error @below {{'moai.elementwise' op operand 1 has dimension 1 = 3, which does not broadcast to 4}}
  %0 = moai.elementwise %a0, %a1 {kind = "add"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[1, 3], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.copy' op result has type '!moai.tensor<[b], f64>', expected '!moai.tensor<[b], f32>'}}
  %0 = moai.copy %a0 : (!moai.tensor<[b], f32>) -> !moai.tensor<[b], f64>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.dropout' op probability must be between 0 and 1}}
  %0:2 = moai.dropout %a0 {p = 1.5} : (!moai.tensor<[b], f32>) -> (!moai.tensor<[b], f32>, !moai.tensor<[b], i1>)
  return
}

// -----

//===----------------------------------------------------------------------===//
// Along dimensions
//===----------------------------------------------------------------------===//

func.func @f(%a0: !moai.tensor<[b, 4], f32>) {
  // expected-error @below {{'moai.normalize' op kind must be layer_norm, rms_norm, group_norm or batch_norm, found 'norm'}}
  %0:2 = moai.normalize %a0 {axes = 1, eps = 1.0e-5, kind = "norm", operandSegmentSizes = array<i32: 1, 0, 0>} : (!moai.tensor<[b, 4], f32>) -> (!moai.tensor<[b, 4], f32>, !moai.tensor<[b], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>) {
  // expected-error @below {{'moai.normalize' op normalises 3 dimensions of a tensor of rank 2}}
  %0:2 = moai.normalize %a0 {axes = 3, eps = 1.0e-5, kind = "layer_norm", operandSegmentSizes = array<i32: 1, 0, 0>} : (!moai.tensor<[b, 4], f32>) -> (!moai.tensor<[b, 4], f32>, !moai.tensor<[b], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[b, 4], f32>, %a2: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.normalize_backward' op must return at least the gradient of the input}}
  moai.normalize_backward %a0, %a1, %a2 {axes = 1, kind = "layer_norm"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b, 4], f32>, !moai.tensor<[b], f32>) -> ()
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[b], i64>) {
  // expected-error @below {{'moai.cross_entropy' op reduction must be mean, sum or none, found 'max'}}
  %0:3 = moai.cross_entropy %a0, %a1 {ignore_index = -100, label_smoothing = 0.0, reduction = "max"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b], i64>) -> (!moai.tensor<[], f32>, !moai.tensor<[b, 4], f32>, !moai.tensor<[], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[b], i64>) {
  // expected-error @below {{'moai.cross_entropy' op counted has rank 1, expected 0}}
  %0:3 = moai.cross_entropy %a0, %a1 {ignore_index = -100, label_smoothing = 0.0, reduction = "mean"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b], i64>) -> (!moai.tensor<[], f32>, !moai.tensor<[b, 4], f32>, !moai.tensor<[b], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[], f32>, %a1: !moai.tensor<[b], i64>) {
  // expected-error @below {{'moai.cross_entropy' op logits must have a dimension of classes}}
  %0:3 = moai.cross_entropy %a0, %a1 {ignore_index = -100, label_smoothing = 0.0, reduction = "mean"} : (!moai.tensor<[], f32>, !moai.tensor<[b], i64>) -> (!moai.tensor<[], f32>, !moai.tensor<[], f32>, !moai.tensor<[], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>) {
  // expected-error @below {{'moai.softmax' op names dimension 2 of a tensor of rank 2}}
  %0 = moai.softmax %a0 {dim = 2, log = false} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Views
//===----------------------------------------------------------------------===//

func.func @f(%a0: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.reshape' op changes the element type from 'f32' to 'f64'}}
  %0 = moai.reshape %a0 : (!moai.tensor<[b], f32>) -> !moai.tensor<[b], f64>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, s, 4], f32>) {
  // expected-error @below {{'moai.reshape' op turns 4*b*s elements into 2*b*s}}
  %0 = moai.reshape %a0 : (!moai.tensor<[b, s, 4], f32>) -> !moai.tensor<[b, 2*s], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, s, 4], f32>) {
  // expected-error @below {{'moai.transpose' op permutes 2 dimensions of a tensor of rank 3}}
  %0 = moai.transpose %a0 {permutation = array<i64: 0, 1>} : (!moai.tensor<[b, s, 4], f32>) -> !moai.tensor<[b, 4, s], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, s, 4], f32>) {
  // expected-error @below {{'moai.transpose' op names dimension 1 twice}}
  %0 = moai.transpose %a0 {permutation = array<i64: 0, 1, 1>} : (!moai.tensor<[b, s, 4], f32>) -> !moai.tensor<[b, s, s], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 1], f32>) {
  // expected-error @below {{'moai.expand' op expands rank 2 to the smaller rank 1}}
  %0 = moai.expand %a0 : (!moai.tensor<[b, 1], f32>) -> !moai.tensor<[b], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 2], f32>) {
  // expected-error @below {{'moai.expand' op cannot expand dimension 1 from 2 to 4}}
  %0 = moai.expand %a0 : (!moai.tensor<[b, 2], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8], f32>) {
  // expected-error @below {{'moai.slice' op step must be positive, found 0}}
  %0 = moai.slice %a0 {dim = 1, start = "0", step = 0} : (!moai.tensor<[b, 8], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8], f32>) {
  // expected-error @below {{'moai.slice' op start must be a dimension, found 'end'}}
  %0 = moai.slice %a0 {dim = 1, start = "end", step = 1} : (!moai.tensor<[b, 8], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8], f32>) {
  // expected-error @below {{'moai.slice' op takes positions from 6, 4 of them, out of 8}}
  %0 = moai.slice %a0 {dim = 1, start = "6", step = 1} : (!moai.tensor<[b, 8], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 8], f32>, %a1: !moai.tensor<[b, 4], f32>) {
  // expected-error @below {{'moai.insert_slice' op result has type '!moai.tensor<[b, 4], f32>', expected '!moai.tensor<[b, 8], f32>'}}
  %0 = moai.insert_slice %a0, %a1 {dim = 1, start = "0", step = 1} : (!moai.tensor<[b, 8], f32>, !moai.tensor<[b, 4], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f() {
  // expected-error @below {{'moai.concat' op needs at least one operand}}
  %0 = moai.concat  {dim = 0} : () -> !moai.tensor<[b], f32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Indices
//===----------------------------------------------------------------------===//

func.func @f(%a0: !moai.tensor<[10, 4], f32>, %a1: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.embedding' op indices must be integers, found 'f32'}}
  %0 = moai.embedding %a0, %a1 {padding_index = -1} : (!moai.tensor<[10, 4], f32>, !moai.tensor<[b], f32>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[b], i64>) {
  // expected-error @below {{'moai.gather' op kind must be index, gather or index_select, found 'take'}}
  %0 = moai.gather %a0, %a1 {dims = array<i64: 1>, kind = "take"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b], i64>) -> !moai.tensor<[b], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[b], i64>) {
  // expected-error @below {{'moai.gather' op has 1 index tensors for 2 dimensions}}
  %0 = moai.gather %a0, %a1 {dims = array<i64: 0, 1>, kind = "index"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b], i64>) -> !moai.tensor<[b], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[b], i64>, %a2: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.scatter' op result has type '!moai.tensor<[4], f32>', expected '!moai.tensor<[b, 4], f32>'}}
  %0 = moai.scatter %a0, %a1, %a2 {accumulate = false, dims = array<i64: 0>, kind = "index"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b], i64>, !moai.tensor<[b], f32>) -> !moai.tensor<[4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>, %a1: !moai.tensor<[b], i64>) {
  // expected-error @below {{'moai.scatter' op has 1 index and value tensors, expected 2}}
  %0 = moai.scatter %a0, %a1 {accumulate = false, dims = array<i64: 0>, kind = "index"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b], i64>) -> !moai.tensor<[b, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.opaque' op must name its framework target}}
  %0 = moai.opaque %a0 {target = ""} : (!moai.tensor<[b], f32>) -> !moai.tensor<[b], f32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Distribution
//===----------------------------------------------------------------------===//

func.func @f(%a0: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.send' op peer must be a stage number, found -1}}
  moai.send %a0 {peer = -1} : (!moai.tensor<[b], f32>) -> ()
  return
}

// -----

func.func @f() {
  // expected-error @below {{'moai.send' op takes tensors and returns none}}
  moai.send  {peer = 0} : () -> ()
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.receive' op takes none and returns tensors}}
  %0 = moai.receive %a0 {peer = 0} : (!moai.tensor<[b], f32>) -> !moai.tensor<[b], f32>
  return
}

// -----

// expected-error @below {{'shrad' is no axis, expected data, stage, replicate, shard, expert, context or tensor}}
func.func private @f() attributes {moai.note = #moai.axes<data, shrad>}

// -----

// expected-error @below {{axis 'shard' is given twice}}
func.func private @f() attributes {moai.note = #moai.axes<data, shard>}

// -----

func.func @f(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.all_reduce' op must name either the axes that it runs over or the stages}}
  %0 = moai.all_reduce %a0 : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[2], f32>, %a1: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.gather_bucket' op has 2 shards of 1 tensors, expected one of one or more}}
  %0 = moai.gather_bucket %a0, %a1 {axes = #moai.axes<data>} : (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>) -> !moai.tensor<[4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 4], f32>) {
  // expected-error @below {{'moai.scatter_bucket' op cannot shard 4*b elements: the number depends on the batch}}
  %0 = moai.scatter_bucket %a0 {axes = #moai.axes<data>} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

module attributes {moai.config = #moai.config<"data_parallel=3">} {
  func.func @f(%a0: !moai.tensor<[4, 4], f32>) {
    // expected-error @below {{'moai.scatter_bucket' op shard has dimension 0 = 8, expected 6}}
    %0 = moai.scatter_bucket %a0 {axes = #moai.axes<data>} : (!moai.tensor<[4, 4], f32>) -> !moai.tensor<[8], f32>
    return
  }
}

// -----

func.func @f(%a0: !moai.tensor<[4, 4], f32>) {
  // expected-error @below {{'moai.scatter_bucket' op shard has rank 2, expected 1}}
  %0 = moai.scatter_bucket %a0 {axes = #moai.axes<data>} : (!moai.tensor<[4, 4], f32>) -> !moai.tensor<[2, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.all_reduce' op has 1 operands and 2 results}}
  %0:2 = moai.all_reduce %a0 {axes = #moai.axes<data>} : (!moai.tensor<[2], f32>) -> (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.all_reduce' op result has shape [3], expected [2]}}
  %0 = moai.all_reduce %a0 {axes = #moai.axes<data>} : (!moai.tensor<[2], f32>) -> !moai.tensor<[3], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[2], f32>, %a1: !moai.tensor<[2], f32>, %a2: !moai.tensor<[2], f32>, %a3: !moai.tensor<[2], f32>, %a4: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.optimizer' op has 1 gradients for 2 parameters and 2 states, expected 2 of each}}
  %0:3 = moai.optimizer %a0, %a1, %a2, %a3, %a4 {policy = #moai.optimizer<"adamw">, operandSegmentSizes = array<i32: 1, 2, 2, 0>} : (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>) -> (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[2], f32>, %a1: !moai.tensor<[2], f32>, %a2: !moai.tensor<[2], f32>, %a3: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.optimizer' op returns 2 tensors, expected 3}}
  %0:2 = moai.optimizer %a0, %a1, %a2, %a3 {policy = #moai.optimizer<"adamw">, operandSegmentSizes = array<i32: 1, 1, 2, 0>} : (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>) -> (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[3], f32>, %a1: !moai.tensor<[2], f32>, %a2: !moai.tensor<[2], f32>, %a3: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.optimizer' op gradient has shape [3], expected [2]}}
  %0:3 = moai.optimizer %a0, %a1, %a2, %a3 {policy = #moai.optimizer<"adamw">, operandSegmentSizes = array<i32: 1, 1, 2, 0>} : (!moai.tensor<[3], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>) -> (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>)
  return
}

// -----

func.func @f(%a0: !moai.tensor<[2], f32>, %a1: !moai.tensor<[2], f32>, %a2: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.accumulate' op has 1 accumulators and 1 results for 2 gradients}}
  %0 = moai.accumulate %a0, %a1, %a2 {operandSegmentSizes = array<i32: 1, 2>} : (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>, !moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[3], f32>, %a1: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.accumulate' op accumulator has shape [3], expected [2]}}
  %0 = moai.accumulate %a0, %a1 {operandSegmentSizes = array<i32: 1, 1>} : (!moai.tensor<[3], f32>, !moai.tensor<[2], f32>) -> !moai.tensor<[3], f32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Types and attributes
//===----------------------------------------------------------------------===//

// expected-error @below {{dimension 1 of a tensor must not be negative, found -4}}
func.func private @f(!moai.tensor<[b, -4], f32>)

// -----

// expected-error @below {{element type of a tensor must be an integer, float or complex type, found 'index'}}
func.func private @f(!moai.tensor<[b], index>)

// -----

// expected-error @below {{expected a dimension such as `4096` or `b*s`}}
func.func private @f(!moai.tensor<[?], f32>)

// -----

// expected-error @below {{'x' is not a dimension}}
func.func private @f(!moai.tensor<[x], f32>)

// -----

// expected-error @below {{attribute 'moai.binding' must be array<i64> with 4 values}}
module attributes {moai.binding = array<i64: 1, 2>} {
}

// -----

// expected-error @below {{attribute 'moai.binding' must hold positive values, found 0}}
module attributes {moai.binding = array<i64: 1, 0, 1, 1>} {
}

// -----

// expected-error @below {{attribute 'moai.config' must be a #moai.config}}
module attributes {moai.config = "num_stages=2"} {
}

// -----

// expected-error @below {{num_stages is 0, expected at least 1}}
module attributes {moai.config = #moai.config<"num_stages=0">} {
}

// -----

// expected-error @below {{attribute 'moai.stage' must be an integer that is not negative}}
func.func private @f() attributes {moai.stage = -1 : i64}

// -----

//===----------------------------------------------------------------------===//
// Pools, complex numbers, detached tensors
//===----------------------------------------------------------------------===//

func.func @f(%a0: !moai.tensor<[b, 3, 8, 8], f32>) {
  // expected-error @below {{'moai.pool' op kind must be max or avg, found 'min'}}
  %0 = moai.pool %a0 {kind = "min", window = array<i64: 2, 2>, strides = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, count_padding = true} : (!moai.tensor<[b, 3, 8, 8], f32>) -> !moai.tensor<[b, 3, 4, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 3, 8, 8], f32>) {
  // expected-error @below {{'moai.pool' op window, strides, padding and dilation must have one entry per spatial dimension}}
  %0 = moai.pool %a0 {kind = "max", window = array<i64: 2, 2>, strides = array<i64: 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, count_padding = true} : (!moai.tensor<[b, 3, 8, 8], f32>) -> !moai.tensor<[b, 3, 4, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 3, 4, 4], f32>, %a1: !moai.tensor<[b, 3, 8, 8], f32>) {
  // expected-error @below {{'moai.pool_backward' op result has shape [b, 3, 4, 4], expected [b, 3, 8, 8]}}
  %0 = moai.pool_backward %a0, %a1 {kind = "max", window = array<i64: 2, 2>, strides = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, count_padding = true} : (!moai.tensor<[b, 3, 4, 4], f32>, !moai.tensor<[b, 3, 8, 8], f32>) -> !moai.tensor<[b, 3, 4, 4], f32>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 2], f32>) {
  // expected-error @below {{'moai.complex_view' op turns 'f32' into 'complex<f64>', expected a real type and its complex one}}
  %0 = moai.complex_view %a0 : (!moai.tensor<[b, 2], f32>) -> !moai.tensor<[b], complex<f64>>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b, 3], f32>) {
  // expected-error @below {{'moai.complex_view' op the real tensor has shape [b, 3], expected [b, 2]}}
  %0 = moai.complex_view %a0 : (!moai.tensor<[b, 3], f32>) -> !moai.tensor<[b], complex<f32>>
  return
}

// -----

func.func @f(%a0: !moai.tensor<[b], f32>) {
  // expected-error @below {{'moai.detach' op result has type '!moai.tensor<[b], bf16>', expected '!moai.tensor<[b], f32>'}}
  %0 = moai.detach %a0 : (!moai.tensor<[b], f32>) -> !moai.tensor<[b], bf16>
  return
}

// -----

func.func @clips_without_norm(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.optimizer' op takes the squared norm of all gradients if, and only if, its policy clips them}}
  %0 = moai.optimizer %a0, %a0 {policy = #moai.optimizer<"sgd,max_gradient_norm=1">, operandSegmentSizes = array<i32: 1, 1, 0, 0>} : (!moai.tensor<[2], f32>, !moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

// expected-error @below {{'lion' is not known; expected adamw, adam or sgd}}
module attributes {moai.optimizer = #moai.optimizer<"lion">} {}

// -----

// expected-error @below {{attribute 'moai.optimizer' must be a #moai.optimizer}}
module attributes {moai.optimizer = "adamw"} {}

// -----

func.func @norm_of_nothing() {
  // expected-error @below {{'moai.squared_norm' op takes at least one tensor}}
  %0 = moai.squared_norm : () -> !moai.tensor<[], f32>
  return
}

// -----

func.func @no_stages(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.all_reduce' op must list at least one stage}}
  %0 = moai.all_reduce %a0 {stages = array<i64>} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

func.func @stage_twice(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.all_reduce' op must list stages once each and in order, below their number; found 1 after 1}}
  %0 = moai.all_reduce %a0 {stages = array<i64: 0, 1, 1>} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

module attributes {moai.config = #moai.config<"num_stages=2">} {
  func.func @no_such_stage(%a0: !moai.tensor<[2], f32>) {
    // expected-error @below {{'moai.all_reduce' op must list stages once each and in order, below their number; found 2 after 0}}
    %0 = moai.all_reduce %a0 {stages = array<i64: 0, 2>} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
    return
  }
}

// -----

// expected-error @below {{a stack must hold at least one tensor, found 0}}
func.func private @empty_stack(!moai.stack<0 x <[4], f32>>)

// -----

func.func private @f(!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
func.func @other_count(%a0: !moai.stack<3 x <[2], f32>>) {
  // expected-error @below {{'moai.repeat' op takes and returns stacks of 2 tensors, one for each iteration}}
  %0 = moai.repeat %a0 {callee = @f, count = 2, carries = array<i64: -1>} : (!moai.stack<3 x <[2], f32>>) -> !moai.stack<2 x <[2], f32>>
  return
}

// -----

func.func private @f(!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
func.func @carries_of_a_stack(%a0: !moai.stack<2 x <[2], f32>>) {
  // expected-error @below {{'moai.repeat' op operand 0 cannot carry result 0}}
  %0 = moai.repeat %a0 {callee = @f, count = 2, carries = array<i64: 0>} : (!moai.stack<2 x <[2], f32>>) -> !moai.tensor<[2], f32>
  return
}

// -----

func.func private @f(!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
func.func @no_carries(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.repeat' op has 0 carries for 1 operands}}
  %0 = moai.repeat %a0 {callee = @f, count = 2, carries = array<i64>} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

func.func private @f(!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
func.func @names_of_others(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.repeat' op names 1 blocks, but has a count of 2}}
  %0 = moai.repeat %a0 {callee = @f, count = 2, carries = array<i64: 0>, blocks = ["a"]} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

func.func @repeats_nothing(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.repeat' op calls @f, which is no function}}
  %0 = moai.repeat %a0 {callee = @f, count = 2, carries = array<i64: 0>} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}

// -----

func.func private @f(!moai.tensor<[4], f32>) -> !moai.tensor<[2], f32>
func.func @gives_others(%a0: !moai.stack<2 x <[2], f32>>) {
  // expected-error @below {{'moai.repeat' op gives @f '!moai.tensor<[2], f32>' for '!moai.tensor<[4], f32>'}}
  %0 = moai.repeat %a0 {callee = @f, count = 2, carries = array<i64: -1>} : (!moai.stack<2 x <[2], f32>>) -> !moai.tensor<[2], f32>
  return
}

// -----

func.func private @f(!moai.tensor<[2], f32>) -> !moai.tensor<[4], f32>
func.func @expects_others(%a0: !moai.stack<2 x <[2], f32>>) {
  // expected-error @below {{'moai.repeat' op expects '!moai.tensor<[2], f32>' of @f, which returns '!moai.tensor<[4], f32>'}}
  %0 = moai.repeat %a0 {callee = @f, count = 2, carries = array<i64: -1>} : (!moai.stack<2 x <[2], f32>>) -> !moai.stack<2 x <[2], f32>>
  return
}

// -----

func.func private @f(!moai.tensor<[2], f32>)
func.func @expects_more(%a0: !moai.tensor<[2], f32>) {
  // expected-error @below {{'moai.repeat' op has 1 operands and 1 results, @f 1 and 0}}
  %0 = moai.repeat %a0 {callee = @f, count = 2, carries = array<i64: -1>} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
  return
}
