//===- DimTable.h - Dimensions while a graph is being understood -----------===//
#ifndef MOAI_LIB_IMPORT_DIMTABLE_H
#define MOAI_LIB_IMPORT_DIMTABLE_H

#include "moai/Plan/Dim.h"
#include "llvm/ADT/DenseMap.h"
#include <vector>

namespace moai {

using DimId = int32_t;
/// A place in the exported graph that wrote a number where a dimension may have been meant: an arange's length, an
/// expand's size, a buffer's shape.
using LiteralSite = int64_t;
inline constexpr LiteralSite kNoSite = -1;

/// Uniqued dimensions. Exports write the batch and the sequence as numbers; a literal remembers where it was written, and
/// when it has to equal a symbolic dimension of the same size, its site is bound to that dimension. Lowering then starts
/// over with the binding known, until nothing new is learned. This tells a batch of 1 from a broadcast 1.
class DimTable {
public:
  explicit DimTable(DimBinding exported) : exported(exported) {}

  DimId get(const Dim &dim, LiteralSite site = kNoSite);
  /// A literal; the dimension its site was bound to, if any.
  DimId literal(int64_t value, LiteralSite site);

  /// A dimension plus a number. What a literal plus a number turns out to be tells what the literal is.
  DimId shifted(DimId base, int64_t delta);

  const Dim &dim(DimId id) const { return entries[id].dim; }
  /// The size at export.
  int64_t hint(DimId id) const { return entries[id].hint; }
  /// One id for all literals of a size, wherever they were written.
  DimId canonical(DimId id) const { return entries[id].canonical; }
  /// Whether it was written as a number where a dimension may have been meant.
  bool isLiteral(DimId id) const { return entries[id].site != kNoSite; }
  bool isOne(DimId id) const { return entries[id].dim.isConstant(1); }

  /// The dimension two equal dimensions have. `sure` says that they must be equal even where one is 1; otherwise a 1 may
  /// be a broadcast and teaches nothing.
  DimId unify(DimId a, DimId b, bool sure);

  /// True if the last round bound a site: lower again.
  bool takeProgress();

  const llvm::DenseMap<LiteralSite, Dim> &getBindings() const { return bindings; }

private:
  struct Entry {
    Dim dim;
    LiteralSite site;
    int64_t hint;
    DimId canonical;
    int64_t offset = 0; ///< what was added to the literal
  };
  std::vector<Entry> entries;
  llvm::DenseMap<std::pair<int64_t, LiteralSite>, DimId> constants;
  std::vector<DimId> symbolic;
  llvm::DenseMap<LiteralSite, Dim> bindings;
  DimBinding exported;
  bool progress = false;
};

} // namespace moai

#endif // MOAI_LIB_IMPORT_DIMTABLE_H
