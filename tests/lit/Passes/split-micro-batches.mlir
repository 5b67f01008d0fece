// RUN: moai-opt %s -split-input-file -verify-diagnostics -moai-split-micro-batches | FileCheck %s
// RUN: sed 's/moai.binding/moai.config = #moai.config<"num_micro_batches=4,data_parallel=2">, moai.binding/' %S/Inputs/mlp.mlir | moai-opt -moai-build-backward -moai-split-micro-batches | FileCheck %s --check-prefix=MEAN
// RUN: sed -e 's/moai.binding/moai.config = #moai.config<"num_micro_batches=4,data_parallel=2">, moai.binding/' %S/Inputs/gated.mlir | moai-opt -moai-build-backward -moai-split-micro-batches | FileCheck %s --check-prefix=SUM

// Eight parts of a mean give an eighth of its gradient each; those of a sum all of it.
// MEAN: moai.generate {{.*}}moai.seed, scalars = array<f64: 1.250000e-01>
// SUM:  moai.generate {{.*}}moai.seed, scalars = array<f64: 1.000000e+00>

// The batch symbol becomes the micro-batch of one replica; the sequence stays.
// CHECK: module attributes {moai.binding = array<i64: 4, 8, 1, 1>
module attributes {moai.binding = array<i64: 2, 8, 1, 1>, moai.config = #moai.config<"num_stages=2,num_micro_batches=4,batch_per_device=4">} {
}

// -----

// expected-error @below {{has no moai.config to compile for}}
module attributes {moai.binding = array<i64: 2, 8, 1, 1>} {
}
