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
