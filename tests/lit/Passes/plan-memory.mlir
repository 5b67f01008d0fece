// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,batch_per_device=2,data_parallel=2,zero=1">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-split-micro-batches -moai-partition-stages -moai-distribute-params -moai-schedule-pipeline | moai-opt -moai-plan-memory | FileCheck %s

// A tensor of a micro-batch is 2 x 8 x 4 floats, 256 bytes; a weight 16 floats, 64 bytes, and its shard 8 floats, 32 bytes.
//  - parameters: the weight, and on stage 0 the input. gradients: the accumulator. optimizer states: three shards.
//  - activations: what silu reads, of two micro-batches on stage 0. Stage 1 also keeps what it received, of one micro-batch, and the loss.
//  - transient: the most that is alive in one micro-batch's backward, beyond what it saved: the gradient that came, then
//    those of silu, the block's input and the weight.
// CHECK: func.func @stage0(
// CHECK-SAME: moai.memory = {activations = 512 : i64, backward_peak = 1088 : i64, forward_peak = 512 : i64, gradients = 64 : i64, optimizer_states = 96 : i64, parameters = 320 : i64, saved = 256 : i64, total = 1824 : i64, transient = 832 : i64}
// CHECK: func.func @stage1(
// CHECK-SAME: moai.memory = {activations = 516 : i64, backward_peak = 1344 : i64, forward_peak = 772 : i64, gradients = 64 : i64, optimizer_states = 96 : i64, parameters = 64 : i64, saved = 516 : i64, total = 1572 : i64, transient = 832 : i64}
