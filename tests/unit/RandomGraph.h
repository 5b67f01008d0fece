//===- RandomGraph.h - Cases for gradients, drawn at random -----------------===//
#ifndef MOAI_TESTS_UNIT_RANDOMGRAPH_H
#define MOAI_TESTS_UNIT_RANDOMGRAPH_H

#include "GradientCase.h"
#include <functional>
#include <ostream>
#include <random>
#include <set>

namespace moai {

/// A tensor of the function that is being drawn; without a name, only what it is like.
struct Drawn {
  std::string name, type;
  Shape shape;
};

/// Draws a case: arguments as they are asked for, ops, and last the one whose first result is the case's. A seed always gives the same
/// numbers.
class Draw {
public:
  explicit Draw(unsigned seed) : random(seed) {}

  int64_t below(int64_t limit) { return std::uniform_int_distribution<int64_t>(0, limit - 1)(random); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random); }
  bool flip() { return below(2) != 0; }
  Shape shape(int64_t lowestRank, int64_t highestRank, int64_t largest = 4);
  Shape permutation(int64_t size);
  /// So many different numbers below a limit, in order.
  Shape choose(int64_t count, int64_t limit);
  /// What broadcasts to a shape: some dimensions are 1, some leading ones missing.
  Shape broadcastTo(Shape to);

  /// An operand of that shape: an argument, a slice of a transposed larger one, or a smaller one expanded.
  Drawn operand(const Shape &shape, double low = -2, double high = 2) {
    return below(4) ? storedOperand(shape, low, high) : expanded(shape, low, high);
  }
  /// The same, but no element occurs twice.
  Drawn storedOperand(const Shape &shape, double low = -2, double high = 2);
  Drawn integers(const Shape &shape, int64_t limit) { return argument({shape, 0, 0, limit}); }
  Drawn given(const Shape &shape, std::vector<double> values) { return argument({shape, 0, 0, 0, std::move(values)}); }
  /// An operand of that shape, of true and false.
  Drawn mask(const Shape &shape);

  /// Emits an op whose results have these types and shapes, and counts it as checked.
  std::vector<Drawn> op(const std::string &name, const std::vector<Drawn> &operands, const std::string &attributes,
                        const std::vector<Drawn> &results);
  /// Emits the last op. Its first result is the case's, further ones have these types.
  void finish(const std::string &name, const std::vector<Drawn> &operands, const std::string &attributes, const Shape &result,
              const std::vector<Drawn> &furtherResults = {});

  const Case &drawn() const { return test; }
  /// Ops that the case is about, without those that make its operands. Elementwise ones are named by elementwiseLabel().
  const std::set<std::string> &checked() const { return labels; }

private:
  Drawn argument(const Argument &argument);
  Drawn expanded(const Shape &shape, double low, double high);
  Drawn emit(const std::string &op, const Drawn &operand, const std::string &attributes, const Drawn &result);
  void append(const std::string &results, const std::string &op, const std::vector<Drawn> &operands, const std::string &attributes,
              const std::vector<Drawn> &types);

  std::mt19937 random;
  Case test;
  std::set<std::string> labels;
  unsigned values = 0;
};

inline Drawn f64(const Shape &shape) { return {"", typeText(shape, "f64"), shape}; }
inline Drawn i64(const Shape &shape) { return {"", typeText(shape, "i64"), shape}; }
std::string listText(const Shape &numbers);
std::string elementwiseLabel(const std::string &kind, size_t operands);

/// Draws one case.
using Drawer = std::function<void(Draw &)>;

/// What is checked together.
struct Family {
  std::string name;
  std::vector<Drawer> drawers;
};

/// So that GoogleTest doesn't print addresses.
inline void PrintTo(const Family &family, std::ostream *out) { *out << family.name; }

std::vector<Family> elementwiseFamilies();
std::vector<Family> reductionFamilies();
std::vector<Family> productFamilies();
std::vector<Family> viewFamilies();
std::vector<Family> indexFamilies();

} // namespace moai

#endif // MOAI_TESTS_UNIT_RANDOMGRAPH_H
