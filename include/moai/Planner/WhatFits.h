//===- WhatFits.h - Where a step that doesn't fit would --------------------===//
#ifndef MOAI_PLANNER_WHATFITS_H
#define MOAI_PLANNER_WHATFITS_H

#include "moai/Planner/Planner.h"

namespace moai {

/// `8xLarge.4096GB would hold it, and so would a --global-batch of 8 on 4xLarge.2048GB`: the least accelerator above the request's (the
/// next flavors, or more of the same device), and the largest of its batch's halves, quarters, ... for which a candidate fits; `no ...
/// would hold it` without either. Of a request for one configuration, smaller batches per device are tried, and MoAI's space on the
/// same devices and on more: `Large.256GB without --config would hold it`. Compiles as many candidates as it takes.
std::string describeWhatFits(mlir::ModuleOp trainingGraph, const PlanRequest &request);

} // namespace moai

#endif // MOAI_PLANNER_WHATFITS_H
