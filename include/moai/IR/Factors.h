//===- Factors.h - What splitting a dimension of an op means ---------------===//
#ifndef MOAI_IR_FACTORS_H
#define MOAI_IR_FACTORS_H

#include "moai/Plan/Dim.h"
#include <optional>

namespace moai {

/// How the parts of an op make the whole one if a factor is split: each part gets its piece of the operands' dimensions that hold the
/// factor and all of the others. A result that holds the factor is always the parts' results, one after the other along its dimensions. The
/// kind is about the results that don't:
///
/// | kind    | a result without the factor is                                          | such as                               |
/// |---------|-------------------------------------------------------------------------|---------------------------------------|
/// | Map     | the same in every part                                                  | rows of a product                     |
/// | Sum     | the sum of the parts'                                                   | what a product sums over              |
/// | Mean    | the mean of the parts', each weighted by the size of its piece          | `reduce` of kind mean                 |
/// | Max     | the parts' maximum                                                      | `reduce` of kind amax, any            |
/// | Min     | the parts' minimum                                                      | `reduce` of kind amin, all            |
/// | Special | what the op's rule says: parts that don't know it give other numbers    | keys of attention, a vocabulary       |
/// | Whole   | nothing that parts could make: the factor must not be split             | a softmax's dimension, a norm's width |
enum class FactorKind : uint8_t { Map, Sum, Mean, Max, Min, Special, Whole };

/// Rules of special factors, by name.
namespace rules {
inline constexpr llvm::StringLiteral kVocabulary = "vocabulary"; ///< rows of a table or classes of a loss: a part has those from some on
inline constexpr llvm::StringLiteral kKeys = "keys";             ///< of attention: parts combine by their log-sum-exp
inline constexpr llvm::StringLiteral kPositions = "positions";   ///< what an element is depends on its place in the whole
inline constexpr llvm::StringLiteral kExtent = "extent";         ///< the op divides by sizes, of which the whole's count
inline constexpr llvm::StringLiteral kGroups = "groups";         ///< an attribute counts it: a part needs its own
inline constexpr llvm::StringLiteral kOnce = "once"; ///< partial sums, to which an operand must be added once and not by every part
inline constexpr llvm::StringLiteral kCounted =
    "counted";                                       ///< the loss is the parts' mean weighted by the last result, other results are sums
inline constexpr llvm::StringLiteral kRows = "rows"; ///< what indices count: a part has those from some on
inline constexpr llvm::StringLiteral kRouting = "routing"; ///< tokens, or their rows in the experts' order
inline constexpr llvm::StringLiteral kExperts = "experts"; ///< a part has those from some on, and their rows
} // namespace rules

struct Factor {
  Dim size; ///< never the constant 1
  FactorKind kind = FactorKind::Map;
  llvm::StringRef rule = ""; ///< of a special one
};

/// What one dimension is made of, outermost first, as numbers of OpFactors::factors. `[b*s, 4096]` of `(b s)` and `(h d)` is
/// {{0, 1}, {2, 3}}. Their sizes' product is the dimension; a dimension of 1 holds none.
using DimFactors = llvm::SmallVector<unsigned, 2>;
/// One entry per dimension. A factor is in at most one of them.
using ValueFactors = llvm::SmallVector<DimFactors, 4>;

/// An op's dimensions as factors. `softmax` of [b, s, v] along v has the factors b and s (Map) and v (Whole); `contract` with the equation
/// "bsk,nk->bsn" has b, s, n (Map) and k (Sum).
struct OpFactors {
  llvm::SmallVector<Factor, 6> factors;
  llvm::SmallVector<ValueFactors, 4> operands;
  llvm::SmallVector<ValueFactors, 2> results;
  /// Through which operands partial sums pass. In those of a group, taken together and the others held, the op is linear (but for
  /// rounding): the sum of what parts of them give is what their sum gives. Results that are integers don't depend on them at all. A
  /// product without a bias has {0} and {1}; `add` has {0, 1}: it adds partial sums to partial sums, but not to what is whole.
  llvm::SmallVector<llvm::SmallVector<unsigned, 2>, 2> linear;
};

/// The dimension that holds a factor, if one does.
std::optional<unsigned> findFactor(const ValueFactors &value, unsigned factor);
/// The product of the sizes.
Dim sizeOf(const OpFactors &op, llvm::ArrayRef<unsigned> factors);

} // namespace moai

#endif // MOAI_IR_FACTORS_H
