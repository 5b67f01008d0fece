#include "RandomGraph.h"
#include <algorithm>
#include <numeric>

using namespace moai;

std::string moai::listText(const Shape &numbers) {
  return absl::StrCat("array<i64", numbers.empty() ? "" : ": ", absl::StrJoin(numbers, ", "), ">");
}

std::string moai::elementwiseLabel(const std::string &kind, size_t operands) {
  return absl::StrCat("moai.elementwise ", kind, " of ", operands);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

Shape Draw::shape(int64_t lowestRank, int64_t highestRank, int64_t largest) {
  Shape drawn(between(lowestRank, highestRank));
  for (int64_t &size : drawn)
    size = between(1, largest);
  return drawn;
}

Shape Draw::permutation(int64_t size) {
  Shape order(size);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

Shape Draw::choose(int64_t count, int64_t limit) {
  Shape chosen = permutation(limit);
  chosen.resize(count);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

Shape Draw::broadcastTo(Shape to) {
  for (int64_t &size : to)
    size = below(3) ? size : 1;
  to.erase(to.begin(), to.begin() + (flip() ? below(static_cast<int64_t>(to.size()) + 1) : 0));
  return to;
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

Drawn Draw::argument(const Argument &argument) {
  test.arguments.push_back(argument);
  return {absl::StrCat("%a", test.arguments.size() - 1), typeText(argument.shape, argument.isInteger() ? "i64" : "f64"), argument.shape};
}

Drawn Draw::expanded(const Shape &shape, double low, double high) {
  return emit("expand", argument({broadcastTo(shape), low, high}), "", f64(shape));
}

Drawn Draw::storedOperand(const Shape &shape, double low, double high) {
  if (shape.empty() || flip())
    return argument({shape, low, high});
  size_t sliced = below(static_cast<int64_t>(shape.size()));
  int64_t step = between(1, 2), start = between(0, 2);
  Shape wide = shape, order = permutation(static_cast<int64_t>(shape.size())), base(shape.size());
  wide[sliced] = start + (shape[sliced] - 1) * step + between(1, 2);
  for (size_t i = 0; i < order.size(); ++i)
    base[order[i]] = wide[i];
  Drawn turned = emit("transpose", argument({base, low, high}), "permutation = " + listText(order), f64(wide));
  return emit("slice", turned, absl::StrCat("dim = ", sliced, " : i64, start = \"", start, "\", step = ", step, " : i64"), f64(shape));
}

Drawn Draw::mask(const Shape &shape) { return emit("cast", integers(shape, 2), "", {"", typeText(shape, "i1"), shape}); }

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

void Draw::append(const std::string &results, const std::string &op, const std::vector<Drawn> &operands, const std::string &attributes,
                  const std::vector<Drawn> &types) {
  auto name = [](std::string *out, const Drawn &value) { out->append(value.name); };
  auto type = [](std::string *out, const Drawn &value) { out->append(value.type); };
  absl::StrAppend(&test.body, results, " = moai.", op, " ", absl::StrJoin(operands, ", ", name), " {", attributes, "} : (",
                  absl::StrJoin(operands, ", ", type), ") -> (", absl::StrJoin(types, ", ", type), ")\n");
}

Drawn Draw::emit(const std::string &op, const Drawn &operand, const std::string &attributes, const Drawn &result) {
  Drawn named{absl::StrCat("%v", values++), result.type, result.shape};
  append(named.name, op, {operand}, attributes, {result});
  return named;
}

// Of what an elementwise op's attributes begin with: kind = "...".
static std::string labelOf(const std::string &op, const std::string &attributes, size_t operands) {
  if (op != "elementwise")
    return "moai." + op;
  size_t begin = attributes.find('"') + 1;
  return elementwiseLabel(attributes.substr(begin, attributes.find('"', begin) - begin), operands);
}

std::vector<Drawn> Draw::op(const std::string &name, const std::vector<Drawn> &operands, const std::string &attributes,
                            const std::vector<Drawn> &results) {
  std::vector<Drawn> named = results;
  std::vector<std::string> names;
  for (Drawn &result : named)
    names.push_back(result.name = absl::StrCat("%v", values++));
  append(absl::StrJoin(names, ", "), name, operands, attributes, results);
  labels.insert(labelOf(name, attributes, operands.size()));
  return named;
}

void Draw::finish(const std::string &name, const std::vector<Drawn> &operands, const std::string &attributes, const Shape &result,
                  const std::vector<Drawn> &furtherResults) {
  std::vector<Drawn> results{f64(result)};
  results.insert(results.end(), furtherResults.begin(), furtherResults.end());
  std::string names = "%y";
  for (size_t i = 0; i < furtherResults.size(); ++i)
    absl::StrAppend(&names, ", %further", i);
  append(names, name, operands, attributes, results);
  labels.insert(labelOf(name, attributes, operands.size()));
  test.result = result;
}
