//===- SampleOrder.cpp - The order in which samples are visited ------------===//
#include "moai/Execute/DataSource.h"
#include <numeric>

using namespace moai;

// The finalizer of SplitMix64: neighbouring numbers give unrelated ones.
static uint64_t mix(uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  return bits ^ (bits >> 31);
}

SampleOrder::SampleOrder(int64_t numSamples, uint64_t seed, bool shuffle) : numSamples(numSamples), seed(seed), shuffle(shuffle) {}

// Fisher and Yates' shuffle. Numbers are counted, not drawn from a generator, so that an epoch needs none before it.
const std::vector<int64_t> &SampleOrder::permutationOf(int64_t epoch) {
  if (epoch == keptEpoch)
    return kept;
  kept.resize(numSamples);
  std::iota(kept.begin(), kept.end(), 0);
  uint64_t key = mix(mix(seed + 0x9E3779B97F4A7C15u) + static_cast<uint64_t>(epoch));
  for (int64_t i = numSamples - 1; i > 0; --i) {
    uint64_t number = mix(key + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15u);
    std::swap(kept[i], kept[number % static_cast<uint64_t>(i + 1)]);
  }
  keptEpoch = epoch;
  return kept;
}

std::vector<int64_t> SampleOrder::at(int64_t first, int64_t count) {
  std::vector<int64_t> samples;
  samples.reserve(count);
  for (int64_t place = first; place < first + count; ++place)
    samples.push_back(shuffle ? permutationOf(place / numSamples)[place % numSamples] : place % numSamples);
  return samples;
}
