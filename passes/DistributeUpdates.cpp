//===- DistributeUpdates.cpp - From gradients to the next parameters -------===//
#include "DistributeParams.h"
#include "RepeatBody.h"

using namespace mlir;
using namespace moai;

// Each iteration of the backward adds the gradients of its instance to what came before.
SmallVector<Value> ParameterDistributor::accumulateInBody(const Bucket &bucket, ArrayRef<Type> types) {
  auto backward = gradientOf[bucket.parameters.front()].getDefiningOp<RepeatOp>();
  func::FuncOp body = getOwnBody(backward, bucket.stage);
  Operation *end = body.getBody().front().getTerminator();
  auto accumulators = addArguments(bucket, builder.getStringAttr("gradient_accumulator"), types, /*isShard=*/false);
  SmallVector<Value> inside, gradients;
  SmallVector<unsigned> numbers;
  for (auto [parameter, type] : llvm::zip(bucket.parameters, types)) {
    numbers.push_back(cast<OpResult>(gradientOf[parameter]).getResultNumber());
    inside.push_back(body.getBody().front().addArgument(type, body.getLoc()));
    gradients.push_back(end->getOperand(numbers.back()));
  }
  auto bodyBuilder = OpBuilder(end);
  auto sum = bodyBuilder.create<AccumulateOp>(step.getLoc(), types, inside, gradients);
  for (auto [number, output] : llvm::zip(numbers, sum.getOutputs()))
    end->setOperand(number, output);
  updateBodyType(body);
  SmallVector<std::pair<Value *, unsigned>> replaced; // gradients of other buckets among them
  for (auto &[parameter, gradient] : gradientOf)
    if (gradient.getDefiningOp() == backward)
      replaced.push_back({&gradient, cast<OpResult>(gradient).getResultNumber()});
  RepeatOp accumulating = replaceRepeat(backward, body, accumulators);
  for (auto [gradient, number] : replaced)
    *gradient = accumulating.getResult(number);
  SmallVector<Value> sums;
  for (unsigned number : numbers)
    sums.push_back(accumulating.getResult(number));
  return sums;
}

// The gradients of a stage's parameters over all its micro-batches; of a tied one, what this stage gives to the sum.
SmallVector<Value> ParameterDistributor::accumulate(const Bucket &bucket) {
  SmallVector<Value> gradients;
  for (BlockArgument parameter : bucket.parameters) {
    Value gradient = gradientOf[parameter];
    if (AllReduceOp sum = tiedSum(parameter)) {
      auto own = llvm::find_if(sum.getInputs(), [&](Value input) { return labels.stage(input.getDefiningOp()) == bucket.stage; });
      if (own != sum.getInputs().end())
        gradient = *own;
    }
    gradients.push_back(gradient);
  }
  if (config.numMicroBatches == 1)
    return gradients;
  SmallVector<Type> types;
  for (Value gradient : gradients)
    types.push_back(
        SymTensorType::get(context, tensorOf(gradient).getShape(), elementOf(policy.precision.accumulation, bucket.exported())));
  if (bucket.isStacked())
    return accumulateInBody(bucket, types);
  // As soon as the last of them is there, so that no gradient waits for the end of the backward.
  Operation *last = nullptr;
  for (Value gradient : gradients)
    if (Operation *op = gradient.getDefiningOp(); op && (!last || last->isBeforeInBlock(op)))
      last = op;
  if (last)
    builder.setInsertionPointAfter(last);
  else
    builder.setInsertionPoint(stepReturn);
  auto accumulators = addArguments(bucket, builder.getStringAttr("gradient_accumulator"), types, /*isShard=*/false);
  auto sum = builder.create<AccumulateOp>(step.getLoc(), types, accumulators, gradients);
  labels.place(sum, bucket.stage, /*isBackward=*/true);
  return SmallVector<Value>(sum.getOutputs());
}

void ParameterDistributor::sumTied(const Bucket &bucket, SmallVectorImpl<Value> &gradients) {
  for (auto [parameter, gradient] : llvm::zip(bucket.parameters, gradients))
    if (AllReduceOp sum = tiedSum(parameter)) {
      auto reduce = builder.create<AllReduceOp>(step.getLoc(), gradient.getType(), gradient, AxesAttr(), sum.getStagesAttr());
      place(reduce, bucket, updatePart);
      gradient = reduce.getOutputs()[0];
    }
}

// Sums gradients over the data axis, in the type that the policy asks for.
SmallVector<Value> ParameterDistributor::reduce(const PendingUpdate &pending, ValueRange unreduced) {
  Location loc = step.getLoc();
  const Bucket &bucket = *pending.bucket;
  Type element = elementOf(policy.precision.gradient, bucket.exported());
  SmallVector<Value> gradients(unreduced);
  for (Value &gradient : gradients)
    if (tensorOf(gradient).getElementType() != element) {
      auto cast = builder.create<CastOp>(loc, SymTensorType::get(context, tensorOf(gradient).getShape(), element), gradient);
      place(cast, bucket, updatePart);
      gradient = cast;
    }
  sumTied(bucket, gradients);
  Operation *sum = nullptr;
  if (isSharded())
    sum = builder.create<ScatterBucketOp>(loc, shardOf(pending.tensors, element), gradients, AxisSet::data());
  else if (mesh.numReplicas() > 1)
    sum = builder.create<AllReduceOp>(loc, ValueRange(gradients).getTypes(), gradients, AxisSet::data());
  if (!sum)
    return gradients;
  place(sum, bucket, updatePart);
  return SmallVector<Value>(sum->getResults());
}

// `taken` are the masters, then the states.
SmallVector<Value> ParameterDistributor::optimize(const Bucket &bucket, ValueRange gradients, ValueRange taken, Value squaredNorm) {
  auto optimizer = builder.create<OptimizerOp>(step.getLoc(), taken.getTypes(), gradients, taken.take_front(gradients.size()),
                                               taken.drop_front(gradients.size()), squaredNorm, policyAttribute);
  place(optimizer, bucket, updatePart);
  return SmallVector<Value>(optimizer.getOutputs());
}

void ParameterDistributor::keepResults(const PendingUpdate &pending, ValueRange outputs) {
  results.append(outputs.begin(), outputs.end());
  for (Value argument : llvm::concat<const Value>(pending.masters, pending.states))
    updatedArguments.push_back(cast<BlockArgument>(argument));
}

static SmallVector<Value> concat(std::initializer_list<ArrayRef<Value>> lists) {
  SmallVector<Value> all;
  for (ArrayRef<Value> list : lists)
    all.append(list.begin(), list.end());
  return all;
}

// Gradients are gone as soon as what they update is.
void ParameterDistributor::update(const PendingUpdate &pending) {
  builder.setInsertionPoint(stepReturn);
  SmallVector<Value> inputs = concat({pending.gradients, pending.masters, pending.states});
  keepResults(pending, forEach(*pending.bucket, "update.each", updatePart, inputs, [&](ValueRange inputs) {
                size_t count = pending.gradients.size();
                return optimize(*pending.bucket, reduce(pending, inputs.take_front(count)), inputs.drop_front(count), Value());
              }));
}

// The same with gradients that are reduced.
void ParameterDistributor::updateClipped(const PendingUpdate &pending, Value squaredNorm) {
  SmallVector<Value> inputs = concat({pending.gradients, pending.masters, pending.states, squaredNorm});
  keepResults(pending, forEach(*pending.bucket, "update.each", updatePart, inputs, [&](ValueRange inputs) {
                size_t count = pending.gradients.size();
                return optimize(*pending.bucket, inputs.take_front(count), inputs.drop_front(count).drop_back(), inputs.back());
              }));
}

// Every stage needs the norm over the gradients of all stages. A tied parameter counts on the first stage that has it.
void ParameterDistributor::clip(MutableArrayRef<PendingUpdate> updates) {
  Location loc = step.getLoc();
  builder.setInsertionPoint(stepReturn);
  for (PendingUpdate &pending : updates)
    pending.gradients = forEach(*pending.bucket, "reduce.each", updatePart, pending.gradients,
                                [&](ValueRange gradients) { return reduce(pending, gradients); });
  Type scalar = SymTensorType::get(context, ArrayRef<Dim>(), builder.getF32Type());
  SmallVector<Value> norms(config.numStages);
  for (int64_t stage = 0; stage < config.numStages; ++stage) {
    SmallVector<Value> counted;
    for (const PendingUpdate &pending : updates) {
      AllReduceOp tied = tiedSum(pending.bucket->parameters.front());
      if (pending.bucket->stage == stage && (!tied || tied.getStages()->front() == stage))
        counted.append(pending.gradients);
    }
    Operation *norm = counted.empty() ? builder.create<GenerateOp>(loc, scalar, "full", ArrayRef<double>{0.0}).getOperation()
                                      : builder.create<SquaredNormOp>(loc, scalar, counted).getOperation();
    labels.place(norm, stage, updatePart);
    auto sumOver = [&](AxisSet axes) {
      if (mesh.size(axes) == 1)
        return;
      norm = builder.create<AllReduceOp>(loc, scalar, norm->getResult(0), axes);
      labels.place(norm, stage, updatePart);
    };
    if (isSharded())
      sumOver(AxisSet::data());
    sumOver(MeshAxis::Stage);
    norms[stage] = norm->getResult(0);
  }
  for (const PendingUpdate &pending : updates)
    updateClipped(pending, norms[pending.bucket->stage]);
}
