//===- ImportError.h - How a deep part of the importer gives up ------------===//
#ifndef MOAI_LIB_IMPORT_IMPORTERROR_H
#define MOAI_LIB_IMPORT_IMPORTERROR_H

#include <stdexcept>
#include <string>

namespace moai {

/// Thrown inside lib/Import only, where every file format check would otherwise need its own return path; importPt2 turns
/// it into a status.
struct ImportError : std::runtime_error {
  explicit ImportError(const std::string &what) : std::runtime_error(what) {}
};

/// Thrown by a rule that needs a number where the graph has a size that only a run knows; the node is kept opaque then.
struct DynamicNumber {};

} // namespace moai

#endif // MOAI_LIB_IMPORT_IMPORTERROR_H
