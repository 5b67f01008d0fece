//===- Dim.h - Tensor dimensions as polynomials of the step's symbols ------===//
#ifndef MOAI_PLAN_DIM_H
#define MOAI_PLAN_DIM_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace moai {

/// The symbols a dimension may be written in: `b` samples of one micro-batch, `s` positions of the main
/// sequence, `t` and `u` further sequences (the decoder of an encoder-decoder model).
inline constexpr unsigned kNumDimSymbols = 4;
inline constexpr unsigned kBatchSymbol = 0;
inline constexpr unsigned kSequenceSymbol = 1;
inline constexpr std::array<const char *, kNumDimSymbols> kDimSymbolNames = {"b", "s", "t", "u"};

/// A value for every symbol.
struct DimBinding {
  std::array<int64_t, kNumDimSymbols> values = {1, 1, 1, 1};
  bool operator==(const DimBinding &other) const { return values == other.values; }
};

/// A dimension of a tensor: a polynomial with integer coefficients in the symbols above. Batch and sequence
/// stay symbols through the whole compiler, so one module serves every micro-batch size; `evaluate` gives
/// numbers. Terms are sorted, so equal polynomials compare equal. Arithmetic saturates to `isOverflow()`.
class Dim {
public:
  /// `powers` packs one 8-bit exponent per symbol; `coefficient` is never zero.
  struct Term {
    uint32_t powers;
    int64_t coefficient;
    bool operator==(const Term &o) const { return powers == o.powers && coefficient == o.coefficient; }
  };

  Dim() = default;
  Dim(int64_t constant);
  static Dim symbol(unsigned index);

  Dim operator+(const Dim &other) const;
  Dim operator-(const Dim &other) const;
  Dim operator*(const Dim &other) const;
  /// The quotient if `divisor` divides every term, otherwise nothing. Only single-term divisors are tried.
  std::optional<Dim> dividedBy(const Dim &divisor) const;

  bool operator==(const Dim &other) const { return terms == other.terms; }
  bool operator!=(const Dim &other) const { return !(*this == other); }

  bool isConstant() const { return terms.empty() || (terms.size() == 1 && terms[0].powers == 0); }
  bool isConstant(int64_t value) const { return isConstant() && constant() == value; }
  /// The constant term.
  int64_t constant() const;
  /// Highest exponent of the symbol in any term.
  unsigned degreeIn(unsigned symbol) const;
  bool isOverflow() const { return overflow; }

  /// The number under a binding; INT64_MAX where it does not fit 64 bits.
  int64_t evaluate(const DimBinding &binding) const;

  llvm::ArrayRef<Term> getTerms() const { return terms; }
  /// Builds from terms in any order.
  static Dim fromTerms(llvm::ArrayRef<Term> terms);

  /// `b*s - b`, `4096`; `parse` reads what `str` writes.
  std::string str() const;
  static std::optional<Dim> parse(llvm::StringRef text);

private:
  llvm::SmallVector<Term, 2> terms;
  bool overflow = false;
  void add(Term term);
};

/// a*b, saturating at INT64_MAX (both operands non-negative).
int64_t saturatingMultiply(int64_t a, int64_t b);

} // namespace moai

#endif // MOAI_PLAN_DIM_H
