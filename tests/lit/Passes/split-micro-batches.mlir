// RUN: moai-opt %s -split-input-file -verify-diagnostics -moai-split-micro-batches | FileCheck %s

// The batch symbol becomes the micro-batch of one replica; the sequence stays.
// CHECK: module attributes {moai.binding = array<i64: 4, 8, 1, 1>
module attributes {moai.binding = array<i64: 2, 8, 1, 1>, moai.config = #moai.config<"num_stages=2,num_micro_batches=4,batch_per_device=4">} {
}

// -----

// expected-error @below {{has no moai.config to compile for}}
module attributes {moai.binding = array<i64: 2, 8, 1, 1>} {
}
