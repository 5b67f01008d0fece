// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,data_parallel=3,zero=1">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-partition-stages -moai-distribute-params | FileCheck %s
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,data_parallel=3">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-partition-stages -moai-distribute-params | FileCheck %s --check-prefix=WHOLE
// RUN: sed -e 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,data_parallel=3,zero=1">, moai.optimizer = #moai.optimizer<"sgd,momentum=0.9,max_gradient_norm=1,accumulation=f32,gradient=f32,master=f32">, moai.binding/' -e 's/f32/bf16/g' -e 's/=bf16/=f32/g' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-partition-stages -moai-distribute-params | FileCheck %s --check-prefix=POLICY
// RUN: sed -e 's/moai.binding/moai.config = #moai.config<"num_stages=1,num_micro_batches=1">, moai.optimizer = #moai.optimizer<"adamw,master=f32,state=f32">, moai.binding/' -e 's/f32/bf16/g' -e 's/=bf16/=f32/g' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-partition-stages -moai-distribute-params | FileCheck %s --check-prefix=MASTER
// RUN: sed -e 's/moai.binding/moai.config = #moai.config<"num_stages=1,num_micro_batches=1,data_parallel=2,zero=1,low_precision_params=false">, moai.binding/' -e 's/f32/bf16/g' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-partition-stages -moai-distribute-params | FileCheck %s --check-prefix=WIDE

// 16 elements over 3 devices are shards of 6. Gathered in order of first use, reduced and updated once per step.
// CHECK:       #optimizer = #moai.optimizer<"adamw,learning_rate=0.001,beta1=0.9,beta2=0.999,epsilon=1e-08,weight_decay=0.01,
// CHECK-LABEL: func.func @step(
// CHECK-NOT:     moai.role = "parameter"
// CHECK-SAME:    !moai.tensor<[6], f32> {moai.name = ["w0"], moai.role = "master_parameter"}
// CHECK-SAME:    !moai.tensor<[6], f32> {moai.name = ["w0"], moai.role = "first_moment"}
// CHECK-SAME:    !moai.tensor<[6], f32> {moai.name = ["w0"], moai.role = "second_moment"}
// CHECK-SAME:    !moai.tensor<[4, 4], f32> {moai.name = "w0", moai.role = "gradient_accumulator"}
// CHECK-NEXT:    %[[W0:.*]] = moai.gather_bucket %{{.*}} {axes = #moai.axes<data>, moai.part = "load", moai.stage = 0 : i64}
// CHECK-NEXT:    %[[W1:.*]] = moai.gather_bucket %{{.*}} {axes = #moai.axes<data>, moai.part = "load", moai.stage = 1 : i64}
// CHECK:         call @block.forward(%arg0, %[[W0]])
// CHECK:         %[[B1:.*]]:2 = call @block.backward({{.*}}%[[W1]]
// The gradient is added to the sum of the micro-batches before at once.
// CHECK-NEXT:    %[[A1:.*]] = moai.accumulate %{{.*}}, %[[B1]]#1 {moai.phase = "backward", moai.stage = 1 : i64
// CHECK:         moai.scatter_bucket {{.*}} {axes = #moai.axes<data>, moai.part = "update", moai.stage = 0 : i64} : (!moai.tensor<[4, 4], f32>) -> !moai.tensor<[6], f32>
// CHECK-NEXT:    moai.optimizer {{.*}}moai.part = "update", moai.stage = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 2, 0>, policy = #optimizer
// CHECK-NEXT:    moai.scatter_bucket %[[A1]]

// Without sharding there is nothing to gather, and gradients are reduced whole.
// WHOLE-LABEL: func.func @step(
// WHOLE-SAME:    !moai.tensor<[4, 4], f32> {moai.name = "w0", moai.role = "parameter"}
// WHOLE-NOT:     gather_bucket
// WHOLE:         moai.all_reduce {{.*}}axes = #moai.axes<data>
// WHOLE-NEXT:    moai.optimizer {{.*}}!moai.tensor<[4, 4], f32>

// A wide copy is narrowed for the kernels, in the forward and again in the backward; one micro-batch accumulates nothing.
// WIDE-LABEL: func.func @step(
// WIDE:         %[[W0:.*]] = moai.gather_bucket {{.*}} -> !moai.tensor<[4, 4], f32>
// WIDE:         %[[N0:.*]] = moai.cast %[[W0]] {moai.stage = 0 : i64}
// WIDE-NEXT:    call @block.forward(%arg0, %[[N0]])
// WIDE-NOT:     accumulate
// WIDE:         moai.cast %[[W0]] {moai.phase = "backward", moai.stage = 0 : i64}

// Momentum is the only state. Gradients are summed and clipped in float32: the norm is over the shards of all stages.
// POLICY-LABEL: func.func @step(
// POLICY-SAME:    !moai.tensor<[6], f32> {moai.name = ["w0"], moai.role = "master_parameter"}
// POLICY-SAME:    !moai.tensor<[6], bf16> {moai.name = ["w0"], moai.role = "first_moment"}
// POLICY-NOT:     second_moment
// POLICY-SAME:    !moai.tensor<[4, 4], f32> {moai.name = "w0", moai.role = "gradient_accumulator"}
// POLICY:         moai.accumulate {{.*}} : (!moai.tensor<[4, 4], f32>, !moai.tensor<[4, 4], bf16>) -> !moai.tensor<[4, 4], f32>
// POLICY:         %[[G0:.*]] = moai.scatter_bucket {{.*}}moai.stage = 0 : i64} : (!moai.tensor<[4, 4], f32>) -> !moai.tensor<[6], f32>
// POLICY:         %[[N0:.*]] = moai.squared_norm %[[G0]] {moai.part = "update", moai.stage = 0 : i64}
// POLICY-NEXT:    %[[D0:.*]] = moai.all_reduce %[[N0]] {axes = #moai.axes<data>
// POLICY-NEXT:    %[[S0:.*]] = moai.all_reduce %[[D0]] {axes = #moai.axes<stage>, moai.part
// POLICY:         moai.optimizer %[[G0]], %{{.*}}, %{{.*}}, %[[S0]] {{.*}}operandSegmentSizes = array<i32: 1, 1, 1, 1>

// A master of another type is cast once per step, and so is every kernel's copy made.
// MASTER-LABEL: func.func @step(
// MASTER-SAME:    !moai.tensor<[4, 4], f32> {moai.name = "w0", moai.role = "master_parameter"}
// MASTER:         %[[C0:.*]] = moai.cast %{{.*}} {moai.part = "load", moai.stage = 0 : i64} : (!moai.tensor<[4, 4], f32>) -> !moai.tensor<[4, 4], bf16>
// MASTER:         call @block.forward(%arg0, %[[C0]])

// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=1,num_micro_batches=4,data_parallel=3,zero=1">, moai.binding/' %S/Inputs/deep.mlir | moai-opt -moai-roll-blocks -moai-build-backward -moai-partition-stages -moai-distribute-params | FileCheck %s --check-prefix=REPEAT

// Stacks are gathered, accumulated, reduced and updated by repeats, each with a body of its own: a shard per layer.
// REPEAT-LABEL: func.func @step(
// REPEAT-SAME:    %[[M:[a-z0-9]+]]: !moai.stack<3 x <[6], f32>> {moai.name = {{\[\[}}"w0", "w1", "w2"]], moai.role = "master_parameter"}
// REPEAT-SAME:    %[[A:[a-z0-9]+]]: !moai.stack<3 x <[4, 4], f32>> {moai.name = ["w0", "w1", "w2"], moai.role = "gradient_accumulator"}
// REPEAT:         %[[W:.*]] = moai.repeat %[[M]] {callee = @stage0.load.each, carries = array<i64: -1>, count = 3 : i64, moai.part = "load"
// REPEAT:         moai.repeat %{{.*}}, %[[W]], {{.*}}callee = @block.forward
// REPEAT:         %[[B:.*]]:2 = moai.repeat {{.*}}%[[W]], %{{.*}}, %[[A]] {{.*}}callee = @stage0.block.backward, {{.*}}reversed}
// REPEAT:         moai.repeat %[[B]]#1, %[[M]], {{.*}}callee = @stage0.update.each, {{.*}}count = 3 : i64, moai.part = "update"
// REPEAT-LABEL: func.func private @stage0.load.each(
// REPEAT:         moai.gather_bucket
// REPEAT-LABEL: func.func private @stage0.block.backward(
// REPEAT:         %[[G:.*]]:2 = call @block.backward
// REPEAT-NEXT:    %[[S:.*]] = moai.accumulate %{{.*}}, %[[G]]#1
// REPEAT-NEXT:    return %[[G]]#0, %[[S]]
// REPEAT-LABEL: func.func private @stage0.update.each(
// REPEAT:         %[[R:.*]] = moai.scatter_bucket
// REPEAT-NEXT:    moai.optimizer %[[R]]
