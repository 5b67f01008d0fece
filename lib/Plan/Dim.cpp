//===- Dim.cpp - Tensor dimensions as polynomials of the step's symbols ----===//
#include "moai/Plan/Dim.h"
#include <algorithm>
#include <limits>

using namespace moai;

static constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

int64_t moai::saturatingMultiply(int64_t a, int64_t b) {
  int64_t result;
  return __builtin_mul_overflow(a, b, &result) ? kMax : result;
}

static unsigned powerOf(uint32_t powers, unsigned symbol) { return (powers >> (8 * symbol)) & 0xff; }

Dim::Dim(int64_t constant) {
  if (constant)
    add({0, constant});
}

Dim Dim::symbol(unsigned index) {
  Dim dim;
  dim.terms.push_back({1u << (8 * index), 1});
  return dim;
}

// Terms are kept by falling degree, as one writes polynomials; the packed exponents give a total order.
static bool precedes(const Dim::Term &a, const Dim::Term &b) {
  auto degree = [](uint32_t p) {
    unsigned sum = 0;
    for (unsigned i = 0; i < kNumDimSymbols; ++i)
      sum += powerOf(p, i);
    return sum;
  };
  unsigned da = degree(a.powers), db = degree(b.powers);
  return da != db ? da > db : a.powers < b.powers;
}

void Dim::add(Term term) {
  // The one coefficient that can't be negated counts as an overflow.
  if (term.coefficient < -kMax) {
    overflow = true;
    term.coefficient = -kMax;
  }
  auto it = std::find_if(terms.begin(), terms.end(), [&](const Term &t) { return t.powers == term.powers; });
  if (it == terms.end()) {
    terms.insert(std::upper_bound(terms.begin(), terms.end(), term, precedes), term);
    return;
  }
  if (__builtin_add_overflow(it->coefficient, term.coefficient, &it->coefficient) || it->coefficient < -kMax) {
    overflow = true;
    it->coefficient = kMax;
  }
  if (it->coefficient == 0)
    terms.erase(it);
}

Dim Dim::fromTerms(llvm::ArrayRef<Term> source) {
  Dim dim;
  for (const Term &term : source)
    if (term.coefficient)
      dim.add(term);
  return dim;
}

Dim Dim::operator+(const Dim &other) const {
  Dim result = *this;
  result.overflow |= other.overflow;
  for (const Term &term : other.terms)
    result.add(term);
  return result;
}

Dim Dim::operator-(const Dim &other) const {
  Dim result = *this;
  result.overflow |= other.overflow;
  for (Term term : other.terms)
    result.add({term.powers, -term.coefficient});
  return result;
}

Dim Dim::operator*(const Dim &other) const {
  Dim result;
  result.overflow = overflow || other.overflow;
  for (const Term &a : terms)
    for (const Term &b : other.terms) {
      Term product{0, 0};
      for (unsigned i = 0; i < kNumDimSymbols; ++i) {
        unsigned power = powerOf(a.powers, i) + powerOf(b.powers, i);
        if (power > 0xff) {
          result.overflow = true;
          power = 0xff;
        }
        product.powers |= power << (8 * i);
      }
      if (__builtin_mul_overflow(a.coefficient, b.coefficient, &product.coefficient)) {
        result.overflow = true;
        product.coefficient = kMax;
      }
      result.add(product);
    }
  return result;
}

std::optional<Dim> Dim::dividedBy(const Dim &divisor) const {
  if (*this == divisor)
    return Dim(1);
  if (divisor.terms.size() != 1)
    return std::nullopt;
  const Term &by = divisor.terms[0];
  Dim result;
  for (const Term &term : terms) {
    if (term.coefficient % by.coefficient)
      return std::nullopt;
    Term quotient{0, term.coefficient / by.coefficient};
    for (unsigned i = 0; i < kNumDimSymbols; ++i) {
      if (powerOf(term.powers, i) < powerOf(by.powers, i))
        return std::nullopt;
      quotient.powers |= (powerOf(term.powers, i) - powerOf(by.powers, i)) << (8 * i);
    }
    result.add(quotient);
  }
  return result;
}

int64_t Dim::constant() const { return !terms.empty() && terms.back().powers == 0 ? terms.back().coefficient : 0; }

unsigned Dim::degreeIn(unsigned symbol) const {
  unsigned degree = 0;
  for (const Term &term : terms)
    degree = std::max(degree, powerOf(term.powers, symbol));
  return degree;
}

int64_t Dim::evaluate(const DimBinding &binding) const {
  __int128 sum = 0;
  for (const Term &term : terms) {
    __int128 value = term.coefficient;
    for (unsigned i = 0; i < kNumDimSymbols; ++i)
      for (unsigned p = powerOf(term.powers, i); p; --p) {
        value *= binding.values[i];
        if (value > kMax || value < -static_cast<__int128>(kMax))
          return kMax;
      }
    sum += value;
  }
  return sum > kMax || sum < -static_cast<__int128>(kMax) || overflow ? kMax : static_cast<int64_t>(sum);
}

std::string Dim::str() const {
  if (terms.empty())
    return "0";
  std::string text;
  for (const Term &term : terms) {
    int64_t magnitude = term.coefficient < 0 ? -term.coefficient : term.coefficient;
    if (!text.empty())
      text += term.coefficient < 0 ? " - " : " + ";
    else if (term.coefficient < 0)
      text += "-";
    std::string factors;
    for (unsigned i = 0; i < kNumDimSymbols; ++i)
      for (unsigned p = powerOf(term.powers, i); p; --p)
        factors += (factors.empty() ? "" : "*") + std::string(kDimSymbolNames[i]);
    if (factors.empty())
      text += std::to_string(magnitude);
    else
      text += (magnitude == 1 ? "" : std::to_string(magnitude) + "*") + factors;
  }
  return text;
}

std::optional<Dim> Dim::parse(llvm::StringRef text) {
  Dim sum;
  text = text.trim();
  if (text.empty())
    return std::nullopt;
  int64_t sign = text.consume_front("-") ? -1 : 1;
  while (true) {
    Dim product(sign);
    do {
      text = text.ltrim();
      int64_t number;
      if (!text.empty() && text[0] >= '0' && text[0] <= '9') {
        if (text.consumeInteger(10, number))
          return std::nullopt;
        product = product * Dim(number);
      } else {
        unsigned index = 0;
        while (index < kNumDimSymbols && !text.consume_front(kDimSymbolNames[index]))
          ++index;
        if (index == kNumDimSymbols)
          return std::nullopt;
        product = product * Dim::symbol(index);
      }
      text = text.ltrim();
    } while (text.consume_front("*"));
    sum = sum + product;
    if (text.empty())
      return sum.overflow ? std::nullopt : std::optional<Dim>(sum);
    if (text.consume_front("+"))
      sign = 1;
    else if (text.consume_front("-"))
      sign = -1;
    else
      return std::nullopt;
  }
}
