//===- LossPlot.h - A picture of losses ------------------------------------===//
#ifndef MOAI_TOOLS_LOSSPLOT_H
#define MOAI_TOOLS_LOSSPLOT_H

#include "absl/status/status.h"
#include <string>
#include <utility>
#include <vector>

namespace moai {

/// Steps and their losses.
using LossCurve = std::vector<std::pair<double, double>>;

/// NotFound, in one sentence, if gnuplot, which draws it, is not installed.
absl::Status checkPlotter();
/// Draws the losses, and those of evaluations if there are any, as an SVG picture; whole or not at all.
absl::Status drawLosses(const std::string &path, const LossCurve &losses, const LossCurve &evaluations);

} // namespace moai

#endif // MOAI_TOOLS_LOSSPLOT_H
