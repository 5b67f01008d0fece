// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,data_parallel=2,zero=1">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-partition-stages -moai-distribute-params -moai-schedule-pipeline | FileCheck %s
// RUN: not moai-opt %s -moai-schedule-pipeline 2>&1 | FileCheck %s --check-prefix=UNPLACED
// RUN: sed -e 's/num_stages=1/num_stages=2/' -e 's/kind = "exp"/kind = "exp", moai.stage = 0 : i64/' -e 's/kind = "log"/kind = "log", moai.stage = 1 : i64/' %s | not moai-opt -moai-schedule-pipeline 2>&1 | FileCheck %s --check-prefix=UNSENT
// RUN: sed -e 's/kind = "exp"/kind = "exp", moai.phase = "backward", moai.stage = 0 : i64/' -e 's/kind = "log"/kind = "log", moai.stage = 0 : i64/' %s | not moai-opt -moai-schedule-pipeline 2>&1 | FileCheck %s --check-prefix=LATER

// CHECK-NOT:   @step
// CHECK-LABEL: func.func private @stage0.load(
// CHECK:         moai.gather_bucket
// CHECK-LABEL: func.func private @stage0.forward(
// CHECK:         %[[F:.*]]:2 = call @block.forward
// CHECK:         moai.send %[[F]]#0 {peer = 1 : i64}
// CHECK:         return %[[F]]#1
// CHECK-LABEL: func.func private @stage0.backward(
// CHECK:         moai.receive {peer = 1 : i64}
// CHECK:         call @block.backward
// CHECK:         moai.accumulate
// CHECK-LABEL: func.func private @stage0.update(
// CHECK:         moai.scatter_bucket
// CHECK:         moai.optimizer
// 1F1B: the first stage of two runs one forward ahead.
// CHECK-LABEL: func.func @stage0(
// CHECK-SAME:    moai.schedule = array<i64: 1, 2, -1, 3, -2, 4, -3, -4>, moai.stage = 0 : i64
// CHECK:         call @stage0.load
// CHECK:         call @stage0.forward
// CHECK:         call @stage0.backward
// CHECK:         call @stage0.update
// CHECK-LABEL: func.func @stage1(
// CHECK-SAME:    moai.schedule = array<i64: 1, -1, 2, -2, 3, -3, 4, -4>, moai.stage = 1 : i64

// UNPLACED: error: 'moai.elementwise' op has no stage below 1
// LATER: error: 'moai.elementwise' op in the forward reads moai.elementwise's result, which the backward makes
// UNSENT: error: 'moai.elementwise' op on stage 1 reads a value of stage 0, which nothing sends
module attributes {moai.config = #moai.config<"num_stages=1,num_micro_batches=1">} {
  func.func @step(%x: !moai.tensor<[b], f32>) -> !moai.tensor<[b], f32> {
    %0 = moai.elementwise %x {kind = "exp"} : (!moai.tensor<[b], f32>) -> !moai.tensor<[b], f32>
    %1 = moai.elementwise %0 {kind = "log"} : (!moai.tensor<[b], f32>) -> !moai.tensor<[b], f32>
    return %1 : !moai.tensor<[b], f32>
  }
}
