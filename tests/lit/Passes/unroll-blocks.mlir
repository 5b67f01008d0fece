// RUN: moai-opt %S/Inputs/deep.mlir -moai-roll-blocks -moai-build-backward -moai-unroll-blocks | FileCheck %s
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,data_parallel=3,zero=1,recomputation=full">, moai.binding/' %S/Inputs/deep.mlir | moai-opt -moai-training-pipeline -moai-candidate-pipeline -moai-unroll-blocks | FileCheck %s --check-prefix=BODIES

// Iterations of the backward run from the last layer to the first; each has its own name, position and tensors.
// CHECK-LABEL: func.func @step(
// CHECK-SAME:    %[[W0:[a-z0-9]+]]: !moai.tensor<[4, 4], f32> {moai.name = "w0", moai.role = "parameter"}
// CHECK-SAME:    %[[W1:[a-z0-9]+]]: !moai.tensor<[4, 4], f32> {moai.name = "w1", moai.role = "parameter"}
// CHECK-SAME:    %[[W2:[a-z0-9]+]]: !moai.tensor<[4, 4], f32> {moai.name = "w2", moai.role = "parameter"}
// CHECK-SAME:    %[[P:[a-z0-9]+]]: !moai.tensor<[4], f32> {moai.name = "p"
// CHECK:         %[[E:.*]] = moai.contract
// CHECK-NEXT:    %[[F0:.*]]:2 = call @block.forward(%[[E]], %[[W0]], %[[P]]) {moai.block = "layers.0", moai.position = 1 : i64}
// CHECK-NEXT:    %[[F1:.*]]:2 = call @block.forward(%[[F0]]#0, %[[W1]], %[[P]]) {moai.block = "layers.1", moai.position = 2 : i64}
// CHECK-NEXT:    %[[F2:.*]]:2 = call @block.forward(%[[F1]]#0, %[[W2]], %[[P]]) {moai.block = "layers.2", moai.position = 3 : i64}
// CHECK:         %[[B2:.*]]:2 = call @block.backward(%{{.*}}, %[[P]], %[[W2]], %[[F2]]#1) {moai.block = "layers.2", moai.phase = "backward", moai.position = 3 : i64}
// CHECK-NEXT:    %[[B1:.*]]:2 = call @block.backward(%[[B2]]#0, %[[P]], %[[W1]], %[[F1]]#1) {moai.block = "layers.1", moai.phase = "backward", moai.position = 2 : i64}
// CHECK-NEXT:    %[[B0:.*]]:2 = call @block.backward(%[[B1]]#0, %[[P]], %[[W0]], %[[F0]]#1) {moai.block = "layers.0", moai.phase = "backward", moai.position = 1 : i64}
// CHECK:         return %{{.*}}, %{{.*}}, %[[B0]]#1, %[[B1]]#1, %[[B2]]#1

// The bodies of repeats are gone, their ops stand where they are called: of two layers on the first stage, of one on the second.
// BODIES-NOT:    moai.body
// BODIES-NOT:    moai.stack
// BODIES-LABEL: func.func private @stage0.backward(
// BODIES:         call @block.recompute.each({{.*}}) {moai.block = "layers.1", moai.recompute}
// BODIES-NEXT:    %[[B1:.*]]:2 = call @block.backward({{.*}}) {moai.block = "layers.1"}
// BODIES-NEXT:    moai.accumulate %{{.*}}, %[[B1]]#1 {moai.block = "layers.1"
// BODIES-NEXT:    call @block.recompute.each({{.*}}) {moai.block = "layers.0", moai.recompute}
// BODIES-NEXT:    %[[B0:.*]]:2 = call @block.backward(%[[B1]]#0, {{.*}}) {moai.block = "layers.0"}
// BODIES-LABEL: func.func private @stage0.update(
// BODIES-COUNT-3: moai.optimizer
// BODIES-NOT:     moai.optimizer
// BODIES-LABEL: func.func @stage0(
// BODIES-SAME:    !moai.tensor<[6], f32> {moai.name = ["w0"], moai.role = "master_parameter"}, %{{[a-z0-9]+}}: !moai.tensor<[6], f32> {moai.name = ["w1"], moai.role = "master_parameter"}
// BODIES-LABEL: func.func private @stage1.update(
// BODIES:         moai.optimizer
// BODIES-NOT:     moai.optimizer
