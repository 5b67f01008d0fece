//===- RepeatMemoryTest.cpp - Repeats against their iterations -------------===//
#include "TestModel.h"
#include "mlir/Parser/Parser.h"
#include "moai/Passes/MemoryWalk.h"
#include <random>

using namespace moai;

namespace {

struct Named {
  std::string name;
  int elements;
};

/// The text of a module whose @f repeats two random blocks, forwards or backwards, the second over some of what the first
/// returned: what it was handed, what it hands on, views of either, weights, and storages twice; with other uses of all in between.
class RandomRepeats {
public:
  explicit RandomRepeats(unsigned seed) : random(seed), count(1 + pick(5)) {}
  std::string print();

private:
  int pick(int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); }
  std::string type(int elements) const { return "!moai.tensor<[" + std::to_string(elements) + "], f32>"; }
  std::string stack(int elements) const { return "!moai.stack<" + std::to_string(count) + " x " + type(elements) + ">"; }
  std::string printBlock(const char *name, const std::vector<int> &arguments, const std::vector<int> &results);
  std::string repeat(const std::string &callee, bool isReversed, std::string &blocks);
  std::string any() { return tensors[pick(static_cast<int>(tensors.size()))]; }

  std::mt19937 random;
  int count;
  std::vector<std::string> tensors; ///< of 4 elements, so far
  std::vector<Named> stacks;
};

// Sums, reshapes that are views, and slices of one size or another, each of a random value. What is returned first has 4 elements,
// as what the block is handed.
std::string RandomRepeats::printBlock(const char *name, const std::vector<int> &arguments, const std::vector<int> &results) {
  std::string head = std::string("func.func private @") + name + "(", body, types;
  std::vector<Named> values;
  for (int elements : arguments) {
    values.push_back({"%a" + std::to_string(values.size()), elements});
    head += (values.size() > 1 ? ", " : "") + values.back().name + ": " + type(elements);
  }
  auto define = [&](const std::string &op, int elements) {
    std::string result = "%v" + std::to_string(values.size());
    body += "  " + result + " = " + op + " -> " + type(elements) + "\n";
    values.push_back({result, elements});
  };
  auto any = [&](int elements) -> Named {
    std::vector<Named> fitting;
    for (const Named &value : values)
      if (value.elements == elements)
        fitting.push_back(value);
    if (fitting.empty() || pick(4) == 0) {
      define("moai.generate {kind = \"full\", scalars = array<f64: 0.0>} : ()", elements);
      return values.back();
    }
    return fitting[pick(static_cast<int>(fitting.size()))];
  };
  for (int i = 0, e = 1 + pick(5); i < e; ++i) {
    Named value = values[pick(static_cast<int>(values.size()))];
    std::string own = type(value.elements);
    switch (pick(3)) {
    case 0:
      define("moai.elementwise " + value.name + ", " + any(value.elements).name + " {kind = \"add\"} : (" + own + ", " + own + ")",
             value.elements);
      break;
    case 1:
      define("moai.slice " + value.name + " {dim = 0 : i64, start = \"0\", step = 1 : i64} : (" + own + ")", 2); // a view
      break;
    case 2:
      define("moai.concat " + value.name + ", " + value.name + " {dim = 0 : i64} : (" + own + ", " + own + ")", 2 * value.elements);
      break;
    }
  }
  // What is handed on is a storage of the iteration's own.
  Named handed = any(4);
  define("moai.elementwise " + handed.name + " {kind = \"neg\"} : (" + type(4) + ")", 4);
  std::string returned = values.back().name;
  types = type(4);
  for (size_t i = 1; i < results.size(); ++i) {
    returned += ", " + any(results[i]).name;
    types += ", " + type(results[i]);
  }
  return head + ") -> (" + types + ") {\n" + body + "  return " + returned + " : " + types + "\n}\n";
}

// Calls of a block: one operand is handed on, weights are stacks, one is the same for all, and some stacks come from before.
std::string RandomRepeats::repeat(const std::string &callee, bool isReversed, std::string &blocks) {
  std::vector<int> elements{4, 8, 4}, results{4};
  std::string operands = any() + ", %w, " + any(), types = type(4) + ", " + stack(8) + ", " + type(4), carries = "0, -1, -1";
  for (const Named &earlier : stacks)
    if (pick(3)) {
      elements.push_back(earlier.elements);
      operands += ", " + earlier.name;
      types += ", " + stack(earlier.elements);
      carries += ", -1";
    }
  std::string made = "%" + callee, resultTypes = type(4);
  for (int i = 0, e = 1 + pick(4); i < e; ++i) {
    results.push_back(2 << pick(3));
    resultTypes += ", " + stack(results.back());
    stacks.push_back({made + "#" + std::to_string(i + 1), results.back()});
  }
  tensors.push_back(made + "#0");
  blocks += printBlock(callee.c_str(), elements, results);
  return "  " + made + ":" + std::to_string(results.size()) + " = moai.repeat " + operands + " {callee = @" + callee +
         ", count = " + std::to_string(count) + ", carries = array<i64: " + carries + ">" + (isReversed ? ", reversed" : "") + "} : (" +
         types + ") -> (" + resultTypes + ")\n";
}

std::string RandomRepeats::print() {
  std::string blocks, body, returned, types;
  auto define = [&](const std::string &name, const std::string &lhs, const std::string &rhs) {
    body += "  " + name + " = moai.elementwise " + lhs + ", " + rhs + " {kind = \"mul\"} : (" + type(4) + ", " + type(4) + ") -> " +
            type(4) + "\n";
    tensors.push_back(name);
  };
  tensors = {"%s"};
  define("%e", "%x", "%x");
  body += repeat("first", pick(2), blocks);
  define("%d", any(), any());
  body += repeat("second", pick(2), blocks);
  define("%r", any(), any());
  for (const Named &made : stacks)
    if (pick(3) == 0) {
      returned += ", " + made.name;
      types += ", " + stack(made.elements);
    }
  return blocks + "func.func @f(%x: " + type(4) + ", %w: " + stack(8) + ", %s: " + type(4) + ") -> (" + type(4) + types + ") {\n" + body +
         "  return " + any() + returned + " : " + type(4) + types + "\n}\n";
}

int64_t bytesOfResults(const FunctionMemory &memory) {
  int64_t total = 0;
  for (unsigned i = 0; i < memory.results.size(); ++i)
    total += memory.ownBytes(i);
  return total;
}

// A repeat takes as much as its iterations do when each is walked, to the byte, whatever its block returns.
TEST(RepeatMemory, IsThatOfItsIterations) {
  TestContext context;
  for (unsigned seed = 0; seed < 3000; ++seed) {
    std::string text = RandomRepeats(seed).print();
    SCOPED_TRACE(testing::Message() << "seed " << seed << "\n" << text);
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    ASSERT_TRUE(module);
    mlir::OwningOpRef<mlir::ModuleOp> unrolled = module->clone();
    unrollBlocks(*unrolled);
    ASSERT_TRUE(mlir::succeeded(mlir::verify(*unrolled)));
    MemoryWalk walk{DimBinding()}, plain{DimBinding()};
    const FunctionMemory &found = walk.of(module->lookupSymbol<mlir::func::FuncOp>("f"));
    const FunctionMemory &expected = plain.of(unrolled->lookupSymbol<mlir::func::FuncOp>("f"));
    ASSERT_EQ(found.peak, expected.peak);
    ASSERT_EQ(found.peakResults, expected.peakResults);
    ASSERT_EQ(found.peakOp, expected.peakOp);
    ASSERT_EQ(bytesOfResults(found), bytesOfResults(expected));
  }
}

} // namespace
