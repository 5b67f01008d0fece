// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-partition-stages | FileCheck %s
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=4,num_micro_batches=4">, moai.binding/' %S/Inputs/mlp.mlir | not moai-opt -moai-build-backward -moai-partition-stages 2>&1 | FileCheck %s --check-prefix=FEW
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4">, moai.binding/' %S/Inputs/mlp.mlir | not moai-opt -moai-build-backward -moai-partition-stages=accelerator=h1000 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,recomputation=0:1">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-insert-recompute -moai-partition-stages | FileCheck %s --check-prefix=COUNTS
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4,recomputation=1:2">, moai.binding/' %S/Inputs/mlp.mlir | not moai-opt -moai-build-backward -moai-insert-recompute -moai-partition-stages 2>&1 | FileCheck %s --check-prefix=MANY
// RUN: sed 's/phase = "backward", moai.position = 0/phase = "backward", moai.position = 7/' %s | not moai-opt -moai-partition-stages 2>&1 | FileCheck %s --check-prefix=ORPHAN
// RUN: moai-opt %s -moai-partition-stages | FileCheck %s --check-prefix=TIED
// RUN: moai-opt %S/Inputs/tied.mlir -moai-partition-stages | FileCheck %s --check-prefix=NESTED

// One layer each; the backward runs where its forward ran, and gradients go back over the same boundary.
// CHECK-LABEL: func.func @step(
// CHECK:         %[[F0:.*]]:2 = call @block.forward({{.*}}moai.stage = 0
// CHECK-NEXT:    moai.send %[[F0]]#0 {moai.stage = 0 : i64, peer = 1 : i64}
// CHECK-NEXT:    %[[IN:.*]] = moai.receive {moai.stage = 1 : i64, peer = 0 : i64}
// CHECK-NEXT:    %[[F1:.*]]:2 = call @block.forward(%[[IN]], {{.*}}moai.stage = 1
// CHECK-NEXT:    moai.reduce {{.*}}moai.stage = 1
// CHECK:         %[[B1:.*]]:2 = call @block.backward({{.*}}, %[[F1]]#1, %{{.*}}, %[[IN]]) {{.*}}moai.stage = 1
// CHECK-NEXT:    moai.send %[[B1]]#0 {moai.phase = "backward", moai.stage = 1 : i64, peer = 0 : i64}
// CHECK-NEXT:    %[[BACK:.*]] = moai.receive {moai.phase = "backward", moai.stage = 0 : i64, peer = 1 : i64}
// CHECK-NEXT:    call @block.backward(%[[BACK]], %[[F0]]#1, {{.*}}moai.stage = 0

// FEW: error: the graph has 3 ops to put on 4 stages
// UNKNOWN: error: {{.*}}'h1000'
// ORPHAN: error: 'moai.contract' op belongs to position 7, where no forward op is

// Stage 1 repeats its block from what it received.
// COUNTS-LABEL: func.func @step(
// COUNTS:         %[[IN:.*]] = moai.receive {moai.stage = 1
// COUNTS:         %[[R1:.*]] = call @block.recompute(%[[IN]], {{.*}}moai.phase = "backward", moai.position = 1 : i64, moai.recompute, moai.stage = 1
// COUNTS-NEXT:    call @block.backward({{.*}}, %[[R1]], {{.*}}moai.stage = 1
// COUNTS-NOT:     block.recompute
// MANY: error: recomputation is to repeat {{[12]}} blocks of stage {{[01]}}, which has {{[01]}} of the model's 2; give at most as many

// A parameter of both stages: its gradients are summed once per step, not sent with every micro-batch.
// TIED-LABEL: func.func @step(
// TIED:         %[[D1:.*]] = moai.contract {{.*}}moai.phase = "backward", moai.position = 1 : i64, moai.stage = 1
// TIED:         %[[D0:.*]] = moai.contract {{.*}}moai.phase = "backward", moai.position = 0 : i64, moai.stage = 0
// TIED-NOT:     kind = "add"
// TIED:         %[[SUM:.*]]:2 = moai.all_reduce {{.*}} {moai.part = "update", stages = array<i64: 0, 1>}
// TIED:         return %{{.*}}, %[[SUM]]#0

// However the adds are nested, each stage sums its own share first.
// NESTED-LABEL: func.func @step(
// NESTED:         %[[D2:.*]] = moai.contract {{.*}}moai.position = 2 : i64, moai.stage = 1
// NESTED:         %[[D1:.*]] = moai.contract {{.*}}moai.position = 1 : i64, moai.stage = 0
// NESTED:         %[[D0:.*]] = moai.contract {{.*}}moai.position = 0 : i64, moai.stage = 0
// NESTED-NEXT:    %[[OWN:.*]] = moai.elementwise %[[D1]], %[[D0]] {kind = "add", moai.phase = "backward", moai.stage = 0 : i64}
// NESTED:         moai.all_reduce {{.*}} {moai.part = "update", stages = array<i64: 0, 1>}
module attributes {moai.binding = array<i64: 2, 8, 1, 1>, moai.config = #moai.config<"num_stages=2,num_micro_batches=4">} {
  func.func @step(%x: !moai.tensor<[b, 4], f32> {moai.name = "x", moai.role = "input"}, %g: !moai.tensor<[b, 4], f32> {moai.name = "g", moai.role = "input"},
                  %w: !moai.tensor<[4, 4], f32> {moai.name = "w", moai.role = "parameter"}) -> (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) {
    %0 = moai.contract %x, %w {equation = "ak,nk->an", moai.position = 0 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %1 = moai.contract %0, %w {equation = "ak,nk->an", moai.position = 1 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %d1 = moai.contract %g, %0 {equation = "an,ak->nk", moai.phase = "backward", moai.position = 1 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b, 4], f32>) -> !moai.tensor<[4, 4], f32>
    %b = moai.contract %g, %w {equation = "an,nk->ak", moai.phase = "backward", moai.position = 1 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %d0 = moai.contract %b, %x {equation = "an,ak->nk", moai.phase = "backward", moai.position = 0 : i64} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[b, 4], f32>) -> !moai.tensor<[4, 4], f32>
    %d = moai.elementwise %d1, %d0 {kind = "add", moai.phase = "backward", moai.position = 0 : i64} : (!moai.tensor<[4, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[4, 4], f32>
    return %1, %d : !moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>
  }
}

// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_stages=2,num_micro_batches=4">, moai.binding/' %S/Inputs/deep.mlir | moai-opt -moai-roll-blocks -moai-build-backward -moai-partition-stages | FileCheck %s --check-prefix=REPEAT

// A repeat is cut where a stage begins, its backward and its stacks with it; each piece has its own first position.
// REPEAT-LABEL: func.func @step(
// REPEAT-SAME:    %[[FIRST:[a-z0-9]+]]: !moai.stack<2 x <[4, 4], f32>> {moai.name = ["w0", "w1"], moai.role = "parameter"}
// REPEAT-SAME:    %[[LAST:[a-z0-9]+]]: !moai.stack<1 x <[4, 4], f32>> {moai.name = ["w2"], moai.role = "parameter"}
// REPEAT:         %[[F0:.*]]:2 = moai.repeat %{{.*}}, %[[FIRST]], {{.*}}blocks = ["layers.0", "layers.1"], callee = @block.forward, {{.*}}count = 2 : i64, moai.position = 1 : i64, moai.stage = 0 : i64}
// REPEAT-NEXT:    moai.send %[[F0]]#0 {moai.stage = 0 : i64, peer = 1 : i64}
// REPEAT:         %[[IN:.*]] = moai.receive {{.*}}peer = 0 : i64}
// REPEAT:         %[[F1:.*]]:2 = moai.repeat %[[IN]], %[[LAST]], {{.*}}blocks = ["layers.2"], {{.*}}count = 1 : i64, moai.position = 3 : i64, moai.stage = 1 : i64}
// REPEAT:         %[[B1:.*]]:2 = moai.repeat {{.*}}%[[LAST]], %[[F1]]#1 {{.*}}count = 1 : i64, moai.phase = "backward", moai.position = 3 : i64, moai.stage = 1 : i64, reversed}
// REPEAT:         %[[B0:.*]]:2 = moai.repeat {{.*}}%[[FIRST]], %[[F0]]#1 {{.*}}count = 2 : i64, moai.phase = "backward", moai.position = 1 : i64, moai.stage = 0 : i64, reversed}
// REPEAT:         return %{{.*}}, %{{.*}}, %[[B0]]#1, %[[B1]]#1
