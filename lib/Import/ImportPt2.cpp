//===- ImportPt2.cpp - torch.export archives -------------------------------===//
#include "Archive.h"
#include "EmitModule.h"
#include "JointGraph.h"
#include "Lowering.h"
#include "Recognition.h"
#include "Summarize.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "moai/Import/Import.h"
#include <new>

using namespace moai;
using pt2::InputSpec;

namespace {
/// What the dimensions of the inputs mean.
struct InputDims {
  llvm::StringMap<Dim> symbols;     ///< "arg:NAME:I" and expressions of a dynamic export
  llvm::StringMap<unsigned> byName; ///< names a user may set with --shape, to symbol numbers
  DimBinding exported;
  bool hasSequence = false;
};
} // namespace

// `Symbol('s72', positive=True, integer=True)` -> s72
static llvm::StringRef symbolName(llvm::StringRef expression) {
  if (!expression.consume_front("Symbol('"))
    return {};
  return expression.take_until([](char c) { return c == '\''; });
}

// The first dimension of the inputs is the batch; the second of integer inputs (token numbers) is a sequence. Inputs of
// the same length share a sequence, others get their own.
static InputDims nameInputDims(const pt2::ExportedProgram &program, std::vector<std::string> &assumptions) {
  InputDims dims;
  std::optional<int64_t> batch;
  unsigned nextSequence = kSequenceSymbol;
  llvm::DenseMap<int64_t, unsigned> sequences;
  for (const InputSpec &spec : program.inputs) {
    if (spec.kind != InputSpec::Kind::User)
      continue;
    auto meta = program.graph.tensors.find(spec.argument);
    if (meta == program.graph.tensors.end())
      continue; // Lowering reports it
    const auto &sizes = meta->second.sizes;
    auto assign = [&](size_t index, unsigned symbol) {
      dims.symbols[absl::StrCat("arg:", spec.argument.str(), ":", index)] = Dim::symbol(symbol);
      dims.exported.values[symbol] = std::max<int64_t>(1, sizes[index].value);
      if (!sizes[index].symbol.empty()) {
        dims.symbols[sizes[index].symbol] = Dim::symbol(symbol);
        if (llvm::StringRef name = symbolName(sizes[index].symbol); !name.empty())
          dims.byName[name] = symbol;
      }
    };
    if (sizes.empty())
      continue;
    if (!batch)
      batch = sizes[0].value;
    if (sizes[0].value != *batch)
      continue;
    assign(0, kBatchSymbol);
    if (sizes.size() == 2 && !pt2::isFloating(meta->second.dtype)) {
      auto [it, isNew] = sequences.try_emplace(sizes[1].value, nextSequence);
      if (isNew) {
        if (nextSequence == kNumDimSymbols) {
          assumptions.push_back(
              absl::StrCat("input '", spec.argument.str(), "' has a further length, which is kept as the number ", sizes[1].value));
          sequences.erase(it);
          continue;
        }
        ++nextSequence;
      }
      assign(1, it->second);
      dims.hasSequence = true;
    }
  }
  dims.byName["batch"] = dims.byName["b"] = kBatchSymbol;
  for (unsigned i = kSequenceSymbol; i < nextSequence; ++i)
    dims.byName[kDimSymbolNames[i]] = i;
  if (dims.hasSequence)
    dims.byName["sequence"] = kSequenceSymbol;
  return dims;
}

static absl::Status bindShapes(const ImportOptions &options, InputDims &dims, DimBinding &planned, llvm::StringRef file) {
  if (options.sequenceLength) {
    if (!dims.hasSequence)
      return absl::InvalidArgumentError(absl::StrCat(
          file.str(), ": the model has no sequence dimension, so --seq-len=", *options.sequenceLength, " means nothing; leave it out"));
    planned.values[kSequenceSymbol] = *options.sequenceLength;
  }
  for (const auto &entry : options.shapes) {
    auto it = dims.byName.find(entry.getKey());
    if (it == dims.byName.end()) {
      std::vector<std::string> names;
      for (const auto &known : dims.byName)
        names.push_back(known.getKey().str());
      llvm::sort(names);
      return absl::InvalidArgumentError(absl::StrCat(file.str(), ": --shape=", entry.getKey().str(),
                                                     " names no dimension of the model; it has ", absl::StrJoin(names, ", ")));
    }
    if (it->second == kBatchSymbol)
      return absl::InvalidArgumentError(
          absl::StrCat(file.str(), ": --shape=", entry.getKey().str(), " is the batch, which --global-batch sets; leave it out"));
    if (it->second == kSequenceSymbol && options.sequenceLength && *options.sequenceLength != entry.getValue())
      return absl::InvalidArgumentError(absl::StrCat(file.str(), ": --shape=", entry.getKey().str(), "=", entry.getValue(),
                                                     " contradicts --seq-len=", *options.sequenceLength, "; give one of them"));
    planned.values[it->second] = entry.getValue();
  }
  return absl::OkStatus();
}

// The graph uses one name of tied parameters; the others have no users. Where the archive tells which parameters share
// their data, those are tied; otherwise an unused parameter counts as tied if a used one has its shape and type and is the
// embedding or head table or, failing that, has the same last name.
static ValueId findTwin(const TrainingGraph &graph, ValueId argument, const llvm::DenseSet<ValueId> &used,
                        const llvm::DenseSet<ValueId> &tables, const llvm::StringMap<std::string> &places) {
  const GraphValue &value = graph.values[argument];
  auto lastName = [](llvm::StringRef name) { return name.rsplit('.').second; };
  auto place = places.find(value.name);
  ValueId twin = kNoValue;
  for (ValueId other : graph.arguments) {
    const GraphValue &candidate = graph.values[other];
    if (candidate.role != value.role || !used.count(other) || candidate.dims != value.dims || candidate.dtype != value.dtype)
      continue;
    if (!places.empty()) {
      auto own = places.find(candidate.name);
      if (place != places.end() && own != places.end() && own->second == place->second)
        return other;
    } else if (tables.count(other)) {
      return other;
    } else if (twin == kNoValue && lastName(candidate.name) == lastName(value.name)) {
      twin = other;
    }
  }
  return twin;
}

static void mergeTiedParameters(TrainingGraph &graph, llvm::StringRef path, std::vector<std::string> &assumptions,
                                std::vector<std::pair<std::string, std::string>> &tied) {
  llvm::DenseSet<ValueId> used, tables;
  for (const GraphOp &op : graph.ops)
    for (ValueId operand : op.operands)
      if (operand != kNoValue) {
        used.insert(operand);
        if (op.code == OpCode::Embedding && operand == op.operands[0])
          tables.insert(operand);
      }
  used.insert(graph.outputs.begin(), graph.outputs.end());
  std::optional<llvm::StringMap<std::string>> places; // read only if anything needs them
  std::vector<ValueId> kept;
  for (ValueId argument : graph.arguments) {
    const GraphValue &value = graph.values[argument];
    if (isParameter(value.role) && !used.count(argument)) {
      if (!places)
        places = readWeightPlaces(path);
      ValueId twin = findTwin(graph, argument, used, tables, *places);
      if (twin != kNoValue) {
        tied.push_back({value.name.str(), graph.values[twin].name.str()});
        if (places->empty())
          assumptions.push_back(absl::StrCat("parameter '", value.name.str(), "' has no use of its own and is taken for tied to '",
                                             graph.values[twin].name.str(), "'"));
        continue;
      }
      assumptions.push_back(
          absl::StrCat("parameter '", value.name.str(), "' is never used; it is counted, but no device keeps or trains it"));
    }
    // Buffers that only fed what was folded away are gone.
    if ((value.role == Role::Buffer || value.role == Role::Constant) && !used.count(argument))
      continue;
    kept.push_back(argument);
  }
  graph.arguments = std::move(kept);
}

// The loss is the one output marked so, or the only scalar among the outputs.
static void chooseLoss(TrainingGraph &graph) {
  std::vector<ValueId> scalars;
  for (ValueId output : graph.outputs)
    if (graph.values[output].dims.empty() && pt2::isFloating(graph.values[output].dtype))
      scalars.push_back(output);
  if (graph.outputs.empty())
    throw ImportError("model.json: the graph has no output; export a module whose forward returns the loss");
  if (scalars.size() == 1) {
    graph.loss = scalars[0];
    graph.outputs = {graph.loss};
    return;
  }
  if (graph.outputs.size() > 1)
    throw ImportError(
        absl::StrCat("model.json: the graph has ", graph.outputs.size(), " outputs and ", scalars.size(),
                     " of them are scalars, so none is plainly the loss; export a module whose forward returns only the loss"));
}

// Frozen parameters have neither gradient nor optimizer state.
static void reportFrozen(const TrainingGraph &graph, std::vector<std::string> &assumptions) {
  unsigned parameters = 0, frozen = 0;
  for (ValueId argument : graph.arguments) {
    parameters += isParameter(graph.values[argument].role);
    frozen += graph.values[argument].role == Role::Frozen;
  }
  if (frozen && frozen == parameters)
    throw ImportError("model.json: no parameter requires a gradient, so there is no training step; export the model with its parameters' "
                      "requires_grad set");
  if (frozen)
    assumptions.push_back(absl::StrCat(frozen, " of ", parameters,
                                       " parameter tensors do not require a gradient: they are kept as they are, and not trained"));
}

static void reportLiterals(const TrainingGraph &graph, std::vector<std::string> &assumptions) {
  for (ValueId argument : graph.arguments) {
    const GraphValue &value = graph.values[argument];
    if (value.role != Role::Buffer && value.role != Role::Constant)
      continue;
    for (DimId dim : value.dims)
      if (!graph.dims.dim(dim).isConstant())
        assumptions.push_back(absl::StrCat("buffer '", value.name.str(), "' is taken to follow ", graph.dims.dim(dim).str()));
  }
}

static void checkSizes(const TrainingGraph &graph, const DimBinding &planned) {
  for (const GraphOp &op : graph.ops)
    for (ValueId result : op.results) {
      int64_t elements = 1;
      for (DimId dim : graph.values[result].dims) {
        int64_t size = graph.dims.dim(dim).evaluate(planned);
        if (size < 0)
          throw ImportError(absl::StrCat("at the planned shape a tensor of module '", op.path.str(), "' would have the dimension ",
                                         graph.dims.dim(dim).str(), " = ", size, "; plan a longer sequence"));
        elements = saturatingMultiply(elements, std::max<int64_t>(1, size));
      }
      if (elements > (int64_t(1) << 56))
        throw ImportError(absl::StrCat("at the planned shape a tensor of module '", op.path.str(),
                                       "' would have more than 2^56 elements; plan a smaller shape"));
    }
}

static absl::StatusOr<ImportedModel> import(llvm::StringRef path, const ImportOptions &options, mlir::MLIRContext &context,
                                            Readings &readings) {
  auto json = readModelJson(path);
  if (!json.ok())
    return json.status();
  auto parsed = pt2::parseExportedProgram(*json, path);
  if (!parsed.ok())
    return parsed.status();
  pt2::ExportedProgram &program = **parsed;

  ImportedModel result;
  ModelSummary &summary = result.summary;
  summary.path = path.str();
  summary.warnings = program.warnings;
  bool isJoint = separateForward(program);
  if (isJoint)
    summary.assumptions.push_back("the graph carries its backward, which is left out: moai derives the gradients from the forward itself");
  InputDims inputs = nameInputDims(program, summary.assumptions);
  DimBinding planned = inputs.exported;
  if (absl::Status status = bindShapes(options, inputs, planned, path); !status.ok())
    return status;

  // Literals that turn out to be the batch or the sequence are learned round by round; each round resolves at least one.
  DimTable dims(inputs.exported);
  std::optional<TrainingGraph> graph;
  llvm::StringMap<unsigned> opaque;
  constexpr unsigned kMaxRounds = 12;
  for (unsigned round = 0; round < kMaxRounds; ++round) {
    graph.emplace(std::move(dims));
    readings.ambiguous.clear();
    Lowering lowering(program, *graph, inputs.symbols, readings, options.autocast == AutocastDevice::Cuda);
    lowering.run();
    opaque.clear();
    for (const auto &entry : lowering.getOpaqueTargets())
      opaque[entry.getKey()] = entry.getValue();
    if (!graph->dims.takeProgress())
      break;
    dims = std::move(graph->dims);
  }
  for (const auto &entry : opaque)
    summary.opaqueOps.push_back(entry.getKey().str());
  llvm::sort(summary.opaqueOps);
  if (options.strict && !summary.opaqueOps.empty())
    return absl::InvalidArgumentError(
        absl::StrCat(path.str(), ": --strict refuses ops that moai doesn't know: ", absl::StrJoin(summary.opaqueOps, ", ")));
  for (const std::string &target : summary.opaqueOps)
    summary.warnings.push_back(absl::StrCat("op ", target, " (", opaque[target],
                                            " times) is not known: it is costed by the bytes it reads and writes, "
                                            "and nothing is split through it"));

  chooseLoss(*graph);
  if (!options.bufferUpdates)
    graph->bufferUpdates.clear();
  for (const auto &[buffer, update] : graph->bufferUpdates)
    graph->outputs.push_back(update);
  mergeConstants(*graph);
  if (isJoint) {
    fuseDecomposed(*graph);
    if (unsigned attentions = fuseAttention(*graph))
      summary.assumptions.push_back(
          absl::StrCat(attentions, " attentions that the export wrote out as matrix products are planned as one fused op each"));
  }
  recognizeAttention(*graph, planned);
  recognizeExperts(*graph);
  removeDeadOps(*graph);
  graph->ops.erase(std::remove_if(graph->ops.begin(), graph->ops.end(), [](const GraphOp &op) { return op.dead; }), graph->ops.end());
  for (auto [index, op] : llvm::enumerate(graph->ops))
    for (ValueId value : op.results)
      graph->values[value].producer = static_cast<int32_t>(index);
  mergeTiedParameters(*graph, path, summary.assumptions, result.tiedParameters);
  reportFrozen(*graph, summary.assumptions);
  reportLiterals(*graph, summary.assumptions);
  checkSizes(*graph, planned);

  result.module = emitModule(*graph, findBlocks(*graph), planned, context);
  std::string mismatch;
  {
    mlir::ScopedDiagnosticHandler diagnostics(&context, [&](mlir::Diagnostic &diagnostic) {
      if (mismatch.empty())
        mismatch = diagnostic.str();
    });
    readings.fit = mlir::succeeded(mlir::verify(*result.module));
    if (!readings.fit)
      return absl::InvalidArgumentError(absl::StrCat(path.str(), ": batch and sequence can't be followed through the graph: ", mismatch,
                                                     "; export it with dynamic dimensions, or report it"));
  }
  summary.hasLoss = graph->loss != kNoValue;
  summary.hasSequence = inputs.hasSequence;
  summary.exported = inputs.exported;
  summary.binding = planned;
  summary.binding.values[kBatchSymbol] = options.batch.value_or(planned.values[kBatchSymbol]);
  summarizeModule(*result.module, summary);
  return result;
}

static absl::StatusOr<ImportedModel> importAs(llvm::StringRef path, const ImportOptions &options, mlir::MLIRContext &context,
                                              Readings &readings) {
  try {
    return import(path, options, context, readings);
  } catch (const ImportError &error) {
    return absl::InvalidArgumentError(absl::StrCat(path.str(), ": ", error.what()));
  } catch (const std::bad_alloc &) {
    return absl::ResourceExhaustedError(absl::StrCat(path.str(), ": does not fit into this machine's memory"));
  }
}

// Where a size is the batch's by chance, as of as many experts, the first way to read a reshape may not fit what follows.
absl::StatusOr<ImportedModel> moai::importPt2(llvm::StringRef path, const ImportOptions &options, mlir::MLIRContext &context) {
  constexpr size_t kMaxReadings = 16;
  Readings first;
  auto model = importAs(path, options, context, first);
  if (model.ok() || first.fit)
    return model;
  for (const std::string &reading : llvm::ArrayRef(first.ambiguous).take_front(kMaxReadings)) {
    Readings other;
    other.other = reading;
    auto again = importAs(path, options, context, other);
    if (!again.ok())
      continue;
    again->summary.assumptions.push_back(absl::StrCat("a reshape of ", reading, ": read in another way, the graph doesn't fit"));
    return again;
  }
  return model;
}
