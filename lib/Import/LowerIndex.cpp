//===- LowerIndex.cpp - Rules for sources, lookups, symbols --------------===//
#include "Compose.h"
#include "absl/strings/str_cat.h"
#include <cmath>

using namespace moai;
using pt2::Argument;

//===----------------------------------------------------------------------===//
// Sources
//===----------------------------------------------------------------------===//

static void arange(Lowering &l) {
  const pt2::TensorMeta &meta = l.outputMeta(0);
  if (meta.sizes.size() != 1)
    l.fail("has a result that is not a vector");
  double start = l.number("start", 0), step = l.number("step", 1);
  auto end = l.symbolicIntegers("end");
  // From a negative number on it is a table of distances, which has a length of its own.
  DimId size = !end.empty() && end[0] && start == 0 && step == 1 ? l.graph.dims.get(*end[0])
               : start < 0                                       ? l.constant(meta.sizes[0].value)
                                                                 : l.graph.dims.literal(meta.sizes[0].value, l.site(0));
  l.setOutput(l.emitOne(OpCode::Generate, "arange", {}, meta.dtype, {size}, {}, {start, step}));
}

static void generate(Lowering &l) {
  llvm::StringRef target = l.node->target;
  const pt2::TensorMeta &meta = l.outputMeta(0);
  auto known = l.symbolicIntegers("size");
  llvm::SmallVector<DimId, 4> shape;
  bool like = target.contains("_like");
  if (like)
    shape.assign(l.dims(l.tensor("self")).begin(), l.dims(l.tensor("self")).end());
  for (auto [index, size] : llvm::enumerate(like ? llvm::ArrayRef<pt2::Size>() : llvm::ArrayRef<pt2::Size>(meta.sizes)))
    if (index < known.size() && known[index])
      shape.push_back(l.graph.dims.get(*known[index]));
    else
      shape.push_back(l.graph.dims.literal(size.value, l.site(static_cast<unsigned>(index))));
  bool random = target.contains("rand") || target.contains("normal") || target.contains("uniform");
  double value = target.contains("ones")    ? 1.0
                 : target.contains("zeros") ? 0.0
                                            : l.number("fill_value", l.number("value", l.number("s", 0)));
  llvm::StringRef kind = random ? "random" : target.contains("empty") ? "empty" : "full";
  l.setOutput(l.emitOne(OpCode::Generate, kind, {}, meta.dtype, shape, {},
                        kind == "full" ? llvm::ArrayRef<double>(value) : llvm::ArrayRef<double>()));
}

static void triangle(Lowering &l) {
  ValueId self = l.tensor("self");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  l.setOutput(l.emitOne(OpCode::Elementwise, l.node->target.contains("tril") ? "tril" : "triu", {self}, l.dtype(self), shape, {},
                        {l.number("diagonal", 0)}));
}

// [rows, columns]: whether it is the same position of both, of which either may be the batch.
static ValueId isOnDiagonal(Lowering &l, DimId rows, DimId columns) {
  auto numbers = [&](DimId size) { return l.emitOne(OpCode::Generate, "arange", {}, DType::I64, {size}, {}, {0.0, 1.0}); };
  return compareWith(l, "eq", l.reshape(numbers(rows), {rows, l.one()}), numbers(columns));
}

static void trace(Lowering &l) {
  ValueId self = l.tensor("self");
  if (l.rank(self) != 2)
    l.fail(absl::StrCat("takes the trace of a tensor of rank ", l.rank(self)));
  ValueId diagonal = choose(l, isOnDiagonal(l, l.dims(self)[0], l.dims(self)[1]), self, scalarOf(l, 0, l.dtype(self)));
  l.setOutput(l.reduce("sum", diagonal, {}, /*keep=*/false, l.outputMeta(0).dtype));
}

static void diagonalMatrices(Lowering &l) {
  ValueId self = l.tensor("self");
  int64_t rank = static_cast<int64_t>(l.rank(self)) + 1;
  bool areLast = l.dimension("dim1", -2, rank) + l.dimension("dim2", -1, rank) == 2 * rank - 3;
  if (rank < 2 || !areLast || l.integer("offset", 0) != 0)
    return l.lowerOpaque();
  llvm::SmallVector<DimId, 4> column(l.dims(self));
  DimId size = column.back();
  column.push_back(l.one());
  l.setOutput(choose(l, isOnDiagonal(l, size, size), l.reshape(self, column), scalarOf(l, 0, l.dtype(self))));
}

//===----------------------------------------------------------------------===//
// Lookups
//===----------------------------------------------------------------------===//

static void embedding(Lowering &l) {
  ValueId weight = l.tensor("weight"), indices = l.tensor("indices");
  if (l.rank(weight) != 2 || pt2::isFloating(l.dtype(indices)))
    l.fail("expects a table of rank 2 and integer indices");
  if (l.flag("scale_grad_by_freq", false))
    return l.lowerOpaque();
  llvm::SmallVector<DimId, 4> shape(l.dims(indices));
  shape.push_back(l.dims(weight)[1]);
  l.setOutput(l.emitOne(OpCode::Embedding, "", {weight, indices}, l.dtype(weight), shape, {l.integer("padding_idx", -1)}));
}

namespace {
/// An advanced index: the indexed dimensions and their index tensors.
struct AdvancedIndex {
  llvm::SmallVector<int64_t, 4> dims;
  llvm::SmallVector<ValueId, 4> indices;
  bool boolean = false;
};
} // namespace

static AdvancedIndex advancedIndex(Lowering &l, ValueId self) {
  AdvancedIndex result;
  auto indices = l.tensors("indices");
  if (indices.size() > l.rank(self))
    l.fail(absl::StrCat("has ", indices.size(), " indices for a tensor of rank ", l.rank(self)));
  for (auto [dim, index] : llvm::enumerate(indices))
    if (index != kNoValue) {
      result.dims.push_back(dim);
      result.indices.push_back(index);
      result.boolean |= l.dtype(index) == DType::Bool;
    }
  return result;
}

// Indexed dimensions next to each other are replaced in place by the indices' common shape; otherwise that comes first.
static llvm::SmallVector<DimId, 4> indexedShape(Lowering &l, ValueId self, const AdvancedIndex &index) {
  auto common = l.broadcast(index.indices);
  bool adjacent = index.dims.back() - index.dims.front() + 1 == static_cast<int64_t>(index.dims.size());
  llvm::SmallVector<DimId, 4> shape;
  if (!adjacent)
    shape.append(common.begin(), common.end());
  for (auto [dim, size] : llvm::enumerate(l.dims(self))) {
    if (adjacent && static_cast<int64_t>(dim) == index.dims.front())
      shape.append(common.begin(), common.end());
    if (!llvm::is_contained(index.dims, static_cast<int64_t>(dim)))
      shape.push_back(size);
  }
  return shape;
}

static void index(Lowering &l) {
  ValueId self = l.tensor("self");
  AdvancedIndex at = advancedIndex(l, self);
  if (at.boolean || at.dims.empty())
    return l.lowerOpaque(); // how many elements a boolean mask selects depends on data
  llvm::SmallVector<ValueId, 4> operands{self};
  operands.append(at.indices.begin(), at.indices.end());
  l.setOutput(l.emitOne(OpCode::Gather, "index", operands, l.dtype(self), indexedShape(l, self, at), at.dims));
}

static ValueId expandedTo(Lowering &l, ValueId value, llvm::ArrayRef<DimId> shape) {
  if (l.dims(value) == shape)
    return value;
  llvm::SmallVector<DimId, 4> copy(shape.begin(), shape.end());
  llvm::ArrayRef<DimId> from = l.dims(value);
  if (from.size() > copy.size())
    l.fail(absl::StrCat("writes values of rank ", from.size(), " where rank ", copy.size(), " is expected"));
  for (size_t i = 0; i < from.size(); ++i) {
    DimId to = copy[copy.size() - from.size() + i];
    if (l.graph.dims.hint(from[i]) == l.graph.dims.hint(to))
      l.graph.dims.unify(from[i], to, /*sure=*/false);
    else if (!l.graph.dims.isOne(from[i]))
      l.fail(absl::StrCat("writes ", l.graph.dims.hint(from[i]), " values where ", l.graph.dims.hint(to), " are expected"));
  }
  return l.emitOne(OpCode::Expand, "", {value}, l.dtype(value), copy);
}

static void scatterTo(Lowering &l, llvm::StringRef kind, ValueId self, llvm::ArrayRef<ValueId> inputs, llvm::ArrayRef<int64_t> dims,
                      bool accumulate, llvm::ArrayRef<double> scalars) {
  llvm::SmallVector<ValueId, 4> operands{self};
  operands.append(inputs.begin(), inputs.end());
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  ValueId result = l.emitOne(OpCode::Scatter, kind, operands, l.dtype(self), shape, dims, scalars);
  l.graph.ops.back().moreInts = {accumulate};
  llvm::StringRef name = l.node->target;
  name = name.count('.') > 1 ? name.take_front(name.rfind('.')) : name;
  if (name.ends_with("_"))
    l.write("self", result);
  l.setOutput(result);
}

static void indexPut(Lowering &l) {
  ValueId self = l.tensor("self"), values = l.tensor("values");
  AdvancedIndex at = advancedIndex(l, self);
  if (at.dims.empty())
    return l.lowerOpaque();
  if (at.boolean) {
    // x[mask] = scalar is a masked fill.
    if (at.indices.size() != 1 || l.rank(values) != 0 || l.rank(at.indices[0]) != l.rank(self))
      return l.lowerOpaque();
    llvm::SmallVector<DimId, 4> shape(l.dims(self));
    ValueId result = l.emitOne(OpCode::Elementwise, "where", {at.indices[0], l.cast(values, l.dtype(self)), self}, l.dtype(self), shape);
    if (l.node->target.contains("index_put_"))
      l.write("self", result);
    return l.setOutput(result);
  }
  auto shape = indexedShape(l, self, at);
  llvm::SmallVector<ValueId, 4> inputs = at.indices;
  inputs.push_back(expandedTo(l, l.cast(values, l.dtype(self)), shape));
  scatterTo(l, "index", self, inputs, at.dims, l.flag("accumulate", false), {});
}

static void gather(Lowering &l) {
  ValueId self = l.tensor("self"), at = l.tensor(l.has("indices") ? "indices" : "index");
  if (l.node->target.contains("take_along_dim") && !l.has("dim"))
    return l.lowerOpaque();
  if (l.rank(at) != l.rank(self) || l.rank(self) == 0)
    l.fail("has an index of another rank than its operand");
  llvm::SmallVector<DimId, 4> shape(l.dims(at));
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  if (l.node->target.contains("take_along_dim")) // which broadcasts the two
    for (size_t i = 0; i < shape.size(); ++i)
      if (static_cast<int64_t>(i) != dim && l.graph.dims.hint(shape[i]) != l.graph.dims.hint(l.dims(self)[i]))
        return l.lowerOpaque();
  // Usually the index covers the other dimensions whole.
  for (size_t i = 0; i < shape.size(); ++i)
    if (static_cast<int64_t>(i) != dim && l.graph.dims.hint(shape[i]) == l.graph.dims.hint(l.dims(self)[i]))
      shape[i] = l.graph.dims.unify(shape[i], l.dims(self)[i], /*sure=*/false);
  l.setOutput(l.emitOne(OpCode::Gather, "gather", {self, at}, l.dtype(self), shape, {dim}));
}

static void indexSelect(Lowering &l) {
  ValueId self = l.tensor("self"), at = l.tensor("index");
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  if (l.rank(self) == 0 || l.rank(at) != 1)
    l.fail("expects a tensor and a vector of indices");
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  shape[dim] = l.dims(at)[0];
  l.setOutput(l.emitOne(OpCode::Gather, "index_select", {self, at}, l.dtype(self), shape, {dim}));
}

static void scatter(Lowering &l) {
  ValueId self = l.tensor("self"), at = l.tensor("index");
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  llvm::StringRef reduce = l.text("reduce", "");
  bool accumulate = l.node->target.contains("_add") || reduce == "add" || reduce == "sum";
  if ((!reduce.empty() && !accumulate) || !l.flag("include_self", true))
    return l.lowerOpaque();
  llvm::StringRef kind = l.node->target.contains("index_add") || l.node->target.contains("index_copy") ? "index_select" : "gather";
  const Argument *value = l.argument("value");
  if (value && value->kind != Argument::Kind::Tensor)
    return scatterTo(l, kind, self, {at}, {dim}, accumulate, {l.number("value", 0)});
  ValueId source = l.tensor(l.has("src") ? "src" : l.has("source") ? "source" : "value");
  if (double alpha = l.number("alpha", 1); alpha != 1) {
    llvm::SmallVector<DimId, 4> shape(l.dims(source));
    source = l.emitOne(OpCode::Elementwise, "mul", {source}, l.dtype(source), shape, {}, {alpha});
  }
  scatterTo(l, kind, self, {at, l.cast(source, l.dtype(self))}, {dim}, accumulate, {});
}

static void sliceScatter(Lowering &l) {
  ValueId self = l.tensor("self"), source = l.tensor("src");
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  bool select = l.node->target.contains("select_scatter");
  int64_t start = l.integer(select ? "index" : "start", 0);
  if (l.rank(self) == 0 || l.rank(source) + (select ? 1 : 0) != l.rank(self))
    l.fail(absl::StrCat("writes a tensor of rank ", l.rank(source), " into one of rank ", l.rank(self)));
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  if (select) {
    llvm::SmallVector<DimId, 4> with(l.dims(source));
    with.insert(with.begin() + dim, l.one());
    source = l.reshape(source, with);
  }
  int64_t step = select ? 1 : l.integer("step", 1);
  if (step < 1)
    l.fail(absl::StrCat("writes with step ", step));
  ValueId result = l.emitOne(OpCode::InsertSlice, "", {self, source}, l.dtype(self), shape, {dim, step});
  l.graph.ops.back().start = start < 0 ? l.graph.dims.dim(shape[dim]) + Dim(start) : Dim(start);
  l.setOutput(result);
}

static void sortOrTopk(Lowering &l) {
  ValueId self = l.tensor("self");
  bool topk = l.node->target.contains("topk"), onlyIndices = l.node->target.contains("argsort");
  int64_t dim = l.dimension("dim", -1, l.rank(self)), k = topk ? l.integer("k", 1) : 0;
  llvm::SmallVector<DimId, 4> shape(l.dims(self));
  if (topk) {
    if (shape.empty() || k < 1 || k > l.graph.dims.hint(shape[dim]))
      l.fail(absl::StrCat("takes the largest ", k, " of ", shape.empty() ? 1 : l.graph.dims.hint(shape[dim])));
    shape[dim] = l.constant(k);
  }
  ValueId values = l.newValue(l.dtype(self), shape), indices = l.newValue(DType::I64, shape);
  GraphOp &op = l.emit(OpCode::Sort, "", {self});
  op.ints = {dim, k, topk ? l.flag("largest", true) : l.flag("descending", false)};
  op.results = {values, indices};
  for (ValueId v : op.results)
    l.graph.values[v].producer = static_cast<int32_t>(l.graph.ops.size() - 1);
  l.setOutput(0, onlyIndices ? indices : values);
  if (!onlyIndices && l.numOutputs() > 1)
    l.setOutput(1, indices);
}

static void histogram(Lowering &l) {
  ValueId self = l.tensor("self");
  bool bincount = l.node->target.contains("bincount");
  const pt2::TensorMeta &meta = l.outputMeta(0);
  if (meta.sizes.size() != 1)
    l.fail("has a result that is not a vector");
  int64_t bins = meta.sizes[0].value;
  l.setOutput(l.emitOne(OpCode::Histogram, "", {self}, meta.dtype, {l.constant(bins)}, {},
                        {bincount ? 0.0 : l.number("min", 0), bincount ? static_cast<double>(bins - 1) : l.number("max", 0)}));
}

static void oneHot(Lowering &l) {
  ValueId self = l.tensor("self");
  const pt2::TensorMeta &meta = l.outputMeta(0);
  llvm::SmallVector<DimId, 4> shape(l.dims(self)), column(l.dims(self));
  if (meta.sizes.size() != shape.size() + 1)
    l.fail("has a result whose rank is not one more than its operand's");
  DimId classes = l.constant(meta.sizes.back().value);
  column.push_back(l.one());
  shape.push_back(classes);
  ValueId numbers = l.emitOne(OpCode::Generate, "arange", {}, l.dtype(self), {classes}, {}, {0.0, 1.0});
  ValueId hot = l.emitOne(OpCode::Elementwise, "eq", {l.reshape(self, column), numbers}, DType::Bool, shape);
  l.setOutput(l.cast(hot, meta.dtype));
}

//===----------------------------------------------------------------------===//
// Symbolic integers
//===----------------------------------------------------------------------===//

static void symbolicSize(Lowering &l) {
  ValueId self = l.tensor("self");
  int64_t dim = l.dimension("dim", 0, l.rank(self));
  if (l.rank(self) == 0 || l.node->symbolOutputs.empty())
    l.fail("asks for a dimension that isn't there");
  l.setSymbol(l.node->symbolOutputs[0], l.graph.dims.dim(l.dims(self)[dim]));
}

static void symbolicArithmetic(Lowering &l) {
  if (l.node->symbolOutputs.empty() || l.node->arguments.size() < 2)
    return; // comparisons feed assertions only
  auto operand = [&](size_t i) -> Dim {
    const Argument &argument = l.node->arguments[i];
    if (argument.ints.empty())
      l.fail("computes with something that is not an integer");
    auto symbolic = l.symbolicIntegers(argument.name);
    return !symbolic.empty() && symbolic[0] ? *symbolic[0] : Dim(argument.ints[0].value);
  };
  Dim a = operand(0), b = operand(1), result;
  llvm::StringRef target = l.node->target;
  if (target.ends_with("add"))
    result = a + b;
  else if (target.ends_with("sub"))
    result = a - b;
  else if (target.ends_with("mul"))
    result = a * b;
  else if (target.ends_with("floordiv") && !(b == Dim(0))) {
    if (auto quotient = a.dividedBy(b))
      result = *quotient;
    else if (a.isConstant() && b.isConstant())
      result = Dim(a.constant() / b.constant()); // never the least integer, which Dim doesn't hold
    else
      l.fail(absl::StrCat("divides ", a.str(), " by ", b.str(), ", which does not come out even"));
  } else
    l.fail("is arithmetic on symbolic sizes that moai doesn't know");
  l.setSymbol(l.node->symbolOutputs[0], result);
}

void moai::addIndexRules(llvm::StringMap<LoweringRule> &rules) {
  rules["aten.arange"] = arange;
  for (const char *name : {"full",      "zeros",      "ones",       "empty",          "new_full",      "new_zeros",    "new_ones",
                           "new_empty", "full_like",  "zeros_like", "ones_like",      "empty_like",    "rand",         "randn",
                           "rand_like", "randn_like", "randint",    "empty_permuted", "empty_strided", "scalar_tensor"})
    rules[absl::StrCat("aten.", name)] = generate;
  rules["aten.tril"] = rules["aten.triu"] = triangle;
  rules["aten.embedding"] = embedding;
  rules["aten.index"] = index;
  rules["aten.index_put"] = rules["aten.index_put_"] = indexPut;
  rules["aten.gather"] = rules["aten.take_along_dim"] = gather;
  rules["aten.index_select"] = indexSelect;
  for (const char *name : {"scatter", "scatter_", "scatter_add", "scatter_add_", "index_add", "index_add_", "index_copy", "index_copy_",
                           "scatter_reduce", "scatter_reduce_"})
    rules[absl::StrCat("aten.", name)] = scatter;
  rules["aten.slice_scatter"] = rules["aten.select_scatter"] = sliceScatter;
  rules["aten.topk"] = rules["aten.sort"] = rules["aten.argsort"] = sortOrTopk;
  rules["aten.histc"] = rules["aten.bincount"] = histogram;
  rules["aten.one_hot"] = oneHot;
  rules["aten.trace"] = trace;
  rules["aten.diag_embed"] = diagonalMatrices;
  rules["aten.sym_size"] = symbolicSize;
  for (const char *name : {"_operator.add", "_operator.sub", "_operator.mul", "_operator.floordiv"})
    rules[name] = symbolicArithmetic;
}

LoweringRule moai::findLoweringRule(llvm::StringRef target) {
  static const llvm::StringMap<LoweringRule> rules = [] {
    llvm::StringMap<LoweringRule> all;
    addMatmulRules(all);
    addPointwiseRules(all);
    addReductionRules(all);
    addJoinRules(all);
    addNormRules(all);
    addLossRules(all);
    addMarginRules(all);
    addReshapeRules(all);
    addViewRules(all);
    addIndexRules(all);
    addRegionRules(all);
    addResizeRules(all);
    return all;
  }();
  auto it = rules.find(target);
  return it == rules.end() ? nullptr : it->second;
}
