//===- ProductFactors.cpp - Factors of products, attention and experts -----===//
#include "FactorBuilder.h"

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// contract
//===----------------------------------------------------------------------===//

static void linearInEach(FactorBuilder &factors, bool hasBias) {
  for (unsigned operand : {0u, 1u})
    factors.linear(hasBias ? SmallVector<unsigned, 2>{operand, 2} : SmallVector<unsigned, 2>{operand});
}

// Whether a letter stands for two dimensions of one tensor, of which only the diagonal counts.
static bool hasDiagonal(StringRef names) {
  return llvm::any_of(names, [&](char name) { return names.count(name) > 1; });
}

OpFactors ContractOp::getFactors() {
  FactorBuilder factors(*this);
  StringRef out = getEquation().split("->").second;
  auto [left, right] = getEquation().split("->").first.split(',');
  bool hasBias = static_cast<bool>(getBias());
  linearInEach(factors, hasBias);
  if (hasDiagonal(left) || hasDiagonal(right) || hasDiagonal(out))
    return factors.finish();
  llvm::SmallDenseMap<char, DimFactors> byLetter;
  auto dimsOf = [&](StringRef names, ArrayRef<Dim> shape) {
    ValueFactors dims;
    for (auto [index, name] : llvm::enumerate(names)) {
      auto [it, isNew] = byLetter.try_emplace(name);
      if (isNew && out.contains(name))
        it->second = factors.add(shape[index]);
      else if (isNew) // parts of a sum would all add the bias
        it->second = factors.add(shape[index], hasBias ? special(rules::kOnce) : Role(FactorKind::Sum));
      dims.push_back(it->second);
    }
    return dims;
  };
  factors.setOperand(0, dimsOf(left, factors.operandShape(0)));
  factors.setOperand(1, dimsOf(right, factors.operandShape(1)));
  ValueFactors result = dimsOf(out, factors.resultShape(0));
  factors.setResult(0, result);
  if (hasBias)
    factors.setOperand(2, {result.back()});
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// Convolutions
//===----------------------------------------------------------------------===//

namespace {
/// The weight is [(groups, narrow), wide, window...]. The side with as many channels as its first dimension is the narrow one, the other
/// has (groups, wide).
struct Channels {
  DimFactors groups, narrow, wide;
};
} // namespace

static Channels addChannels(FactorBuilder &factors, ArrayRef<Dim> weight, int64_t groups, Role narrow, Role wide) {
  Channels channels;
  channels.groups = factors.add(groups, special(rules::kGroups));
  auto each = weight[0].dividedBy(groups);
  channels.narrow = each ? factors.add(*each, narrow) : factors.add(weight[0], FactorKind::Whole);
  channels.wide = factors.add(weight[1], wide);
  return channels;
}

// [samples, channels, spatial...], whose spatial dimensions are whole.
static ValueFactors imageOf(FactorBuilder &factors, const DimFactors &samples, const DimFactors &groups, const DimFactors &channels,
                            ArrayRef<Dim> shape) {
  ValueFactors dims{samples, joined(groups, channels)};
  return joined(dims, factors.addAll(shape.drop_front(2), FactorKind::Whole));
}

static ValueFactors weightOf(FactorBuilder &factors, const Channels &channels, ArrayRef<Dim> shape) {
  return imageOf(factors, joined(channels.groups, channels.narrow), {}, channels.wide, shape);
}

// Input [n, (groups, in), ...], weight, and a bias like the result's channels; what a product sums over can't be split into parts that
// would all add the bias.
static OpFactors convolve(Operation *op, int64_t groups, bool isTransposed) {
  FactorBuilder factors(op);
  bool hasBias = op->getNumOperands() > 2;
  Role summed = hasBias ? special(rules::kOnce) : Role(FactorKind::Sum), kept = FactorKind::Map;
  ArrayRef<Dim> input = factors.operandShape(0), weight = factors.operandShape(1), result = factors.resultShape(0);
  Channels channels = addChannels(factors, weight, groups, isTransposed ? summed : kept, isTransposed ? kept : summed);
  DimFactors samples = factors.add(input[0]), in = isTransposed ? channels.narrow : channels.wide,
             out = isTransposed ? channels.wide : channels.narrow;
  factors.setOperand(0, imageOf(factors, samples, channels.groups, in, input));
  factors.setOperand(1, weightOf(factors, channels, weight));
  factors.setResult(0, imageOf(factors, samples, channels.groups, out, result));
  if (hasBias)
    factors.setOperand(2, {joined(channels.groups, out)});
  linearInEach(factors, hasBias);
  return factors.finish();
}

OpFactors ConvolutionOp::getFactors() { return convolve(*this, getGroups(), /*isTransposed=*/false); }
OpFactors TransposedConvolutionOp::getFactors() { return convolve(*this, getGroups(), /*isTransposed=*/true); }

OpFactors ConvolutionBackwardOp::getFactors() {
  FactorBuilder factors(*this);
  bool byWeight = getWrt() == "weight";
  ArrayRef<Dim> gradient = factors.operandShape(0), input = factors.operandShape(1), weight = factors.operandShape(2);
  if (gradient.size() < 2 || input.size() < 2 || weight.size() < 2)
    return factors.finish();
  Channels channels = addChannels(factors, weight, getGroups(), FactorKind::Map, FactorKind::Map);
  DimFactors samples = factors.add(input[0]);
  ValueFactors inputDims = imageOf(factors, samples, channels.groups, channels.wide, input),
               weightDims = weightOf(factors, channels, weight);
  factors.setOperand(0, imageOf(factors, samples, channels.groups, channels.narrow, gradient));
  factors.setOperand(1, inputDims);
  factors.setOperand(2, weightDims);
  factors.setResult(0, byWeight ? weightDims : inputDims);
  factors.sumWhereMissing();
  factors.linear({0});
  factors.linear({byWeight ? 1u : 2u});
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

namespace {
/// [b, (keyHeads, group), queries, width] against [b, keyHeads, keys, width] and [b, keyHeads, keys, valueWidth].
struct AttentionDims {
  DimFactors b, keyHeads, group, queries, keys, width, valueWidth;

  DimFactors heads() const { return joined(keyHeads, group); }
  ValueFactors query() const { return {b, heads(), queries, width}; }
  ValueFactors key() const { return {b, keyHeads, keys, width}; }
  ValueFactors value() const { return {b, keyHeads, keys, valueWidth}; }
  ValueFactors result() const { return {b, heads(), queries, valueWidth}; }
  ValueFactors logsumexp() const { return {b, heads(), queries}; }
  ValueFactors scores() const { return {b, heads(), queries, keys}; }
};
} // namespace

// With dropout, only samples may be split, and the values' width, of which the numbers that are drawn know nothing. Where a mask depends on
// positions, a part of them would take its first for the whole's. The width of keys is summed over within the softmax.
static AttentionDims addAttention(FactorBuilder &factors, ArrayRef<Dim> query, ArrayRef<Dim> value, StringRef mask, bool drawsNumbers,
                                  Role keys) {
  AttentionDims dims;
  Role kind = drawsNumbers ? FactorKind::Whole : FactorKind::Map;
  bool hasPositions = !drawsNumbers && (mask == "causal" || mask == "sliding_window");
  dims.b = drawsNumbers ? factors.addDrawn(query).front() : factors.add(query[0]);
  if (auto group = query[1].dividedBy(value[1])) {
    dims.keyHeads = factors.add(value[1], kind);
    dims.group = factors.add(*group, kind);
  } else {
    dims.keyHeads = factors.add(query[1], FactorKind::Whole);
  }
  dims.queries = factors.add(query[2], hasPositions ? special(rules::kPositions) : kind);
  dims.keys = factors.add(value[2], drawsNumbers ? kind : hasPositions ? special(rules::kPositions) : keys);
  dims.width = factors.add(query[3], FactorKind::Whole);
  dims.valueWidth = factors.add(value[3]);
  return dims;
}

static void setBias(FactorBuilder &factors, unsigned operand, const AttentionDims &dims) {
  ArrayRef<Dim> query = factors.operandShape(operand == 3 ? 0 : 1), key = factors.operandShape(operand == 3 ? 1 : 2);
  factors.broadcastOperand(operand, dims.scores(), SmallVector<Dim, 4>{query[0], query[1], query[2], key[2]});
}

OpFactors AttentionOp::getFactors() {
  FactorBuilder factors(*this);
  AttentionDims dims =
      addAttention(factors, factors.operandShape(0), factors.operandShape(2), getMask(), drawsNumbers(), special(rules::kKeys));
  factors.setOperand(0, dims.query());
  factors.setOperand(1, dims.key());
  factors.setOperand(2, dims.value());
  factors.setResult(0, dims.result());
  factors.setResult(1, dims.logsumexp());
  if (getBias())
    setBias(factors, 3, dims);
  return factors.finish();
}

// The forward's log-sum-exp is given, so that keys don't have to meet any more: their gradients are their own, the query's is a sum.
OpFactors AttentionBackwardOp::getFactors() {
  FactorBuilder factors(*this);
  AttentionDims dims =
      addAttention(factors, factors.operandShape(1), factors.operandShape(3), getMask(), !getDropout().isZero(), FactorKind::Map);
  ValueFactors query = dims.query(), key = dims.key(), value = dims.value();
  for (auto [operand, of] : {std::pair(0, dims.result()), {1, query}, {2, key}, {3, value}, {4, dims.result()}, {5, dims.logsumexp()}})
    factors.setOperand(operand, of);
  if (getBias())
    setBias(factors, 6, dims);
  for (auto [result, of] : {std::pair(0, query), {1, key}, {2, value}})
    factors.setResult(result, of);
  if (getBias() && getGradients().size() > 3) {
    ValueFactors scores = dims.scores(), bias;
    ArrayRef<Dim> shape = factors.resultShape(3);
    for (unsigned i = 0; i < shape.size() && shape.size() <= 4; ++i)
      bias.push_back(shape[i].isConstant(1) ? DimFactors() : scores[i + 4 - shape.size()]);
    factors.setResult(3, bias);
  }
  factors.sumWhereMissing();
  factors.linear({0});
  return factors.finish();
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

namespace {
/// Tokens, and the rows of each choice of one.
struct Rows {
  DimFactors tokens, rows;
};
} // namespace

static Rows addRows(FactorBuilder &factors, const Dim &tokens, const Dim &choices) {
  DimFactors each = factors.add(tokens, special(rules::kRouting));
  return {each, joined(each, factors.add(choices, special(rules::kRouting)))};
}

OpFactors RouteOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> choices = factors.operandShape(0);
  if (choices.size() != 2)
    return factors.finish();
  Rows rows = addRows(factors, choices[0], choices[1]);
  factors.setOperand(0, {rows.tokens, DimFactors(ArrayRef(rows.rows).drop_front(rows.tokens.size()))});
  factors.setResult(0, {rows.rows});
  factors.setResult(1, {rows.rows});
  factors.setResult(2, factors.addAll(factors.resultShape(2), special(rules::kExperts)));
  return factors.finish();
}

// Between [tokens, width...] and [(tokens choices), width...].
static OpFactors moveRows(Operation *op, int64_t choices, bool isDispatch) {
  FactorBuilder factors(op);
  ArrayRef<Dim> byToken = isDispatch ? factors.operandShape(0) : factors.resultShape(0);
  Rows rows = addRows(factors, byToken[0], choices);
  ValueFactors width = factors.addAll(byToken.drop_front());
  ValueFactors tokens = joined(ValueFactors{rows.tokens}, width), ordered = joined(ValueFactors{rows.rows}, width);
  factors.setOperand(0, isDispatch ? tokens : ordered);
  factors.setOperand(1, {rows.rows});
  factors.setOperand(2, {rows.rows});
  factors.setResult(0, isDispatch ? ordered : tokens);
  factors.linear({0});
  return factors.finish();
}

OpFactors DispatchOp::getFactors() { return moveRows(*this, getChoices(), /*isDispatch=*/true); }
OpFactors CombineOp::getFactors() { return moveRows(*this, getChoices(), /*isDispatch=*/false); }

OpFactors ExpertMatmulOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> input = factors.operandShape(0), weight = factors.operandShape(1);
  DimFactors rows = factors.add(input[0], special(rules::kRouting)), experts = factors.add(weight[0], special(rules::kExperts)),
             k = factors.add(input[1], FactorKind::Sum), n = factors.add(factors.resultShape(0)[1]);
  factors.setOperand(0, {rows, k});
  factors.setOperand(1, {experts, getTransposed() ? n : k, getTransposed() ? k : n});
  factors.setOperand(2, {experts});
  factors.setResult(0, {rows, n});
  factors.linear({0});
  factors.linear({1});
  return factors.finish();
}

OpFactors ExpertOuterOp::getFactors() {
  FactorBuilder factors(*this);
  ArrayRef<Dim> result = factors.resultShape(0);
  DimFactors rows = factors.add(factors.operandShape(0)[0], special(rules::kRouting)),
             experts = factors.add(result[0], special(rules::kExperts)), m = factors.add(result[1]), n = factors.add(result[2]);
  factors.setOperand(0, {rows, m});
  factors.setOperand(1, {rows, n});
  factors.setOperand(2, {experts});
  factors.setResult(0, {experts, m, n});
  factors.linear({0});
  factors.linear({1});
  return factors.finish();
}
