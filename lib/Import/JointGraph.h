//===- JointGraph.h - Graphs that carry their backward ---------------------===//
#ifndef MOAI_LIB_IMPORT_JOINTGRAPH_H
#define MOAI_LIB_IMPORT_JOINTGRAPH_H

#include "ExportedProgram.h"

namespace moai {

/// If the program carries its backward (outputs that are gradients), leaves of it what the loss and the updated buffers
/// depend on, marks parameters that get no gradient as not trained, and returns true. The gradients are derived again from
/// the forward, so what is exported of them is only checked: throws an ImportError where they can't be those of the loss.
bool separateForward(pt2::ExportedProgram &program);

} // namespace moai

#endif // MOAI_LIB_IMPORT_JOINTGRAPH_H
