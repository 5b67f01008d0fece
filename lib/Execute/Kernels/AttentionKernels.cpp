//===- AttentionKernels.cpp - Scaled dot-product attention -----------------===//
#include "Kernels.h"
#include <cmath>

using namespace mlir;
using namespace moai;

namespace {
/// What one head of one sample reads.
struct Head {
  const double *query, *key, *value;
  int64_t queries, keys, width, valueWidth;
  int64_t sample, number;
};

/// Scores before the softmax, of one query and key; -inf where the mask forbids.
template <typename OpT> class Scores {
public:
  Scores(OpT op, KernelCall &call, ArrayRef<int64_t> shape)
      : mask(op.getMask()), window(op.getWindow()), scale(op.getScale().convertToDouble()) {
    if (Value value = op.getBias()) {
      bias = &call[value];
      biasStrides = broadcastStrides(bias->shape, shape);
      boolean = tensorOf(value).getElementType().isInteger(1);
    }
  }
  double operator()(const Head &head, int64_t query, int64_t key) const {
    if ((mask == "causal" || mask == "sliding_window") && key > query)
      return -INFINITY;
    if (mask == "sliding_window" && key <= query - window)
      return -INFINITY;
    double product = 0;
    for (int64_t i = 0; i < head.width; ++i)
      product += head.query[query * head.width + i] * head.key[key * head.width + i];
    product *= scale;
    if (!bias)
      return product;
    double shift = bias->values[biasAt(head, query, key)];
    return boolean ? (shift != 0 ? product : -INFINITY) : product + shift;
  }
  int64_t biasAt(const Head &head, int64_t query, int64_t key) const {
    return head.sample * biasStrides[0] + head.number * biasStrides[1] + query * biasStrides[2] + key * biasStrides[3];
  }
  double getScale() const { return scale; }

private:
  StringRef mask;
  int64_t window;
  double scale;
  const Tensor *bias = nullptr;
  Offsets biasStrides;
  bool boolean = false;
};

/// What the probability of one query and key is multiplied by: 1 / (1 - dropout), or 0 where it is dropped.
class Keep {
public:
  template <typename OpT>
  Keep(OpT op, KernelCall &call, const Offsets &shape)
      : dropout(call.isEvaluation ? 0 : op.getDropout().convertToDouble()),
        random(call.random(op.getStream(), op.getQuery(), Tensor::countElements(shape))), queries(shape[2]), keys(shape[3]) {}
  /// `head` is counted over all samples.
  double operator()(int64_t head, int64_t query, int64_t key) const {
    if (dropout == 0)
      return 1;
    return random[(head * queries + query) * keys + key] >= dropout ? 1 / (1 - dropout) : 0;
  }

private:
  double dropout;
  RandomNumbers random;
  int64_t queries, keys;
};
} // namespace

// Calls visit(head, query head's number, key head's number), both counted over all samples.
template <typename Visit> static void forEachHead(const Tensor &query, const Tensor &key, const Tensor &value, Visit visit) {
  int64_t heads = query.shape[1], keyHeads = key.shape[1];
  Head head{};
  head.queries = query.shape[2];
  head.keys = key.shape[2];
  head.width = query.shape[3];
  head.valueWidth = value.shape[3];
  for (head.sample = 0; head.sample < query.shape[0]; ++head.sample)
    for (head.number = 0; head.number < heads; ++head.number) {
      int64_t q = head.sample * heads + head.number, k = head.sample * keyHeads + head.number / (heads / keyHeads);
      head.query = query.values.data() + q * head.queries * head.width;
      head.key = key.values.data() + k * head.keys * head.width;
      head.value = value.values.data() + k * head.keys * head.valueWidth;
      visit(head, q, k);
    }
}

template <typename OpT> static Offsets scoreShape(OpT op, KernelCall &call) {
  const Tensor &query = call[op.getQuery()];
  return {query.shape[0], query.shape[1], query.shape[2], call[op.getKey()].shape[2]};
}

static void attention(AttentionOp op, KernelCall &call) {
  Offsets shape = scoreShape(op, call);
  Scores<AttentionOp> scores(op, call, shape);
  Keep keep(op, call, shape);
  Tensor &result = call.result(op.getResult()), &logsumexp = call.result(op.getLogsumexp());
  std::vector<double> row;
  forEachHead(call[op.getQuery()], call[op.getKey()], call[op.getValue()], [&](const Head &head, int64_t q, int64_t) {
    row.resize(head.keys);
    for (int64_t query = 0; query < head.queries; ++query) {
      double largest = -INFINITY, sum = 0;
      for (int64_t key = 0; key < head.keys; ++key)
        largest = std::max(largest, row[key] = scores(head, query, key));
      for (double &score : row)
        sum += score = std::isinf(largest) ? 0 : std::exp(score - largest);
      logsumexp.values[q * head.queries + query] = largest + std::log(sum);
      double *out = &result.values[(q * head.queries + query) * head.valueWidth];
      for (int64_t key = 0; key < head.keys; ++key) {
        double p = row[key] == 0 ? 0 : row[key] / sum * keep(q, query, key);
        for (int64_t i = 0; p != 0 && i < head.valueWidth; ++i)
          out[i] += p * head.value[key * head.valueWidth + i];
      }
    }
  });
}

// With P = exp(S - logsumexp) and D = 1, or the dropout's factors: dV = (D P)' dO; dS = P (D (dO V') - rowsum(dO O));
// dQ = scale dS K; dK = scale dS' Q; dBias = dS.
static void attentionBackward(AttentionBackwardOp op, KernelCall &call) {
  Offsets shape = scoreShape(op, call);
  Scores<AttentionBackwardOp> scores(op, call, shape);
  Keep keep(op, call, shape);
  const Tensor &gradient = call[op.getGradient()], &output = call[op.getResult()], &logsumexp = call[op.getLogsumexp()];
  Tensor &dQuery = call.result(op.getGradients()[0]), &dKey = call.result(op.getGradients()[1]),
         &dValue = call.result(op.getGradients()[2]);
  Tensor *dBias = op.getGradients().size() > 3 ? &call.result(op.getGradients()[3]) : nullptr;
  forEachHead(call[op.getQuery()], call[op.getKey()], call[op.getValue()], [&](const Head &head, int64_t q, int64_t k) {
    double *queryGradient = dQuery.values.data() + q * head.queries * head.width;
    double *keyGradient = dKey.values.data() + k * head.keys * head.width;
    double *valueGradient = dValue.values.data() + k * head.keys * head.valueWidth;
    for (int64_t query = 0; query < head.queries; ++query) {
      int64_t row = q * head.queries + query;
      const double *outGradient = &gradient.values[row * head.valueWidth], *out = &output.values[row * head.valueWidth];
      double dot = 0;
      for (int64_t i = 0; i < head.valueWidth; ++i)
        dot += outGradient[i] * out[i];
      for (int64_t key = 0; key < head.keys; ++key) {
        double score = scores(head, query, key);
        if (std::isinf(score))
          continue;
        double p = std::exp(score - logsumexp.values[row]), kept = keep(q, query, key), dp = 0;
        for (int64_t i = 0; i < head.valueWidth; ++i) {
          valueGradient[key * head.valueWidth + i] += kept * p * outGradient[i];
          dp += kept * outGradient[i] * head.value[key * head.valueWidth + i];
        }
        double ds = p * (dp - dot);
        for (int64_t i = 0; i < head.width; ++i) {
          queryGradient[query * head.width + i] += scores.getScale() * ds * head.key[key * head.width + i];
          keyGradient[key * head.width + i] += scores.getScale() * ds * head.query[query * head.width + i];
        }
        if (dBias)
          dBias->values[scores.biasAt(head, query, key)] += ds;
      }
    }
  });
}

void moai::addAttentionKernels(KernelTable &table) {
  table.add<AttentionOp>(attention);
  table.add<AttentionBackwardOp>(attentionBackward);
}
