// RUN: moai-opt %s -split-input-file -verify-diagnostics -moai-build-backward
// RUN: moai-opt %s -split-input-file -verify-diagnostics -moai-insert-recompute
// RUN: moai-opt %s -split-input-file -verify-diagnostics -moai-partition-stages
// RUN: moai-opt %s -split-input-file -verify-diagnostics -moai-distribute-params
// RUN: moai-opt %s -split-input-file -verify-diagnostics -moai-schedule-pipeline

// expected-error @below {{has no function @step}}
module attributes {moai.config = #moai.config<"num_stages=1,num_micro_batches=1">} {
}

// -----

// expected-error @below {{has no function @step}}
module attributes {moai.config = #moai.config<"num_stages=1,num_micro_batches=1">} {
  func.func private @step()
}
