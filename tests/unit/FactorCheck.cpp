#include "FactorCheck.h"
#include "absl/strings/str_cat.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include <algorithm>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace moai;

//===----------------------------------------------------------------------===//
// An op by itself
//===----------------------------------------------------------------------===//

// With operands and results of those types, in place of its own.
static absl::StatusOr<Executor::Values> run(const OpCase &test, TypeRange operandTypes, TypeRange resultTypes, int64_t firstSample) {
  OpBuilder builder(test.op->getContext());
  OwningOpRef<ModuleOp> module = ModuleOp::create(test.op->getLoc());
  setBinding(*module, test.binding);
  builder.setInsertionPointToEnd(module->getBody());
  auto function = builder.create<func::FuncOp>(test.op->getLoc(), "step", builder.getFunctionType(operandTypes, resultTypes));
  builder.setInsertionPointToEnd(function.addEntryBlock());
  Operation *copy = builder.insert(test.op->cloneWithoutRegions());
  copy->setOperands(function.getArguments());
  for (auto [result, type] : llvm::zip(copy->getResults(), resultTypes))
    result.setType(type);
  builder.create<func::ReturnOp>(test.op->getLoc(), copy->getResults());
  ScopedDiagnosticHandler quiet(test.op->getContext(), [](Diagnostic &) { return success(); });
  if (failed(verify(*module)))
    return absl::InvalidArgumentError("types don't fit");
  ExecuteOptions options;
  options.float64 = true;
  options.firstSample = firstSample;
  return Executor(*module, options).run("step", test.operands);
}

absl::StatusOr<Executor::Values> moai::runAlone(const OpCase &test) {
  return run(test, test.op->getOperandTypes(), test.op->getResultTypes(), /*firstSample=*/0);
}

//===----------------------------------------------------------------------===//
// Form
//===----------------------------------------------------------------------===//

static std::string checkValue(const std::string &name, Value value, const ValueFactors &dims, const OpFactors &factors) {
  auto shape = tensorOf(value).getShape();
  if (dims.size() != shape.size())
    return absl::StrCat(name, " has ", shape.size(), " dimensions, but factors of ", dims.size());
  std::vector<bool> seen(factors.factors.size());
  for (auto [index, dim] : llvm::enumerate(dims)) {
    for (unsigned factor : dim) {
      if (factor >= seen.size() || seen[factor])
        return absl::StrCat("dimension ", index, " of ", name, " holds factor ", factor, ", which there isn't or which it holds twice");
      seen[factor] = true;
    }
    if (sizeOf(factors, dim) != shape[index])
      return absl::StrCat("dimension ", index, " of ", name, " is ", shape[index].str(), ", its factors make ", sizeOf(factors, dim).str());
  }
  return "";
}

std::string moai::checkForm(Operation *op, const OpFactors &factors) {
  if (factors.operands.size() != op->getNumOperands() || factors.results.size() != op->getNumResults())
    return "has factors of another number of operands or results";
  for (auto [index, dims] : llvm::enumerate(factors.operands))
    if (std::string wrong = checkValue(absl::StrCat("operand ", index), op->getOperand(index), dims, factors); !wrong.empty())
      return wrong;
  for (auto [index, dims] : llvm::enumerate(factors.results))
    if (std::string wrong = checkValue(absl::StrCat("result ", index), op->getResult(index), dims, factors); !wrong.empty())
      return wrong;
  for (unsigned number = 0; number < factors.factors.size(); ++number) {
    auto holds = [&](const ValueFactors &value) { return findFactor(value, number).has_value(); };
    if (llvm::none_of(factors.operands, holds) && llvm::none_of(factors.results, holds))
      return "has a factor that is in no dimension";
  }
  for (const Factor &factor : factors.factors)
    if (factor.size.isConstant(1) || (factor.kind == FactorKind::Special) == factor.rule.empty())
      return "has a factor of 1, or a rule that is missing or idle";
  for (const auto &group : factors.linear)
    for (unsigned operand : group)
      if (operand >= op->getNumOperands() || !isFloating(tensorOf(op->getOperand(operand)).getElementType()))
        return "is said to be linear in an operand that is none, or no number";
  return "";
}

//===----------------------------------------------------------------------===//
// Pieces
//===----------------------------------------------------------------------===//

namespace {
/// Where a factor lies in a tensor: `outer` runs of `size` blocks of `inner` elements.
struct Axis {
  int64_t outer, size, inner;
};

/// One op that is split along one factor.
class Split {
public:
  Split(const OpCase &test, const OpFactors &factors, unsigned factor)
      : test(test), factors(factors), factor(factor), whole(factors.factors[factor].size.evaluate(test.binding)) {}

  std::string check(const Executor::Values &expected, std::mt19937 &random);

private:
  bool hasSamples() const;
  Axis axisOf(const ValueFactors &dims, int64_t elements) const;
  Type pieceType(Value value, const ValueFactors &dims, int64_t size) const;
  std::shared_ptr<Tensor> pieceOf(unsigned operand, int64_t begin, int64_t size) const;
  absl::StatusOr<Executor::Values> runPart(int64_t begin, int64_t size) const;
  double weightOf(unsigned result, unsigned part) const;
  Tensor combine(unsigned result) const;

  const OpCase &test;
  const OpFactors &factors;
  unsigned factor;
  int64_t whole;
  std::vector<int64_t> sizes;
  std::vector<Executor::Values> parts;
};
} // namespace

// Whether a piece has fewer samples, and otherwise the same type.
bool Split::hasSamples() const {
  auto dependsOnSamples = [](const Factor &each) { return each.size.degreeIn(kBatchSymbol) > 0; };
  return factors.factors[factor].size == Dim::symbol(kBatchSymbol) && llvm::count_if(factors.factors, dependsOnSamples) == 1;
}

// A complex number's parts are innermost and belong to no factor.
Axis Split::axisOf(const ValueFactors &dims, int64_t elements) const {
  int64_t outer = 1;
  for (const DimFactors &dim : dims)
    for (unsigned each : dim) {
      if (each == factor)
        return {outer, whole, elements / (outer * whole)};
      outer *= factors.factors[each].size.evaluate(test.binding);
    }
  return {1, 1, elements};
}

Type Split::pieceType(Value value, const ValueFactors &dims, int64_t size) const {
  if (hasSamples())
    return value.getType();
  SmallVector<Dim> shape;
  for (const DimFactors &dim : dims) {
    int64_t product = 1;
    for (unsigned each : dim)
      product *= each == factor ? size : factors.factors[each].size.evaluate(test.binding);
    shape.push_back(product);
  }
  return SymTensorType::get(value.getContext(), shape, tensorOf(value).getElementType());
}

std::shared_ptr<Tensor> Split::pieceOf(unsigned operand, int64_t begin, int64_t size) const {
  auto piece = std::make_shared<Tensor>(*test.operands[operand]);
  std::optional<unsigned> dim = findFactor(factors.operands[operand], factor);
  if (!dim)
    return piece;
  Axis axis = axisOf(factors.operands[operand], piece->size());
  piece->shape[*dim] = piece->shape[*dim] / whole * size;
  piece->values.clear();
  const std::vector<double> &from = test.operands[operand]->values;
  for (int64_t i = 0; i < axis.outer; ++i) {
    auto run = from.begin() + (i * axis.size + begin) * axis.inner;
    piece->values.insert(piece->values.end(), run, run + size * axis.inner);
  }
  return piece;
}

absl::StatusOr<Executor::Values> Split::runPart(int64_t begin, int64_t size) const {
  OpCase part{test.op, {}, test.binding};
  SmallVector<Type> operandTypes, resultTypes;
  for (unsigned i = 0; i < test.op->getNumOperands(); ++i) {
    part.operands.push_back(pieceOf(i, begin, size));
    operandTypes.push_back(pieceType(test.op->getOperand(i), factors.operands[i], size));
  }
  for (unsigned i = 0; i < test.op->getNumResults(); ++i)
    resultTypes.push_back(pieceType(test.op->getResult(i), factors.results[i], size));
  if (hasSamples())
    part.binding.values[kBatchSymbol] = size;
  return run(part, operandTypes, resultTypes, hasSamples() ? begin : 0);
}

// What a part's result without the factor is multiplied by, before all are added.
double Split::weightOf(unsigned result, unsigned part) const {
  const Factor &split = factors.factors[factor];
  if (split.kind == FactorKind::Mean)
    return static_cast<double>(sizes[part]) / static_cast<double>(whole);
  if (split.rule != rules::kCounted || result > 0)
    return 1;
  double counted = 0;
  for (const Executor::Values &values : parts)
    counted += values.back()->values[0];
  return parts[part].back()->values[0] / counted;
}

Tensor Split::combine(unsigned result) const {
  FactorKind kind = factors.factors[factor].kind;
  Tensor combined = *parts[0][result];
  if (std::optional<unsigned> dim = findFactor(factors.results[result], factor)) {
    combined.shape[*dim] = combined.shape[*dim] / sizes[0] * whole;
    combined.values.assign(Tensor::countElements(combined.shape), 0);
    Axis axis = axisOf(factors.results[result], combined.size());
    for (int64_t part = 0, begin = 0; part < static_cast<int64_t>(parts.size()); begin += sizes[part++])
      for (int64_t i = 0, run = sizes[part] * axis.inner; i < axis.outer; ++i)
        std::copy_n(parts[part][result]->values.begin() + i * run, run, combined.values.begin() + (i * axis.size + begin) * axis.inner);
    return combined;
  }
  for (int64_t i = 0; i < combined.size(); ++i) {
    double &total = combined.values[i];
    bool adds = kind != FactorKind::Map && kind != FactorKind::Max && kind != FactorKind::Min;
    total = adds ? 0 : total;
    for (unsigned part = 0; part < parts.size(); ++part) {
      double value = parts[part][result]->values[i], weight = adds ? weightOf(result, part) : 1;
      if (adds)
        total += weight == 0 ? 0 : weight * value;
      else if (kind == FactorKind::Map)
        total = value == total ? value : NAN;
      else
        total = kind == FactorKind::Max ? std::max(total, value) : std::min(total, value);
    }
  }
  return combined;
}

//===----------------------------------------------------------------------===//
// Comparisons
//===----------------------------------------------------------------------===//

// Equal but for the order of additions; equal infinities are equal, and so is what is undefined in both.
static std::string compare(const Tensor &found, const Tensor &expected) {
  if (found.shape != expected.shape)
    return "has another shape";
  double scale = 1;
  for (double value : expected.values)
    scale = std::isfinite(value) ? std::max(scale, std::abs(value)) : scale;
  for (int64_t i = 0; i < found.size(); ++i) {
    double a = found.values[i], b = expected.values[i];
    if (a != b && !(std::isnan(a) && std::isnan(b)) && !(std::abs(a - b) <= 1e-12 * scale))
      return absl::StrCat("is ", a, " at ", i, ", expected ", b);
  }
  return "";
}

// Two or three parts of sizes that need not be equal.
static std::vector<int64_t> drawSizes(int64_t whole, std::mt19937 &random) {
  std::vector<int64_t> cuts(whole - 1);
  std::iota(cuts.begin(), cuts.end(), 1);
  std::shuffle(cuts.begin(), cuts.end(), random);
  cuts.resize(std::min<size_t>(cuts.size(), 1 + random() % 2));
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(whole);
  std::adjacent_difference(cuts.begin(), cuts.end(), cuts.begin());
  return cuts;
}

std::string Split::check(const Executor::Values &expected, std::mt19937 &random) {
  sizes = drawSizes(whole, random);
  int64_t begin = 0;
  for (int64_t size : sizes) {
    auto results = runPart(begin, size);
    if (!results.ok())
      return absl::StrCat("a part of ", size, " of factor ", factor, " fails: ", results.status().message());
    parts.push_back(std::move(*results));
    begin += size;
  }
  for (unsigned result = 0; result < expected.size(); ++result)
    if (std::string wrong = compare(combine(result), *expected[result]); !wrong.empty())
      return absl::StrCat("result ", result, " of ", parts.size(), " parts of factor ", factor, " (", factors.factors[factor].size.str(),
                          ") ", wrong);
  return "";
}

std::string moai::checkSplits(const OpCase &test, const OpFactors &factors, std::mt19937 &random, unsigned &splits) {
  auto expected = runAlone(test);
  if (!expected.ok())
    return std::string(expected.status().message());
  for (unsigned factor = 0; factor < factors.factors.size(); ++factor) {
    const Factor &split = factors.factors[factor];
    bool isKnown = split.kind != FactorKind::Whole && (split.kind != FactorKind::Special || split.rule == rules::kCounted);
    if (!isKnown || split.size.evaluate(test.binding) < 2)
      continue;
    if (std::string wrong = Split(test, factors, factor).check(*expected, random); !wrong.empty())
      return wrong;
    ++splits;
  }
  return "";
}

static std::shared_ptr<Tensor> drawLike(const Tensor &tensor, std::mt19937 &random) {
  std::uniform_real_distribution<double> numbers(-2, 2);
  auto drawn = std::make_shared<Tensor>(tensor);
  for (double &value : drawn->values)
    value = numbers(random);
  return drawn;
}

static void addTo(Tensor &sum, const Tensor &term) {
  for (int64_t i = 0; i < sum.size(); ++i)
    sum.values[i] += term.values[i];
}

std::string moai::checkLinear(const OpCase &test, const OpFactors &factors, std::mt19937 &random) {
  for (const auto &group : factors.linear) {
    OpCase first = test, second = test, sum = test;
    for (unsigned operand : group) {
      first.operands[operand] = drawLike(*test.operands[operand], random);
      second.operands[operand] = drawLike(*test.operands[operand], random);
      auto total = std::make_shared<Tensor>(*first.operands[operand]);
      addTo(*total, *second.operands[operand]);
      sum.operands[operand] = total;
    }
    auto ofFirst = runAlone(first), ofSecond = runAlone(second), ofSum = runAlone(sum);
    if (!ofFirst.ok() || !ofSecond.ok() || !ofSum.ok())
      return "fails on other numbers";
    for (unsigned result = 0; result < ofSum->size(); ++result) {
      Tensor expected = *(*ofFirst)[result];
      if (isFloating(tensorOf(test.op->getResult(result)).getElementType()))
        addTo(expected, *(*ofSecond)[result]);
      if (std::string wrong = compare(*(*ofSum)[result], expected); !wrong.empty())
        return absl::StrCat("result ", result, " of a sum of operand ", group[0], " ", wrong);
    }
  }
  return "";
}
