// RUN: moai-opt %S/Inputs/deep.mlir -moai-roll-blocks | FileCheck %s
// RUN: moai-opt %S/Inputs/mlp.mlir -moai-roll-blocks | FileCheck %s --check-prefix=FIRST
// RUN: moai-opt %s -split-input-file -moai-roll-blocks | FileCheck %s --check-prefix=APART

// Weights of the layers are one stack, where the first of them was; the buffer is the same for all.
// CHECK-LABEL: func.func @step(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: !moai.tensor<[b, 4], f32> {moai.name = "x"
// CHECK-SAME:    %[[IN:[a-z0-9]+]]: !moai.tensor<[4, 4], f32> {moai.name = "in"
// CHECK-SAME:    %[[W:[a-z0-9]+]]: !moai.stack<3 x <[4, 4], f32>> {moai.name = ["w0", "w1", "w2"], moai.role = "parameter"}
// CHECK-SAME:    %[[P:[a-z0-9]+]]: !moai.tensor<[4], f32> {moai.name = "p"
// CHECK-NEXT:    %[[E:.*]] = moai.contract %[[X]], %[[IN]]
// CHECK-NEXT:    %[[Y:.*]] = moai.repeat %[[E]], %[[W]], %[[P]] {blocks = ["layers.0", "layers.1", "layers.2"], callee = @block, carries = array<i64: 0, -1, -1>, count = 3 : i64}
// CHECK-NEXT:    moai.reduce %[[Y]]

// The first of two layers reads an input, which needs no gradient: their backwards differ.
// FIRST-NOT: moai.repeat

// A weight that all layers share collects the gradients of all.
// APART-LABEL: func.func private @shared_weight()
func.func private @square(%x: !moai.tensor<[b, 4], f32>, %w: !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32> {
  %y = moai.contract %x, %w {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  return %y : !moai.tensor<[b, 4], f32>
}
func.func private @shared_weight()
// APART: func.func @step
// APART: call @square
// APART: call @square
func.func @step(%x: !moai.tensor<[b, 4], f32> {moai.name = "x", moai.role = "parameter"},
                %w: !moai.tensor<[4, 4], f32> {moai.name = "w", moai.role = "parameter"}) -> !moai.tensor<[b, 4], f32> {
  %0 = call @square(%x, %w) : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %1 = call @square(%0, %w) : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  return %1 : !moai.tensor<[b, 4], f32>
}

// -----

// What is between the layers is read by another op as well; only the last two follow each other alone.
// APART-LABEL: func.func private @intermediate()
func.func private @intermediate()
func.func private @square(%x: !moai.tensor<[b, 4], f32>, %w: !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32> {
  %y = moai.contract %x, %w {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  return %y : !moai.tensor<[b, 4], f32>
}
// APART: func.func @step
// APART:   %[[A:.*]] = call @square(
// APART:   %[[C:.*]] = moai.repeat %[[A]], {{.*}} {callee = @square, carries = array<i64: 0, -1>, count = 2 : i64}
// APART:   moai.elementwise %[[A]], %[[C]] {kind = "add"}
func.func @step(%x: !moai.tensor<[b, 4], f32> {moai.name = "x", moai.role = "parameter"},
                %u: !moai.tensor<[4, 4], f32> {moai.name = "u", moai.role = "parameter"},
                %v: !moai.tensor<[4, 4], f32> {moai.name = "v", moai.role = "parameter"},
                %w: !moai.tensor<[4, 4], f32> {moai.name = "w", moai.role = "parameter"}) -> !moai.tensor<[b, 4], f32> {
  %0 = call @square(%x, %u) : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %1 = call @square(%0, %v) : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %2 = call @square(%1, %w) : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %3 = moai.elementwise %0, %2 {kind = "add"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b, 4], f32>) -> !moai.tensor<[b, 4], f32>
  return %3 : !moai.tensor<[b, 4], f32>
}
