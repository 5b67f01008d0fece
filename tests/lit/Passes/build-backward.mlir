// RUN: moai-opt %S/Inputs/mlp.mlir -moai-build-backward | FileCheck %s
// RUN: moai-opt %s -split-input-file -verify-diagnostics -moai-build-backward | FileCheck %s --check-prefix=RULES

// The forward also returns what the backward reads: silu's input. Input and weight are the caller's.
// CHECK-LABEL: func.func private @block.forward(
// CHECK:         %[[H:.*]] = moai.contract
// CHECK:         %[[Y:.*]] = moai.elementwise %[[H]] {kind = "silu"}
// CHECK:         return %[[Y]], %[[H]]
// CHECK-LABEL: func.func private @block.backward(
// CHECK-SAME:    %[[G:.*]]: !moai.tensor<[b, s, 4], f32>, %[[H:.*]]: !moai.tensor<[b, s, 4], f32>, %[[W:.*]]: !moai.tensor<[4, 4], f32>, %[[X:.*]]: !moai.tensor<[b, s, 4], f32>)
// CHECK:         %[[DH:.*]] = moai.elementwise %[[G]], %[[H]] {kind = "silu_backward"}
// CHECK:         %[[DX:.*]] = moai.contract %[[DH]], %[[W]] {equation = "abn,nk->abk"}
// CHECK:         %[[DW:.*]] = moai.contract %[[DH]], %[[X]] {equation = "abn,abk->nk"}
// CHECK:         return %[[DX]], %[[DW]]
// CHECK-LABEL: func.func @step(
// CHECK:         %[[F0:.*]]:2 = call @block.forward
// CHECK:         %[[F1:.*]]:2 = call @block.forward(%[[F0]]#0
// CHECK:         %[[B1:.*]]:2 = call @block.backward({{.*}}, %[[F1]]#1, {{.*}}) {moai.block = "layers.1", moai.phase = "backward", moai.position = 1 : i64}
// CHECK:         %[[B0:.*]]:2 = call @block.backward(%[[B1]]#0, %[[F0]]#1, {{.*}}) {moai.block = "layers.0", moai.phase = "backward", moai.position = 0 : i64}
// CHECK:         return {{.*}}, %[[B0]]#1, %[[B1]]#1

// RUN: moai-opt %S/Inputs/deep.mlir -moai-roll-blocks -moai-build-backward | FileCheck %s --check-prefix=REPEAT

// The backward of a repeat is a repeat: from the last instance to the first, with what each of them saved. What an instance got
// from the one before has no name in the step, so the forward returns it.
// REPEAT-LABEL: func.func private @block.forward(%arg0
// REPEAT:         return %{{.*}}, %arg0
// REPEAT-LABEL: func.func @step(
// REPEAT-SAME:    -> (!moai.tensor<[], f32>, !moai.tensor<[4, 4], f32>, !moai.stack<3 x <[4, 4], f32>>)
// REPEAT:         %[[F:.*]]:2 = moai.repeat {{.*}}callee = @block.forward, carries = array<i64: 0, -1, -1>, count = 3 : i64, moai.position = 1 : i64} : {{.*}} -> (!moai.tensor<[b, 4], f32>, !moai.stack<3 x <[b, 4], f32>>)
// REPEAT:         %[[G:.*]] = moai.elementwise {{.*}}kind = "mean_backward", moai.phase = "backward", moai.position = 4
// REPEAT:         %[[B:.*]]:2 = moai.repeat %[[G]], %arg3, %arg2, %[[F]]#1 {{.*}}callee = @block.backward, carries = array<i64: 0, -1, -1, -1>, count = 3 : i64, moai.phase = "backward", moai.position = 1 : i64, reversed}
// REPEAT:         moai.contract %[[B]]#0, %arg0
// REPEAT:         return {{.*}}, %[[B]]#1

// A value used twice collects both gradients; what reaches no parameter has none.
// RULES-LABEL: func.func @step(
// RULES-NOT:     kind = "exp_backward"
// RULES:         %[[LEFT:.*]] = moai.contract {{.*}}equation = "an,ak->nk", moai.phase = "backward"
// RULES:         %[[RIGHT:.*]] = moai.contract {{.*}}equation = "an,ak->nk", moai.phase = "backward"
// RULES:         %[[SUM:.*]] = moai.elementwise %[[LEFT]], %[[RIGHT]] {kind = "add", moai.phase = "backward"
// RULES:         return %{{.*}}, %[[SUM]]
func.func @step(%x: !moai.tensor<[b, 4], f32> {moai.name = "x", moai.role = "input"},
                %w: !moai.tensor<[4, 4], f32> {moai.name = "w", moai.role = "parameter"}) -> !moai.tensor<[], f32> {
  %e = moai.elementwise %x {kind = "exp"} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %0 = moai.contract %e, %w {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %1 = moai.contract %0, %w {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %loss = moai.reduce %1 {dims = array<i64: 0, 1>, keep_dims = false, kind = "sum"} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[], f32>
  return %loss : !moai.tensor<[], f32>
}

// -----

// What the loss doesn't depend on is not trained.
// RULES-LABEL: func.func @step(
// RULES-SAME:    {moai.name = "unused", moai.role = "buffer"}, {{.*}}) -> (!moai.tensor<[], f32>, !moai.tensor<[4, 4], f32>)
func.func @step(%x: !moai.tensor<[b, 4], f32> {moai.name = "x", moai.role = "input"},
                %unused: !moai.tensor<[8], f32> {moai.name = "unused", moai.role = "parameter"},
                %w: !moai.tensor<[4, 4], f32> {moai.name = "w", moai.role = "parameter"}) -> !moai.tensor<[], f32> {
  %0 = moai.contract %x, %w {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %loss = moai.reduce %0 {dims = array<i64: 0, 1>, keep_dims = false, kind = "sum"} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[], f32>
  return %loss : !moai.tensor<[], f32>
}

// -----

// expected-error @below {{'func.func' op must return one scalar loss}}
func.func @step(%x: !moai.tensor<[b], f32> {moai.name = "x", moai.role = "parameter"}) -> !moai.tensor<[b], f32> {
  return %x : !moai.tensor<[b], f32>
}

// -----

func.func @step(%x: !moai.tensor<[b], f32> {moai.name = "x", moai.role = "parameter"}) -> !moai.tensor<[], f32> {
  // expected-error @below {{'moai.scan' op of kind 'cummax' has no gradient rule, and the loss reaches parameter 'x' through it}}
  %0 = moai.scan %x {dim = 0 : i64, kind = "cummax"} : (!moai.tensor<[b], f32>) -> !moai.tensor<[b], f32>
  %loss = moai.reduce %0 {dims = array<i64: 0>, keep_dims = false, kind = "sum"} : (!moai.tensor<[b], f32>) -> !moai.tensor<[], f32>
  return %loss : !moai.tensor<[], f32>
}
