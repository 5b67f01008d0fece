// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,batch_per_device=2,data_parallel=2,zero=1">, moai.optimizer = #moai.optimizer<"adamw,master=f32,state=f32">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-split-micro-batches -moai-partition-stages -moai-distribute-params -moai-schedule-pipeline | moai-opt -moai-plan-memory | FileCheck %s
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,batch_per_device=2,data_parallel=2,zero=1">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-split-micro-batches -moai-partition-stages -moai-distribute-params -moai-schedule-pipeline | moai-opt -moai-plan-memory="granularity=512 workspace=1000" | FileCheck %s --check-prefix=GPU

// A tensor of a micro-batch is 2 x 8 x 4 floats, 256 bytes; a weight 16 floats, 64 bytes, and its shard 8 floats, 32 bytes.
//  - parameters: the gathered weight. gradients: the accumulator. optimizer states: three shards. inputs: four micro-batches.
//  - activations at the peak, in a backward: what silu reads, of two micro-batches on stage 0. Stage 1 also keeps what it received, of
//    one micro-batch; by the fourth backward, where its peak is, four losses are there.
//  - temporaries: the gradient that came and silu's. The block frees what it was handed as it goes, so no more is alive at once.
// CHECK: func.func @stage0(
// CHECK-SAME: moai.memory = {activations = 512 : i64, backward_peak = 768 : i64, backward_peak_op = "layers.0: moai.elementwise 'silu_backward'", buffers = 0 : i64, forward_peak = 512 : i64, forward_peak_op = "layers.0: moai.elementwise 'silu'", gradients = 64 : i64, inputs = 1024 : i64, optimizer_states = 96 : i64, parameters = 64 : i64, peak_op = "layers.0: moai.elementwise 'silu_backward'", peak_phase = "backward", saved = 256 : i64, temporaries = 512 : i64, total = 2272 : i64, workspace = 0 : i64}
// CHECK: func.func @stage1(
// CHECK-SAME: moai.memory = {activations = 528 : i64, backward_peak = 1024 : i64, {{.*}}forward_peak = 772 : i64, forward_peak_op = "moai.reduce 'mean'", gradients = 64 : i64, inputs = 0 : i64, optimizer_states = 96 : i64, parameters = 64 : i64, peak_op = "layers.1: moai.elementwise 'silu_backward'", peak_phase = "backward", saved = 516 : i64, temporaries = 512 : i64, total = 1264 : i64, workspace = 0 : i64}

// Every storage is a block of 512 bytes.
// GPU: func.func @stage0(
// GPU-SAME: moai.memory = {activations = 1024 : i64, {{.*}}gradients = 512 : i64, inputs = 2048 : i64, optimizer_states = 1536 : i64, parameters = 512 : i64, {{.*}}temporaries = 1024 : i64, total = 7656 : i64, workspace = 1000 : i64}
