//===- Lowering.h - From framework nodes to the dialect's vocabulary -------===//
#ifndef MOAI_LIB_IMPORT_LOWERING_H
#define MOAI_LIB_IMPORT_LOWERING_H

#include "ExportedProgram.h"
#include "ImportError.h"
#include "TrainingGraph.h"
#include "llvm/ADT/StringMap.h"
#include <functional>
#include <optional>

namespace moai {

/// How the ops of a nested graph run.
struct RegionMode {
  bool gradients = true;    ///< not under torch.no_grad
  bool gpuAutocast = false; ///< under autocast, as CUDA does it
};

/// Reshapes that can be read in two ways, as of 4*b*s to [4, 40] at a batch of 4: the 4 may be the batch, or a number of experts.
struct Readings {
  std::string other;                  ///< the one that isn't read in the first way, empty if all are
  std::vector<std::string> ambiguous; ///< those that the graph has
  bool fit = true;                    ///< whether the dimensions of every op agree
};

/// Walks the nodes of an exported graph in order, inlines nested graphs with their own scopes, makes in-place ops
/// functional, and emits ops of the dialect with symbolic shapes.
class Lowering {
public:
  Lowering(const pt2::ExportedProgram &program, TrainingGraph &graph, const llvm::StringMap<Dim> &symbols, Readings &readings,
           bool autocastsOnGpu);

  void run();

  const llvm::StringMap<unsigned> &getOpaqueTargets() const { return opaqueTargets; }

  //===--- for the lowering rules --------------------------------------------------------------------------===//

  TrainingGraph &graph;
  const pt2::Node *node = nullptr;
  RegionMode region; ///< of the current node
  Readings &readings;
  const bool autocastsOnGpu;

  /// Argument by name; null if absent or none.
  const pt2::Argument *argument(llvm::StringRef name) const;
  bool has(llvm::StringRef name) const { return argument(name) != nullptr; }
  /// A tensor argument, which must be there.
  ValueId tensor(llvm::StringRef name);
  /// A tensor argument or kNoValue.
  ValueId optionalTensor(llvm::StringRef name);
  /// All tensors of a list argument; kNoValue for missing ones.
  llvm::SmallVector<ValueId, 4> tensors(llvm::StringRef name);
  /// The same, none of which may be missing.
  llvm::SmallVector<ValueId, 4> allTensors(llvm::StringRef name);
  int64_t integer(llvm::StringRef name, int64_t defaultValue);
  /// Throws DynamicNumber for a size that only a run knows, so that the node stays opaque.
  double number(llvm::StringRef name, double defaultValue);
  bool flag(llvm::StringRef name, bool defaultValue);
  llvm::StringRef text(llvm::StringRef name, llvm::StringRef defaultValue);
  llvm::SmallVector<int64_t, 4> integers(llvm::StringRef name);
  /// Integers that may be symbolic: a dimension where it is, nothing where it is a plain number (which `integers` gives).
  llvm::SmallVector<std::optional<Dim>, 4> symbolicIntegers(llvm::StringRef name);
  /// `integer` wrapped into 0..rank-1.
  int64_t dimension(llvm::StringRef name, int64_t defaultValue, size_t rank);
  llvm::SmallVector<int64_t, 4> dimensions(llvm::StringRef name, size_t rank);

  size_t rank(ValueId value) const { return graph.values[value].dims.size(); }
  llvm::ArrayRef<DimId> dims(ValueId value) const { return graph.values[value].dims; }
  DType dtype(ValueId value) const { return graph.values[value].dtype; }
  const pt2::TensorMeta &outputMeta(unsigned index) const;
  size_t numOutputs() const { return node->outputs.size(); }

  /// A site for the `index`-th literal of this node.
  LiteralSite site(unsigned index) const { return ordinal * 32 + std::min(index, 31u); }
  DimId one() { return graph.dims.get(Dim(1)); }
  DimId constant(int64_t value) { return graph.dims.get(Dim(value)); }

  ValueId newValue(DType dtype, llvm::ArrayRef<DimId> dims);
  GraphOp &emit(OpCode code, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands);
  /// Emits an op of one result.
  ValueId emitOne(OpCode code, llvm::StringRef kind, llvm::ArrayRef<ValueId> operands, DType dtype, llvm::ArrayRef<DimId> dims,
                  llvm::ArrayRef<int64_t> ints = {}, llvm::ArrayRef<double> floats = {});
  ValueId reshape(ValueId value, llvm::ArrayRef<DimId> dims);
  ValueId cast(ValueId value, DType dtype);
  /// `kind` over some dimensions, or over all.
  ValueId reduce(llvm::StringRef kind, ValueId value, llvm::SmallVector<int64_t, 4> dims, bool keep, DType dtype);
  llvm::SmallVector<DimId, 4> reducedShape(ValueId value, llvm::ArrayRef<int64_t> dims, bool keep);
  ValueId slice(ValueId value, int64_t dim, const Dim &start, DimId size, int64_t step = 1);
  llvm::SmallVector<DimId, 4> broadcast(llvm::ArrayRef<ValueId> values);
  /// Dimensions of a recorded shape, each taken from an operand's dimension of the same size where there is one.
  llvm::SmallVector<DimId, 4> matchShape(const pt2::TensorMeta &meta, llvm::ArrayRef<ValueId> operands);

  /// Binds output `index` of the node.
  void setOutput(unsigned index, ValueId value);
  void setOutput(ValueId value) { setOutput(0, value); }
  /// Marks the outputs as views of the named argument, for writes through them.
  void markView(llvm::StringRef base);
  /// Replaces the tensor an argument names, and everything it is a view of, by a new value (an in-place op).
  void write(llvm::StringRef name, ValueId value);
  void setSymbol(llvm::StringRef name, const Dim &value) { scopes.back().symbols[name] = value; }
  /// Lowers a nested graph in place of the current node. What is computed without gradients is detached where it reaches
  /// ops that are run with them, if it depends on something trained.
  void inlineGraph(const pt2::Graph &body, llvm::ArrayRef<const pt2::Argument *> arguments, RegionMode mode);
  llvm::StringRef keep(std::string text);

  [[noreturn]] void fail(const std::string &what) const;
  /// Leaves the node as an opaque op.
  void lowerOpaque();

private:
  struct Slot {
    ValueId value = kNoValue;
    int base = -1; ///< slot this one is a view of
    const pt2::Node *view = nullptr;
    const pt2::Graph *body = nullptr;
    unsigned output = 0;
    unsigned depth = 0; ///< views between this one and what owns the memory
    unsigned version = 0, baseVersion = 0;
    uint64_t ordinal = 0;
    bool hasGradient = true; ///< false if made where gradients were off
  };
  struct Scope {
    const pt2::Graph *body;
    llvm::DenseMap<llvm::StringRef, int> slots;
    llvm::DenseMap<llvm::StringRef, Dim> symbols;
    llvm::DenseMap<llvm::StringRef, pt2::TensorMeta> widened; ///< tensors that a GPU's autocast computes in float32
  };

  void lowerNode(const pt2::Node &node);
  ValueId read(int slot);
  void define(llvm::StringRef name, int slot);
  int slotOf(llvm::StringRef name) const;
  ValueId pasteIntoBase(const Slot &slot, ValueId base, ValueId value);
  void writeSlot(int slot, ValueId value);
  void addArguments();
  bool dependsOnTrained(ValueId value);
  ValueId detached(ValueId value);
  void detachSlot(int slot);
  bool runsInFloat32(const pt2::Node &node) const;
  void widenOutputs(const pt2::Node &node, bool float32);
  ValueId operand(ValueId value);
  void updateBuffer(llvm::StringRef name, ValueId value);
  Dim resolveSymbol(llvm::StringRef name, int64_t hint) const;

  const pt2::ExportedProgram &program;
  const llvm::StringMap<Dim> &symbols;
  std::vector<Slot> slots;
  std::vector<Scope> scopes;
  llvm::StringMap<unsigned> opaqueTargets;
  int replayOutput = -1;
  ValueId replayed = kNoValue;
  uint64_t ordinal = 0, nextOrdinal = 1;
  bool widensOperands = false; ///< of the current node: half-precision ones, to float32
  bool hasWidened = false;
  std::vector<bool> trained; ///< by value: whether it depends on a trained parameter; as far as it was asked for
  size_t trainedOps = 0;     ///< ops that `trained` has seen
};

/// A rule lowers the current node.
using LoweringRule = void (*)(Lowering &);
/// The rule for a target such as "aten.linear", without overload; null if the target is unknown.
LoweringRule findLoweringRule(llvm::StringRef target);

/// Each file of rules adds its own.
void addMatmulRules(llvm::StringMap<LoweringRule> &rules);
void addPointwiseRules(llvm::StringMap<LoweringRule> &rules);
void addReductionRules(llvm::StringMap<LoweringRule> &rules);
void addNormRules(llvm::StringMap<LoweringRule> &rules);
void addLossRules(llvm::StringMap<LoweringRule> &rules);
void addMarginRules(llvm::StringMap<LoweringRule> &rules);
void addReshapeRules(llvm::StringMap<LoweringRule> &rules);
void addJoinRules(llvm::StringMap<LoweringRule> &rules);
void addViewRules(llvm::StringMap<LoweringRule> &rules);
void addRegionRules(llvm::StringMap<LoweringRule> &rules);
void addIndexRules(llvm::StringMap<LoweringRule> &rules);
void addResizeRules(llvm::StringMap<LoweringRule> &rules);

/// `repeats` copies along a dimension, one behind the other, or each element `repeats` times in a row.
ValueId repeatAlong(Lowering &l, ValueId self, size_t dim, const Dim &repeats, bool interleave);

} // namespace moai

#endif // MOAI_LIB_IMPORT_LOWERING_H
