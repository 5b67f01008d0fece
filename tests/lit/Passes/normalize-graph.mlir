// RUN: moai-opt %s -moai-normalize-graph | FileCheck %s

// CHECK-LABEL: func.func @step(
// CHECK-SAME:    %[[X:.*]]: !moai.tensor<[b, 4], f32>
// CHECK-NEXT:    %[[ONE:.*]] = moai.generate {kind = "full"
// CHECK-NEXT:    %[[A:.*]] = moai.elementwise %[[X]], %[[ONE]] {kind = "add"}
// CHECK-NEXT:    %[[B:.*]] = moai.elementwise %[[A]], %[[ONE]] {kind = "mul"}
// CHECK-NEXT:    return %[[B]]
func.func @step(%x: !moai.tensor<[b, 4], f32>) -> !moai.tensor<[b, 4], f32> {
  %same = moai.reshape %x : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %unused = moai.elementwise %x {kind = "exp"} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[b, 4], f32>
  %one = moai.generate {kind = "full", scalars = array<f64: 1.0>} : () -> !moai.tensor<[4], f32>
  %again = moai.generate {kind = "full", scalars = array<f64: 1.0>} : () -> !moai.tensor<[4], f32>
  %a = moai.elementwise %same, %one {kind = "add"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[b, 4], f32>
  %b = moai.elementwise %a, %again {kind = "mul"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[b, 4], f32>
  return %b : !moai.tensor<[b, 4], f32>
}

// Ops that draw random numbers get a stream each, counted over the module.
// CHECK-LABEL: func.func @random(
// CHECK:         moai.generate {kind = "random"} :
// CHECK:         moai.dropout %{{.*}} {p = 1.000000e-01 : f64, stream = 1 : i64}
// CHECK:         moai.attention {{.*}}dropout = 0.000000e+00 : f64, mask = "full", scale
// CHECK:         moai.attention {{.*}}stream = 2 : i64
func.func @random(%x: !moai.tensor<[b, 2, 4, 4], f32>) -> (!moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[4], f32>) {
  %r = moai.generate {kind = "random"} : () -> !moai.tensor<[4], f32>
  %d, %m = moai.dropout %x {p = 0.1} : (!moai.tensor<[b, 2, 4, 4], f32>) -> (!moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[b, 2, 4, 4], i1>)
  %a, %l = moai.attention %d, %d, %d {mask = "full", window = 0 : i64, scale = 1.0, dropout = 0.0} : (!moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[b, 2, 4, 4], f32>) -> (!moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[b, 2, 4], f32>)
  %e, %k = moai.attention %a, %a, %a {mask = "full", window = 0 : i64, scale = 1.0, dropout = 0.1} : (!moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[b, 2, 4, 4], f32>) -> (!moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[b, 2, 4], f32>)
  return %e, %r : !moai.tensor<[b, 2, 4, 4], f32>, !moai.tensor<[4], f32>
}
