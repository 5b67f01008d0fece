//===- Report.h - A plan for people ----------------------------------------===//
#ifndef MOAI_EXPORT_REPORT_H
#define MOAI_EXPORT_REPORT_H

#include "moai/Plan/Plan.h"
#include "moai/Plan/SavedTensor.h"
#include "llvm/Support/raw_ostream.h"

namespace moai {

/// A short table of the candidates, best first, and where the chosen step's time and memory go.
void printReport(const Plan &plan, llvm::raw_ostream &os);

/// What was understood of a model.
void printDescription(const ModelSummary &model, llvm::raw_ostream &os);

/// What waits from the forward for the backward, one line for each storage; those of a block's instances together, with `*` for
/// the instance's number.
void printSavedTensors(const std::vector<SavedTensor> &tensors, llvm::raw_ostream &os);

/// 7,721,324,544
std::string groupDigits(int64_t number);

} // namespace moai

#endif // MOAI_EXPORT_REPORT_H
