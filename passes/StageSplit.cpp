//===- StageSplit.cpp - The best cut into stages ---------------------------===//
#include "StageAtoms.h"
#include <tuple>

using namespace mlir;
using namespace moai;

namespace {

/// What a stage's atoms add up to.
struct Load {
  int64_t picoseconds = 0, bytes = 0, transientBytes = 0;
  void add(const Atom &atom, int64_t inFlight) {
    picoseconds += atom.picoseconds;
    bytes += atom.stateBytes + atom.savedBytes * inFlight;
    transientBytes = std::max(transientBytes, atom.transientBytes);
  }
};

/// How good a split is, most important first.
struct Score {
  int64_t missing = 0; ///< blocks to be recomputed that a stage doesn't have
  int64_t excess = 0;  ///< bytes beyond the limit, on the worst stage
  int64_t slowest = 0; ///< picoseconds
  int64_t largest = 0; ///< bytes
  int64_t traffic = 0; ///< bytes
  bool operator<(const Score &o) const {
    return std::tie(missing, excess, slowest, largest, traffic) < std::tie(o.missing, o.excess, o.slowest, o.largest, o.traffic);
  }
};

} // namespace

// The load of some atoms whose first `count` blocks are repeated, and how many blocks they lack for that.
static std::pair<Load, int64_t> loadWithCount(ArrayRef<Atom> atoms, ArrayRef<Atom> recomputed, int64_t count, int64_t inFlight) {
  Load load;
  for (auto [plain, repeated] : llvm::zip(atoms, recomputed)) {
    bool repeats = count > 0 && plain.isBlock;
    count -= repeats;
    load.add(repeats ? repeated : plain, inFlight);
  }
  return {load, count};
}

// Dynamic programming over (stages, atoms): the best score of putting the first `i` atoms on `s` stages, none empty.
SmallVector<size_t> moai::splitAtoms(ArrayRef<Atom> atoms, ArrayRef<int64_t> inFlight, int64_t limit, ArrayRef<Atom> recomputed,
                                     ArrayRef<int64_t> firstBlocks) {
  size_t n = atoms.size(), stages = inFlight.size();
  std::vector<std::vector<Score>> best(stages + 1, std::vector<Score>(n + 1));
  std::vector<std::vector<size_t>> from(stages + 1, std::vector<size_t>(n + 1));
  for (size_t s = 1; s <= stages; ++s)
    for (size_t i = s; i <= n; ++i) {
      bool found = false;
      Load load;
      int64_t missing = 0;
      // The last of the `s` stages begins at atom `j`. Earlier starts only make it slower and larger; stop once it alone is
      // worse than the best split.
      for (size_t j = i; j-- + 1 > s;) {
        load.add(atoms[j], inFlight[s - 1]);
        if (s == 1 && j > 0)
          continue;
        if (!firstBlocks.empty())
          std::tie(load, missing) = loadWithCount(atoms.slice(j, i - j), recomputed.slice(j, i - j), firstBlocks[s - 1], inFlight[s - 1]);
        int64_t bytes = load.bytes + load.transientBytes;
        Score score{missing, limit > 0 ? std::max<int64_t>(0, bytes - limit) : 0, load.picoseconds, bytes, 0};
        if (found && firstBlocks.empty() && std::tie(best[s][i].excess, best[s][i].slowest) < std::tie(score.excess, score.slowest))
          break;
        if (s > 1) {
          const Score &before = best[s - 1][j];
          score = {before.missing + score.missing, std::max(before.excess, score.excess), std::max(before.slowest, score.slowest),
                   std::max(before.largest, score.largest), before.traffic + atoms[j - 1].crossingBytes};
        }
        if (!found || score < best[s][i]) {
          best[s][i] = score;
          from[s][i] = j;
          found = true;
        }
      }
    }
  SmallVector<size_t> starts(stages);
  size_t end = n;
  for (size_t s = stages; s > 1; --s)
    end = starts[s - 1] = from[s][end];
  starts[0] = 0;
  return starts;
}
