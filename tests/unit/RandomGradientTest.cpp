// Every family of ops' gradients against central differences, over random shapes, broadcasts, dimensions and operands that are views.
// The numbers are drawn from fixed seeds, so that a failure comes back.
#include "GradientCheck.h"
#include <map>

using namespace moai;

namespace {

constexpr unsigned kRepeats = 6;

std::string listText(const Shape &numbers) {
  return absl::StrCat("array<i64", numbers.empty() ? "" : ": ", absl::StrJoin(numbers, ", "), ">");
}

/// Draws a case: arguments as they are asked for, and the op last.
class Draw {
public:
  explicit Draw(unsigned seed) : seed(seed), random(seed) {}

  int64_t below(int64_t limit) { return std::uniform_int_distribution<int64_t>(0, limit - 1)(random); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  bool flip() { return below(2) != 0; }
  Shape shape(int64_t lowestRank, int64_t highestRank, int64_t largest = 4) {
    Shape drawn(between(lowestRank, highestRank));
    for (int64_t &size : drawn)
      size = between(1, largest);
    return drawn;
  }
  Shape permutation(size_t rank) {
    Shape order(rank);
    for (size_t i = 0; i < rank; ++i)
      order[i] = static_cast<int64_t>(i);
    std::shuffle(order.begin(), order.end(), random);
    return order;
  }
  /// What broadcasts to a shape: some dimensions are 1, some leading ones missing.
  Shape broadcastTo(Shape to) {
    for (int64_t &size : to)
      size = below(3) ? size : 1;
    to.erase(to.begin(), to.begin() + (flip() ? below(static_cast<int64_t>(to.size()) + 1) : 0));
    return to;
  }

  /// An operand of that shape: an argument, or a slice of a transposed larger one.
  std::string operand(const Shape &shape, double low = -2, double high = 2) {
    if (shape.empty() || flip())
      return add({shape, low, high});
    size_t sliced = below(static_cast<int64_t>(shape.size()));
    int64_t step = between(1, 2), start = between(0, 2);
    Shape wide = shape, order = permutation(shape.size()), base(shape.size());
    wide[sliced] = start + (shape[sliced] - 1) * step + between(1, 2);
    for (size_t i = 0; i < order.size(); ++i)
      base[order[i]] = wide[i];
    std::string argument = add({base, low, high}), turned = "%turned" + argument.substr(1), view = "%view" + argument.substr(1);
    absl::StrAppend(&test.body, turned, " = moai.transpose ", argument, " {permutation = ", listText(order), "} : (", typeText(base, "f64"),
                    ") -> ", typeText(wide, "f64"), "\n", view, " = moai.slice ", turned, " {dim = ", sliced, " : i64, start = \"", start,
                    "\", step = ", step, " : i64} : (", typeText(wide, "f64"), ") -> ", typeText(shape, "f64"), "\n");
    return view;
  }
  std::string integers(const Shape &shape, int64_t limit) { return add({shape, 0, 0, limit}); }

  /// Emits the op, whose first result is the case's, and checks its gradients.
  void check(const std::string &op, const std::vector<std::string> &operands, const std::string &attributes,
             const std::vector<std::string> &types, const Shape &result, const std::vector<std::string> &furtherResults = {}) {
    std::vector<std::string> results{typeText(result, "f64")};
    results.insert(results.end(), furtherResults.begin(), furtherResults.end());
    std::string names = "%y";
    for (size_t i = 0; i < furtherResults.size(); ++i)
      absl::StrAppend(&names, ", %further", i);
    absl::StrAppend(&test.body, names, " = moai.", op, " ", absl::StrJoin(operands, ", "), " {", attributes, "} : (",
                    absl::StrJoin(types, ", "), ") -> (", absl::StrJoin(results, ", "), ")");
    test.result = result;
    SCOPED_TRACE(absl::StrCat("seed ", seed, ":\n", test.body));
    expectCentralDifference(test, seed);
  }

private:
  std::string add(const Argument &argument) {
    test.arguments.push_back(argument);
    return absl::StrCat("%a", test.arguments.size() - 1);
  }

  unsigned seed;
  std::mt19937 random;
  Case test;
};

std::string f64(const Shape &shape) { return typeText(shape, "f64"); }
std::string i64(const Shape &shape) { return typeText(shape, "i64"); }

template <typename Body> void repeat(Body body) {
  for (unsigned seed = 1; seed <= kRepeats; ++seed) {
    Draw draw(seed);
    body(draw);
    if (::testing::Test::HasFailure())
      return;
  }
}

TEST(RandomGradient, OfElementwise) {
  struct Kind {
    const char *name;
    unsigned operands;
    double low, high;
  };
  const Kind kinds[] = {
      {"neg", 1, -2, 2},     {"exp", 1, -2, 2},       {"tanh", 1, -2, 2},        {"sigmoid", 1, -2, 2},  {"silu", 1, -2, 2},
      {"gelu", 1, -2, 2},    {"gelu_tanh", 1, -2, 2}, {"relu", 1, -2, 2},        {"square", 1, -2, 2},   {"sqrt", 1, 0.5, 3},
      {"rsqrt", 1, 0.5, 3},  {"log", 1, 0.5, 3},      {"reciprocal", 1, 0.5, 3}, {"softplus", 1, -2, 2}, {"erf", 1, -2, 2},
      {"add", 2, -2, 2},     {"sub", 2, -2, 2},       {"mul", 2, -2, 2},         {"div", 2, 0.5, 2},     {"maximum", 2, -2, 2},
      {"minimum", 2, -2, 2}, {"pow", 2, 0.5, 2},      {"atan2", 2, 0.5, 2},      {"xlogy", 2, 0.5, 2},   {"squared_difference", 2, -2, 2},
      {"l1_loss", 2, -2, 2}, {"addcmul", 3, -2, 2},   {"addcdiv", 3, 0.5, 2},    {"lerp", 3, -2, 2}};
  for (const Kind &kind : kinds)
    repeat([&](Draw &draw) {
      Shape result = draw.shape(0, 4, 3);
      std::vector<std::string> operands, types;
      for (unsigned i = 0; i < kind.operands; ++i) {
        Shape shape = i == 0 ? result : draw.broadcastTo(result);
        operands.push_back(draw.operand(shape, kind.low, kind.high));
        types.push_back(f64(shape));
      }
      draw.check("elementwise", operands, absl::StrCat("kind = \"", kind.name, "\""), types, result);
    });
}

TEST(RandomGradient, OfReductions) {
  for (const char *kind : {"sum", "mean", "amax", "amin", "prod", "norm", "logsumexp", "var", "std"})
    repeat([&](Draw &draw) {
      Shape input = draw.shape(1, 4), dims, result;
      bool keep = draw.flip();
      int64_t certain = draw.below(static_cast<int64_t>(input.size()));
      input[certain] = draw.between(2, 4); // a deviation of one element is undefined
      for (size_t i = 0; i < input.size(); ++i)
        if (static_cast<int64_t>(i) == certain || draw.flip()) {
          dims.push_back(static_cast<int64_t>(i));
          if (keep)
            result.push_back(1);
        } else {
          result.push_back(input[i]);
        }
      draw.check("reduce", {draw.operand(input)},
                 absl::StrCat("kind = \"", kind, "\", dims = ", listText(dims), ", keep_dims = ", keep ? "true" : "false"), {f64(input)},
                 result);
    });
}

// Batch letters are in both operands, m in the left, n in the right, and k is summed over; each operand in an order of its own.
TEST(RandomGradient, OfContractions) {
  repeat([](Draw &draw) {
    std::string letters[3];
    std::map<char, int64_t> sizes;
    char next = 'a';
    for (unsigned in : {7u, 5u, 6u, 3u}) // bits: left, right, result
      for (int64_t i = draw.between(in == 3 ? 1 : 0, 2); i > 0; --i, ++next) {
        sizes[next] = draw.between(1, 3);
        for (unsigned place = 0; place < 3; ++place)
          if (in >> place & 1)
            letters[place] += next;
      }
    for (std::string &names : letters) {
      std::string shuffled;
      for (int64_t at : draw.permutation(names.size()))
        shuffled += names[at];
      names = shuffled;
    }
    auto shapeOf = [&](const std::string &names) {
      Shape shape;
      for (char name : names)
        shape.push_back(sizes[name]);
      return shape;
    };
    Shape left = shapeOf(letters[0]), right = shapeOf(letters[1]), result = shapeOf(letters[2]);
    draw.check("contract", {draw.operand(left), draw.operand(right)},
               absl::StrCat("equation = \"", letters[0], ",", letters[1], "->", letters[2], "\""), {f64(left), f64(right)}, result);
  });
}

TEST(RandomGradient, OfNormsAndSoftmax) {
  for (const char *log : {"false", "true"})
    repeat([&](Draw &draw) {
      Shape shape = draw.shape(1, 4);
      draw.check("softmax", {draw.operand(shape)},
                 absl::StrCat("dim = ", draw.below(static_cast<int64_t>(shape.size())), " : i64, log = ", log), {f64(shape)}, shape);
    });
  for (const char *kind : {"layer_norm", "rms_norm"})
    repeat([&](Draw &draw) {
      Shape shape = draw.shape(1, 4);
      shape.back() += 2;
      int64_t axes = draw.between(1, static_cast<int64_t>(shape.size()));
      Shape scale(shape.end() - axes, shape.end()), statistics(shape.begin(), shape.end() - axes);
      statistics.push_back(kind == std::string("rms_norm") ? 1 : 2);
      bool bias = kind == std::string("layer_norm") && draw.flip();
      std::vector<std::string> operands{draw.operand(shape), draw.operand(scale)}, types{f64(shape), f64(scale)};
      if (bias) {
        operands.push_back(draw.operand(scale));
        types.push_back(f64(scale));
      }
      draw.check("normalize", operands,
                 absl::StrCat("kind = \"", kind, "\", axes = ", axes, " : i64, eps = 1.0e-3, operandSegmentSizes = array<i32: 1, 1, ",
                              bias ? 1 : 0, ">"),
                 types, shape, {f64(statistics)});
    });
}

TEST(RandomGradient, OfViews) {
  repeat([](Draw &draw) {
    Shape shape = draw.shape(1, 5, 3), order = draw.permutation(shape.size()), result;
    for (int64_t dim : order)
      result.push_back(shape[dim]);
    draw.check("transpose", {draw.operand(shape)}, "permutation = " + listText(order), {f64(shape)}, result);
  });
  repeat([](Draw &draw) { // neighbours are merged
    Shape shape = draw.shape(1, 5, 3), result{1};
    for (int64_t size : shape)
      if (draw.flip())
        result.back() *= size;
      else
        result.push_back(size);
    draw.check("reshape", {draw.operand(shape)}, "", {f64(shape)}, result);
  });
  repeat([](Draw &draw) {
    Shape result = draw.shape(1, 4), shape = draw.broadcastTo(result);
    draw.check("expand", {draw.operand(shape)}, "", {f64(shape)}, result);
  });
  for (const char *op : {"slice", "pad", "insert_slice"})
    repeat([&](Draw &draw) {
      Shape narrow = draw.shape(1, 3), wide = narrow;
      int64_t dim = draw.below(static_cast<int64_t>(narrow.size())), step = draw.between(1, 3), start = draw.between(0, 2);
      wide[dim] = start + (narrow[dim] - 1) * step + draw.between(1, 3);
      std::string attributes = absl::StrCat("dim = ", dim, " : i64, start = \"", start, "\", step = ", step, " : i64");
      if (op == std::string("insert_slice"))
        draw.check(op, {draw.operand(wide), draw.operand(narrow)}, attributes, {f64(wide), f64(narrow)}, wide);
      else if (op == std::string("slice"))
        draw.check(op, {draw.operand(wide)}, attributes, {f64(wide)}, narrow);
      else
        draw.check(op, {draw.operand(narrow)}, attributes, {f64(narrow)}, wide);
    });
  repeat([](Draw &draw) {
    Shape result = draw.shape(1, 4);
    int64_t dim = draw.below(static_cast<int64_t>(result.size()));
    std::vector<std::string> operands, types;
    int64_t total = 0;
    for (int64_t i = draw.between(1, 3); i > 0; --i) {
      Shape part = result;
      total += part[dim] = draw.between(1, 3);
      operands.push_back(draw.operand(part));
      types.push_back(f64(part));
    }
    result[dim] = total;
    draw.check("concat", operands, absl::StrCat("dim = ", dim, " : i64"), types, result);
  });
}

TEST(RandomGradient, OfLookups) {
  repeat([](Draw &draw) {
    Shape table{draw.between(2, 5), draw.between(1, 4)}, indices = draw.shape(0, 3), result = indices;
    result.push_back(table[1]);
    draw.check("embedding", {draw.operand(table), draw.integers(indices, table[0])}, "padding_index = -1 : i64", {f64(table), i64(indices)},
               result);
  });
  repeat([](Draw &draw) {
    Shape input = draw.shape(1, 3), result = input;
    int64_t dim = draw.below(static_cast<int64_t>(input.size()));
    result[dim] = draw.between(1, 5);
    draw.check("gather", {draw.operand(input), draw.integers(result, input[dim])},
               absl::StrCat("kind = \"gather\", dims = ", listText({dim})), {f64(input), i64(result)}, result);
  });
  for (const char *accumulate : {"true", "false"})
    repeat([&](Draw &draw) {
      // Without accumulation the indices must differ: one row is written, from one source.
      Shape into = draw.shape(1, 3), source = into;
      int64_t dim = draw.below(static_cast<int64_t>(into.size()));
      source[dim] = accumulate == std::string("true") ? draw.between(1, 4) : 1;
      draw.check("scatter", {draw.operand(into), draw.integers(source, into[dim]), draw.operand(source)},
                 absl::StrCat("kind = \"gather\", dims = ", listText({dim}), ", accumulate = ", accumulate),
                 {f64(into), i64(source), f64(source)}, into);
    });
  repeat([](Draw &draw) {
    Shape input = draw.shape(1, 3, 5), result = input;
    int64_t dim = draw.below(static_cast<int64_t>(input.size())), k = draw.flip() ? 0 : draw.between(1, input[dim]);
    result[dim] = k ? k : input[dim];
    draw.check("sort", {draw.operand(input)},
               absl::StrCat("dim = ", dim, " : i64, k = ", k, " : i64, descending = ", draw.flip() ? "true" : "false"), {f64(input)},
               result, {i64(result)});
  });
}

TEST(RandomGradient, OfAttention) {
  for (const char *mask : {"causal", "sliding_window", "full", "bias"})
    repeat([&](Draw &draw) {
      int64_t batch = draw.between(1, 2), keyHeads = draw.between(1, 2), heads = keyHeads * draw.between(1, 2),
              queries = draw.between(1, 4),
              keys = mask == std::string("full") || mask == std::string("bias") ? draw.between(1, 4) : queries, width = draw.between(1, 3),
              valueWidth = draw.between(1, 3);
      Shape query{batch, heads, queries, width}, key{batch, keyHeads, keys, width}, value{batch, keyHeads, keys, valueWidth},
          result{batch, heads, queries, valueWidth}, logsumexp{batch, heads, queries}, scores{batch, heads, queries, keys};
      std::vector<std::string> operands{draw.operand(query), draw.operand(key), draw.operand(value)},
          types{f64(query), f64(key), f64(value)};
      if (mask == std::string("bias")) {
        Shape bias = draw.broadcastTo(scores);
        operands.push_back(draw.operand(bias));
        types.push_back(f64(bias));
      }
      draw.check("attention", operands,
                 absl::StrCat("mask = \"", mask, "\", window = ", mask == std::string("sliding_window") ? draw.between(1, 3) : 0,
                              " : i64, scale = 0.7, dropout = 0.0"),
                 types, result, {f64(logsumexp)});
    });
}

TEST(RandomGradient, OfWindows) {
  auto reach = [](int64_t size, int64_t window, int64_t stride, int64_t padding, int64_t dilation) {
    return (size + 2 * padding - dilation * (window - 1) - 1) / stride + 1;
  };
  repeat([&](Draw &draw) {
    int64_t groups = draw.between(1, 2), batch = draw.between(1, 2), in = groups * draw.between(1, 2), out = groups * draw.between(1, 2);
    Shape input{batch, in}, weight{out, in / groups}, result{batch, out}, strides, padding, dilation;
    for (int64_t i = draw.between(1, 2); i > 0; --i) {
      int64_t window = draw.between(1, 3);
      strides.push_back(draw.between(1, 2));
      padding.push_back(draw.between(0, window - 1));
      dilation.push_back(draw.between(1, 2));
      input.push_back(draw.between(5, 6));
      weight.push_back(window);
      result.push_back(reach(input.back(), window, strides.back(), padding.back(), dilation.back()));
    }
    draw.check("convolution", {draw.operand(input), draw.operand(weight), draw.operand({out})},
               absl::StrCat("strides = ", listText(strides), ", padding = ", listText(padding), ", dilation = ", listText(dilation),
                            ", groups = ", groups, " : i64"),
               {f64(input), f64(weight), f64({out})}, result);
  });
  for (const char *kind : {"max", "avg"})
    repeat([&](Draw &draw) {
      Shape input{draw.between(1, 2), draw.between(1, 2)}, result = input, window, strides, padding, dilation;
      for (int64_t i = draw.between(1, 2); i > 0; --i) {
        window.push_back(draw.between(1, 3));
        strides.push_back(draw.between(1, 2));
        padding.push_back(draw.between(0, window.back() / 2));
        dilation.push_back(1);
        input.push_back(draw.between(4, 6));
        result.push_back(reach(input.back(), window.back(), strides.back(), padding.back(), 1));
      }
      draw.check("pool", {draw.operand(input)},
                 absl::StrCat("kind = \"", kind, "\", window = ", listText(window), ", strides = ", listText(strides), ", padding = ",
                              listText(padding), ", dilation = ", listText(dilation), ", count_padding = ", draw.flip() ? "true" : "false"),
                 {f64(input)}, result);
    });
}

TEST(RandomGradient, OfCrossEntropy) {
  for (const char *reduction : {"mean", "sum", "none"})
    repeat([&](Draw &draw) {
      int64_t rows = draw.between(2, 5), classes = draw.between(2, 5);
      Shape logits{rows, classes}, result;
      if (reduction == std::string("none"))
        result.push_back(rows);
      draw.check(
          "cross_entropy", {draw.operand(logits), draw.integers({rows}, classes)},
          absl::StrCat("reduction = \"", reduction, "\", ignore_index = -100 : i64, label_smoothing = ", draw.flip() ? "0.2" : "0.0"),
          {f64(logits), i64({rows})}, result, {f64(logits), f64({})});
    });
}

} // namespace
