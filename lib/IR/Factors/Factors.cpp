//===- Factors.cpp - Putting together the factors of an op -----------------===//
#include "FactorBuilder.h"

using namespace mlir;
using namespace moai;

std::optional<unsigned> moai::findFactor(const ValueFactors &value, unsigned factor) {
  for (auto [dim, factors] : llvm::enumerate(value))
    if (llvm::is_contained(factors, factor))
      return dim;
  return std::nullopt;
}

Dim moai::sizeOf(const OpFactors &op, ArrayRef<unsigned> factors) {
  Dim size = 1;
  for (unsigned factor : factors)
    size = size * op.factors[factor].size;
  return size;
}

FactorBuilder::FactorBuilder(Operation *op) : source(op), numOperands(op->getNumOperands()) {
  auto take = [&](Value value) {
    shapes.push_back(tensorOf(value).getShape());
    assigned.emplace_back(shapes.back().size());
  };
  llvm::for_each(op->getOperands(), take);
  llvm::for_each(op->getResults(), take);
}

DimFactors FactorBuilder::add(const Dim &size, Role role) {
  if (size.isConstant(1))
    return {};
  op.factors.push_back({size, role.kind, role.rule});
  return {static_cast<unsigned>(op.factors.size() - 1)};
}

ValueFactors FactorBuilder::addAll(ArrayRef<Dim> shape, Role role) {
  ValueFactors dims;
  for (const Dim &size : shape)
    dims.push_back(add(size, role));
  return dims;
}

// Numbers are drawn by the place of an element in the whole batch, counted in samples and row by row: a part of another dimension, or of a
// batch that isn't outermost, would draw those of other elements.
ValueFactors FactorBuilder::addDrawn(ArrayRef<Dim> shape) {
  ValueFactors dims = addAll(shape, FactorKind::Whole);
  Dim samples = Dim::symbol(kBatchSymbol);
  if (auto each = shape.empty() ? std::nullopt : shape.front().dividedBy(samples))
    dims.front() = joined(add(samples), add(*each, FactorKind::Whole));
  return dims;
}

void FactorBuilder::set(unsigned value, const ValueFactors &dims) {
  if (dims.size() != shapes[value].size())
    return makeWhole(dims);
  for (auto [index, dim] : llvm::enumerate(dims))
    if (fits(shapes[value][index], dim))
      assigned[value][index] = dim;
    else
      makeWhole(ArrayRef<unsigned>(dim));
}

void FactorBuilder::broadcastOperand(unsigned index, const ValueFactors &dims, ArrayRef<Dim> shape) {
  ArrayRef<Dim> own = operandShape(index);
  if (own.size() > dims.size())
    return makeWhole(dims);
  ValueFactors aligned;
  for (unsigned i = 0, extra = dims.size() - own.size(); i < own.size(); ++i)
    aligned.push_back(own[i].isConstant(1) && own[i] != shape[i + extra] ? DimFactors() : dims[i + extra]);
  setOperand(index, aligned);
}

void FactorBuilder::mapAll(ArrayRef<unsigned> operands, ArrayRef<unsigned> results, const ValueFactors &dims) {
  for (unsigned operand : operands)
    setOperand(operand, dims);
  for (unsigned result : results)
    setResult(result, dims);
}

void FactorBuilder::makeWhole(ArrayRef<unsigned> numbers) {
  for (unsigned number : numbers)
    op.factors[number] = {op.factors[number].size, FactorKind::Whole, ""};
}

static bool holds(ArrayRef<std::optional<DimFactors>> value, unsigned factor) {
  return llvm::any_of(value, [&](const auto &dim) { return dim && llvm::is_contained(*dim, factor); });
}

void FactorBuilder::sumWhereMissing() {
  auto results = ArrayRef(assigned).drop_front(numOperands);
  for (auto [number, factor] : llvm::enumerate(op.factors))
    if (factor.kind == FactorKind::Map && !llvm::all_of(results, [&, number = number](const auto &value) { return holds(value, number); }))
      factor.kind = FactorKind::Sum;
}

void FactorBuilder::linear(ArrayRef<unsigned> operands) {
  if (llvm::all_of(operands, [&](unsigned operand) { return isFloating(tensorOf(source->getOperand(operand)).getElementType()); }))
    op.linear.emplace_back(operands.begin(), operands.end());
}

// Without factors that were made, but are in no dimension.
static OpFactors withoutUnused(OpFactors op) {
  SmallVector<std::optional<unsigned>, 8> numbers(op.factors.size());
  SmallVector<Factor, 6> used;
  auto renumber = [&](ValueFactors &value) {
    for (DimFactors &dim : value)
      for (unsigned &factor : dim) {
        if (!numbers[factor]) {
          numbers[factor] = used.size();
          used.push_back(op.factors[factor]);
        }
        factor = *numbers[factor];
      }
  };
  llvm::for_each(op.operands, renumber);
  llvm::for_each(op.results, renumber);
  op.factors = std::move(used);
  return op;
}

OpFactors FactorBuilder::finish() {
  for (auto [value, dims] : llvm::enumerate(assigned)) {
    ValueFactors factors;
    for (auto [index, dim] : llvm::enumerate(dims))
      factors.push_back(dim ? *dim : add(shapes[value][index], FactorKind::Whole));
    if (value < numOperands)
      op.operands.push_back(std::move(factors));
    else
      op.results.push_back(std::move(factors));
  }
  return withoutUnused(std::move(op));
}
