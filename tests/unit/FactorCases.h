//===- FactorCases.h - Random cases that gradients have no use for ---------===//
#ifndef MOAI_TESTS_UNIT_FACTORCASES_H
#define MOAI_TESTS_UNIT_FACTORCASES_H

#include "RandomGraph.h"

namespace moai {

/// Of ops without a gradient.
std::vector<Family> factorFamilies();

/// A module whose tensors have the batch's symbol, and its arguments.
struct SampleCase {
  std::string text;
  std::vector<Argument> arguments;
};

SampleCase drawSampledDropout(Draw &draw);
SampleCase drawSampledNumbers(Draw &draw);
SampleCase drawSampledAttention(Draw &draw);

} // namespace moai

#endif // MOAI_TESTS_UNIT_FACTORCASES_H
