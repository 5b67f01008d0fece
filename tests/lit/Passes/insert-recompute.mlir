// RUN: moai-opt %S/Inputs/mlp.mlir -moai-build-backward -o %t
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,recomputation=full">, moai.binding/' %t | moai-opt -moai-insert-recompute | FileCheck %s --check-prefix=FULL
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,recomputation=selective">, moai.binding/' %S/Inputs/gated.mlir | moai-opt -moai-build-backward -moai-insert-recompute | FileCheck %s --check-prefix=SELECTIVE
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4">, moai.binding/' %t | moai-opt -moai-insert-recompute | FileCheck %s --check-prefix=NONE
// RUN: sed 's/moai.binding/moai.config = #moai.config<"recomputation=1">, moai.binding/' %t | moai-opt -moai-insert-recompute | FileCheck %s --check-prefix=FIRST
// RUN: sed 's/moai.binding/moai.config = #moai.config<"recomputation=3">, moai.binding/' %t | not moai-opt -moai-insert-recompute 2>&1 | FileCheck %s --check-prefix=MANY
// RUN: not moai-opt %t -moai-insert-recompute 2>&1 | FileCheck %s --check-prefix=UNCONFIGURED

// The block's forward runs again right before its backward, as far as the backward needs it: silu's result is not made.
// FULL-LABEL: func.func private @block.recompute(
// FULL-NEXT:    %[[H:.*]] = moai.contract
// FULL-NEXT:    return %[[H]]
// FULL-LABEL: func.func @step(
// FULL:         %[[F0:.*]]:2 = call @block.forward(%arg0
// FULL:         %[[F1:.*]]:2 = call @block.forward(%[[F0]]#0
// FULL:         %[[R1:.*]] = call @block.recompute(%[[F0]]#0, %arg2) {moai.block = "layers.1", moai.phase = "backward", moai.position = 1 : i64, moai.recompute}
// FULL-NEXT:    call @block.backward({{.*}}, %[[R1]], %arg2, %[[F0]]#0)
// FULL-NEXT:    %[[R0:.*]] = call @block.recompute(%arg0, %arg1)
// FULL-NEXT:    call @block.backward({{.*}}, %[[R0]], %arg1, %arg0)

// Of two blocks the first is repeated.
// FIRST-LABEL: func.func @step(
// FIRST-NOT:     call @block.recompute({{.*}}moai.block = "layers.1"
// FIRST:         call @block.recompute({{.*}}moai.block = "layers.0"
// MANY: error: recomputation is to repeat 3 blocks of stage 0, which has 2 of the model's 2; give at most as many

// Of a gated block only the products stay; silu of the gate is repeated in the backward.
// SELECTIVE-LABEL: func.func private @block.forward.selective(
// SELECTIVE:         %[[GATE:.*]] = moai.contract
// SELECTIVE:         %[[UP:.*]] = moai.contract
// SELECTIVE:         %[[DOWN:.*]] = moai.contract
// SELECTIVE:         return %[[DOWN]], %[[GATE]], %[[UP]] :
// SELECTIVE-LABEL: func.func private @block.backward.selective(
// SELECTIVE:         moai.elementwise %{{.*}} {kind = "silu", moai.recompute}
// SELECTIVE:         kind = "silu_backward"
// SELECTIVE-LABEL: func.func @step(
// SELECTIVE:         call @block.forward.selective
// SELECTIVE:         call @block.backward.selective

// NONE-NOT: recompute
// UNCONFIGURED: error: has no moai.config to compile for

// RUN: sed 's/moai.binding/moai.config = #moai.config<"recomputation=2">, moai.binding/' %S/Inputs/deep.mlir | moai-opt -moai-roll-blocks -moai-build-backward -moai-insert-recompute | FileCheck %s --check-prefix=REPEAT

// The first two of three layers become a repeat of their own, whose body runs the forward and then the backward.
// REPEAT-LABEL: func.func private @block.backward.full(
// REPEAT-SAME:    attributes {moai.body}
// REPEAT-NEXT:    call @block.recompute.each({{.*}}) {moai.recompute}
// REPEAT-NEXT:    call @block.backward(
// REPEAT-LABEL: func.func @step(
// REPEAT:         moai.repeat {{.*}}blocks = ["layers.0", "layers.1"], callee = @block.forward.full, {{.*}}count = 2
// REPEAT:         moai.repeat {{.*}}blocks = ["layers.2"], callee = @block.forward, {{.*}}count = 1
// REPEAT:         moai.repeat {{.*}}blocks = ["layers.2"], callee = @block.backward, {{.*}}reversed}
// REPEAT:         moai.repeat {{.*}}blocks = ["layers.0", "layers.1"], callee = @block.backward.full, {{.*}}reversed}
