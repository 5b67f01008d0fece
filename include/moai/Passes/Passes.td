//===- Passes.td - From a training graph to what each device runs ----------===//
#ifndef MOAI_PASSES_PASSES_TD
#define MOAI_PASSES_PASSES_TD

include "mlir/Pass/PassBase.td"

class Moai_Pass<string flag> : Pass<flag, "::mlir::ModuleOp">;

def NormalizeGraph : Moai_Pass<"moai-normalize-graph"> {
  let summary = "Removes dead ops, identity views and repeated generators; numbers the streams of random numbers";
  let description = [{
    Requires an imported module. Afterwards no op without effect is unused, no view returns its operand's type, and every op that draws
    random numbers has a stream of its own.
  }];
}

def RollBlocks : Moai_Pass<"moai-roll-blocks"> {
  let summary = "Makes one moai.repeat of the calls of a block that follow each other";
  let description = [{
    Calls of one function become one op where each reads what the one before returned, and otherwise either the same value, which no
    gradient flows through, or an argument of its own. Those arguments become one stack, with a list of their names. Other calls stay.
  }];
}

def UnrollBlocks : Moai_Pass<"moai-unroll-blocks"> {
  let summary = "Writes out every iteration of every moai.repeat";
  let description = [{ Afterwards there is no moai.repeat, no stack, and no function that is the body of a repeat. What devices execute. }];
}

def BuildBackward : Moai_Pass<"moai-build-backward"> {
  let summary = "Appends the backward of @step from each op's gradient rule";
  let description = [{
    Requires a function @step that returns one scalar loss (and perhaps updated buffers, results with moai.name). Afterwards @step returns the loss, updated buffers if it did before, and one gradient per
    argument of role parameter, in argument order. A parameter that the loss doesn't depend on has become a buffer: nothing
    trains it. Each called function @f has become @f.forward, which also returns what the
    backward needs, and @f.backward.
  }];
}

def SplitMicroBatches : Moai_Pass<"moai-split-micro-batches"> {
  let summary = "Binds `b` to the samples of one micro-batch of one replica";
  let description = [{
    Requires moai.config. Afterwards moai.binding's `b` is batch_per_device, and the seed of the backward is the share that one
    micro-batch of one replica has in the gradient of a mean over all samples.
  }];
}

def PartitionStages : Moai_Pass<"moai-partition-stages"> {
  let summary = "Assigns every op of @step to a pipeline stage and inserts the transfers between them";
  let description = [{
    Requires the backward. Cuts the forward where every stage fits, if that can be, and the slowest stage is fastest (ties:
    least memory, then least traffic); a backward op runs where its forward ran. Where the recomputation is a count per stage, the first
    blocks of each stage are recomputed, which the cut takes into account. Afterwards every op of @step has moai.stage and a value crosses
    stages only through send and receive.
  }];
  let options = [Option<"accelerator", "accelerator", "std::string", "\"4xLarge.2048GB\"", "Accelerator whose kernel times balance the stages">,
                 Option<"memoryLimit", "memory-limit", "int64_t", "0", "Bytes of a device that a stage should stay within; 0: no limit">];
}

def InsertRecompute : Moai_Pass<"moai-insert-recompute"> {
  let summary = "Recomputes blocks, or all of them but products and attention, in the backward";
  let description = [{
    Requires the backward. `full` calls a block's forward again right before its backward, so that only block inputs stay;
    `selective` repeats everything but matrix products and attention inside the block's backward; a count does as `full` for the first
    blocks. Counts of several stages are left to PartitionStages.
  }];
}

def DistributeParams : Moai_Pass<"moai-distribute-params"> {
  let summary = "Adds the update of parameters and optimizer states, sharded over the data-parallel group or whole";
  let description = [{
    Requires moai.stage; follows moai.optimizer (AdamW in exported types without). With zero >= 1 parameters arrive as flat
    shards, are gathered once per step, and their gradients are reduce-scattered and updated in shards; otherwise gradients
    are all-reduced and updated whole. Afterwards @step returns the loss (role `loss`), and the next value of each
    buffer, parameter, master and state that it changes; moai.updates gives the number of the argument.
  }];
}

def SchedulePipeline : Moai_Pass<"moai-schedule-pipeline"> {
  let summary = "Outlines each stage's forward, backward and update, and fixes the order of its micro-batches";
  let description = [{
    Requires moai.stage. Afterwards there is one function per stage and part (@stageK.load, .forward, .backward, .update) and
    a function @stageK whose moai.schedule lists its tasks: +k forward, -k backward of micro-batch k, counted from 1.
  }];
}

def PlanMemory : Moai_Pass<"moai-plan-memory"> {
  let summary = "Computes the peak memory of every stage under its schedule";
  let description = [{ Requires the outlined stages. Afterwards each @stageK has moai.memory: bytes by category at the peak, its phase and op. }];
  let options = [Option<"granularity", "granularity", "int64_t", "1", "Every storage takes a multiple of so many bytes">,
                 Option<"workspace", "workspace", "int64_t", "0", "Bytes that kernel libraries hold for the whole step">];
}

#endif // MOAI_PASSES_PASSES_TD
