// Text and bytecode both give back what they were given.
// RUN: moai-opt %s -o %t.mlir
// RUN: moai-opt %s -emit-bytecode -o %t.mlirbc
// RUN: moai-opt %t.mlirbc -o %t.again.mlir
// RUN: moai-opt %t.mlir -o %t.twice.mlir
// RUN: diff %t.mlir %t.again.mlir
// RUN: diff %t.mlir %t.twice.mlir
// RUN: FileCheck %s < %t.mlir

// CHECK: module attributes {moai.binding = array<i64: 4, 2048, 1, 1>, moai.config = #moai.config<"num_stages=2,num_micro_batches=16,data_parallel=2">}
module attributes {moai.binding = array<i64: 4, 2048, 1, 1>, moai.config = #moai.config<"num_stages=2,num_micro_batches=16,data_parallel=2">} {
  // CHECK-LABEL: func.func private @types(
  // CHECK-SAME: !moai.tensor<[], f32>
  // CHECK-SAME: !moai.tensor<[b, s, 4096], bf16>
  // CHECK-SAME: !moai.tensor<[b*s minus b, 256], f64>
  // CHECK-SAME: !moai.tensor<[2*s + 1, s*s, t, u], i1>
  // CHECK-SAME: !moai.tensor<[0], complex<f32>>
  func.func private @types(!moai.tensor<[], f32>, !moai.tensor<[b, s, 4096], bf16>, !moai.tensor<[b*s minus b, 256], f64>,
                   !moai.tensor<[2*s + 1, s*s, t, u], i1>, !moai.tensor<[0], complex<f32>>)

  // CHECK-LABEL: func.func @attention(
  func.func @attention(%q: !moai.tensor<[b, 8, s, 16], bf16>, %k: !moai.tensor<[b, 2, s, 16], bf16>, %bias: !moai.tensor<[1, 1, s, s], bf16>) {
    // CHECK: moai.attention %{{.*}}, %{{.*}}, %{{.*}} {dropout = 0.000000e+00 : f64, mask = "sliding_window", scale = 2.500000e-01 : f64, window = 128 : i64}
    %0:2 = moai.attention %q, %k, %k {dropout = 0.0, mask = "sliding_window", scale = 0.25, window = 128}
        : (!moai.tensor<[b, 8, s, 16], bf16>, !moai.tensor<[b, 2, s, 16], bf16>, !moai.tensor<[b, 2, s, 16], bf16>) -> (!moai.tensor<[b, 8, s, 16], bf16>, !moai.tensor<[b, 8, s], f32>)
    %1:2 = moai.attention %q, %k, %k, %bias {dropout = 0.1, mask = "bias", scale = 0.25, window = 0}
        : (!moai.tensor<[b, 8, s, 16], bf16>, !moai.tensor<[b, 2, s, 16], bf16>, !moai.tensor<[b, 2, s, 16], bf16>, !moai.tensor<[1, 1, s, s], bf16>) -> (!moai.tensor<[b, 8, s, 16], bf16>, !moai.tensor<[b, 8, s], f32>)
    return
  }

  // CHECK-LABEL: func.func @experts(
  func.func @experts(%x: !moai.tensor<[b*s, 64], bf16>, %choice: !moai.tensor<[b*s, 2], i64>, %w: !moai.tensor<[8, 64, 32], bf16>) -> !moai.tensor<[b*s, 32], bf16> {
    // CHECK: moai.route
    %order, %inverse, %offsets = moai.route %choice : (!moai.tensor<[b*s, 2], i64>) -> (!moai.tensor<[2*b*s], i64>, !moai.tensor<[2*b*s], i64>, !moai.tensor<[8], i32>)
    // CHECK: moai.dispatch {{.*}} {choices = 2 : i64}
    %rows = moai.dispatch %x, %order, %inverse {choices = 2} : (!moai.tensor<[b*s, 64], bf16>, !moai.tensor<[2*b*s], i64>, !moai.tensor<[2*b*s], i64>) -> !moai.tensor<[2*b*s, 64], bf16>
    // CHECK: moai.expert_matmul {{.*}} {transposed = false}
    %out = moai.expert_matmul %rows, %w, %offsets {transposed = false} : (!moai.tensor<[2*b*s, 64], bf16>, !moai.tensor<[8, 64, 32], bf16>, !moai.tensor<[8], i32>) -> !moai.tensor<[2*b*s, 32], bf16>
    // CHECK: moai.combine {{.*}} {choices = 2 : i64}
    %sum = moai.combine %out, %order, %inverse {choices = 2} : (!moai.tensor<[2*b*s, 32], bf16>, !moai.tensor<[2*b*s], i64>, !moai.tensor<[2*b*s], i64>) -> !moai.tensor<[b*s, 32], bf16>
    return %sum : !moai.tensor<[b*s, 32], bf16>
  }

  // CHECK-LABEL: func.func @views(
  func.func @views(%x: !moai.tensor<[b, s, 8], f32>) -> !moai.tensor<[b, 4, 2, 3], f32> {
    // CHECK: moai.slice {{.*}} {dim = 1 : i64, start = "s - 3", step = 1 : i64}
    %0 = moai.slice %x {dim = 1, start = "s - 3", step = 1} : (!moai.tensor<[b, s, 8], f32>) -> !moai.tensor<[b, 3, 8], f32>
    %1 = moai.reshape %0 : (!moai.tensor<[b, 3, 8], f32>) -> !moai.tensor<[b, 3, 4, 2], f32>
    // CHECK: moai.transpose {{.*}} {permutation = array<i64: 0, 2, 3, 1>}
    %2 = moai.transpose %1 {permutation = array<i64: 0, 2, 3, 1>} : (!moai.tensor<[b, 3, 4, 2], f32>) -> !moai.tensor<[b, 4, 2, 3], f32>
    return %2 : !moai.tensor<[b, 4, 2, 3], f32>
  }

  // CHECK-LABEL: func.func @distribution(
  func.func @distribution(%shard: !moai.tensor<[11], f32>, %x: !moai.tensor<[b, 4], bf16>) {
    // 16 + 6 elements over two devices.
    // CHECK: moai.gather_bucket %{{.*}} {axes = #moai.axes<data>}
    %0:2 = moai.gather_bucket %shard {axes = #moai.axes<data>} : (!moai.tensor<[11], f32>) -> (!moai.tensor<[4, 4], bf16>, !moai.tensor<[6], bf16>)
    // CHECK: moai.scatter_bucket
    %1 = moai.scatter_bucket %0#0, %0#1 {axes = #moai.axes<data>} : (!moai.tensor<[4, 4], bf16>, !moai.tensor<[6], bf16>) -> !moai.tensor<[11], bf16>
    // CHECK: moai.optimizer
    %2:3 = moai.optimizer %1, %shard, %shard, %shard {policy = #moai.optimizer<"adamw">, operandSegmentSizes = array<i32: 1, 1, 2, 0>}
        : (!moai.tensor<[11], bf16>, !moai.tensor<[11], f32>, !moai.tensor<[11], f32>, !moai.tensor<[11], f32>) -> (!moai.tensor<[11], f32>, !moai.tensor<[11], f32>, !moai.tensor<[11], f32>)
    // CHECK: moai.all_reduce %{{.*}} {axes = #moai.axes<stage, data>}
    %sum = moai.all_reduce %x {axes = #moai.axes<expert, stage, shard, replicate>} : (!moai.tensor<[b, 4], bf16>) -> !moai.tensor<[b, 4], bf16>
    // CHECK: moai.send %{{.*}} {peer = 1 : i64}
    moai.send %x {peer = 1} : (!moai.tensor<[b, 4], bf16>) -> ()
    // CHECK: moai.receive {peer = 1 : i64}
    %3 = moai.receive {peer = 1} : () -> !moai.tensor<[b, 4], bf16>
    return
  }

  // CHECK-LABEL: func.func @pools(
  func.func @pools(%x: !moai.tensor<[b, 3, 8, 8], f32>, %g: !moai.tensor<[b, 3, 4, 4], f32>) {
    // CHECK: moai.pool %{{.*}} {count_padding = true, dilation = array<i64: 1, 1>, kind = "avg"
    %0 = moai.pool %x {kind = "avg", window = array<i64: 2, 2>, strides = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, count_padding = true} : (!moai.tensor<[b, 3, 8, 8], f32>) -> !moai.tensor<[b, 3, 4, 4], f32>
    // CHECK: moai.pool_backward
    %1 = moai.pool_backward %g, %x {kind = "max", window = array<i64: 2, 2>, strides = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, count_padding = true} : (!moai.tensor<[b, 3, 4, 4], f32>, !moai.tensor<[b, 3, 8, 8], f32>) -> !moai.tensor<[b, 3, 8, 8], f32>
    return
  }

  // CHECK-LABEL: func.func @complex(
  func.func @complex(%x: !moai.tensor<[b, s, 2], f32>) {
    // CHECK: moai.complex_view %{{.*}} : (!moai.tensor<[b, s, 2], f32>) -> !moai.tensor<[b, s], complex<f32>>
    %0 = moai.complex_view %x : (!moai.tensor<[b, s, 2], f32>) -> !moai.tensor<[b, s], complex<f32>>
    // CHECK: moai.detach
    %1 = moai.detach %0 : (!moai.tensor<[b, s], complex<f32>>) -> !moai.tensor<[b, s], complex<f32>>
    return
  }

  // CHECK-LABEL: func.func @unknown(
  func.func @unknown(%x: !moai.tensor<[b, 4], bf16>) {
    // CHECK: moai.opaque %{{.*}} {target = "mylib.fancy.default"}
    %0 = moai.opaque %x {target = "mylib.fancy.default"} : (!moai.tensor<[b, 4], bf16>) -> !moai.tensor<[b], bf16>
    return
  }

  // CHECK-LABEL: func.func @repeat(
  // CHECK-SAME:    !moai.stack<3 x <[4], f32>>
  // CHECK:         moai.repeat %{{.*}}, %{{.*}} {blocks = ["a", "b", "c"], callee = @add, carries = array<i64: 0, -1>, count = 3 : i64, reversed}
  func.func private @add(!moai.tensor<[4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[4], f32>
  func.func @repeat(%x: !moai.tensor<[4], f32>, %w: !moai.stack<3 x <[4], f32>>) -> !moai.tensor<[4], f32> {
    %0 = moai.repeat %x, %w {callee = @add, count = 3 : i64, carries = array<i64: 0, -1>, blocks = ["a", "b", "c"], reversed} : (!moai.tensor<[4], f32>, !moai.stack<3 x <[4], f32>>) -> !moai.tensor<[4], f32>
    return %0 : !moai.tensor<[4], f32>
  }
}
