//===- FactorBuilder.h - Puts together the factors of one op ---------------===//
#ifndef MOAI_LIB_IR_FACTORBUILDER_H
#define MOAI_LIB_IR_FACTORBUILDER_H

#include "moai/IR/Moai.h"

namespace moai {

/// What kind of factor, and for a special one by which rule.
struct Role {
  FactorKind kind;
  llvm::StringRef rule = "";

  Role(FactorKind kind) : kind(kind) {}
  Role(FactorKind kind, llvm::StringRef rule) : kind(kind), rule(rule) {}
};

inline Role special(llvm::StringRef rule) { return {FactorKind::Special, rule}; }

/// Dimensions that nothing is said about are whole, and so are those of factors that turn out not to fit: where a dimension isn't the
/// product of the factors it is said to hold, they all become whole.
class FactorBuilder {
public:
  explicit FactorBuilder(mlir::Operation *op);

  llvm::ArrayRef<Dim> operandShape(unsigned index) const { return shapes[index]; }
  llvm::ArrayRef<Dim> resultShape(unsigned index) const { return shapes[numOperands + index]; }

  /// A new factor; none for a size of 1.
  DimFactors add(const Dim &size, Role role = FactorKind::Map);
  /// One for each dimension.
  ValueFactors addAll(llvm::ArrayRef<Dim> shape, Role role = FactorKind::Map);
  /// That of the place in the whole batch alone, in which random numbers of samples are drawn: `b` of the first dimension.
  ValueFactors addDrawn(llvm::ArrayRef<Dim> shape);

  /// All dimensions of an operand or result. A wrong number of them makes the factors whole.
  void setOperand(unsigned index, const ValueFactors &dims) { set(index, dims); }
  void setResult(unsigned index, const ValueFactors &dims) { set(numOperands + index, dims); }
  /// An operand that is broadcast to dimensions of that shape, aligned at the last.
  void broadcastOperand(unsigned index, const ValueFactors &dims, llvm::ArrayRef<Dim> shape);
  /// Operands and results that all have the same dimensions.
  void mapAll(llvm::ArrayRef<unsigned> operands, llvm::ArrayRef<unsigned> results, const ValueFactors &dims);

  void makeWhole(llvm::ArrayRef<unsigned> numbers);
  void makeWhole(const ValueFactors &dims) {
    for (const DimFactors &dim : dims)
      makeWhole(llvm::ArrayRef<unsigned>(dim));
  }
  /// Factors that a result goes without are summed over there.
  void sumWhereMissing();
  /// The op is linear in these operands together, if they are no integers.
  void linear(llvm::ArrayRef<unsigned> operands);

  OpFactors finish();

private:
  void set(unsigned value, const ValueFactors &dims);
  bool fits(const Dim &size, llvm::ArrayRef<unsigned> factors) const { return sizeOf(op, factors) == size; }

  mlir::Operation *source;
  OpFactors op;
  unsigned numOperands;
  llvm::SmallVector<llvm::SmallVector<Dim, 4>, 6> shapes;                         ///< operands', then results'
  llvm::SmallVector<llvm::SmallVector<std::optional<DimFactors>, 4>, 6> assigned; ///< by value and dimension
};

/// Two lists, one after the other.
template <typename List> List joined(List first, const List &second) {
  first.append(second.begin(), second.end());
  return first;
}

} // namespace moai

#endif // MOAI_LIB_IR_FACTORBUILDER_H
