//===- JointGraph.cpp - Graphs that carry their backward -------------------===//
#include "JointGraph.h"
#include "ImportError.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"

using namespace moai;
using namespace moai::pt2;

static std::string shapeText(const TensorMeta &meta) {
  return absl::StrCat("[", absl::StrJoin(meta.sizes, ", ", [](std::string *text, const Size &size) { absl::StrAppend(text, size.value); }),
                      "]");
}

static bool sameShape(const TensorMeta &a, const TensorMeta &b) {
  return std::equal(a.sizes.begin(), a.sizes.end(), b.sizes.begin(), b.sizes.end(),
                    [](const Size &x, const Size &y) { return x.value == y.value; });
}

static const TensorMeta *findTensor(const ExportedProgram &program, llvm::StringRef name) {
  auto it = program.graph.tensors.find(name);
  return it == program.graph.tensors.end() ? nullptr : &it->second;
}

static const TensorMeta *findTensorArgument(const ExportedProgram &program, const Node &node, llvm::StringRef name) {
  for (const Argument &argument : node.arguments)
    if (argument.name == name && argument.kind == Argument::Kind::Tensor)
      return findTensor(program, argument.tensors[0]);
  return nullptr;
}

// Each gradient must have the shape of its parameter. Parameters without one are not trained.
static void takeGradients(ExportedProgram &program) {
  llvm::StringMap<InputSpec *> parameters;
  for (InputSpec &spec : program.inputs)
    if (spec.kind == InputSpec::Kind::Parameter) {
      spec.trained = false;
      parameters[spec.name] = &spec;
    }
  for (const OutputSpec &spec : program.outputs) {
    if (spec.kind != "gradient_to_parameter")
      continue;
    auto it = parameters.find(spec.target);
    if (it == parameters.end())
      throw ImportError(absl::StrCat("model.json: output '", spec.argument.str(), "' is the gradient of '", spec.target.str(),
                                     "', which is no parameter of the graph"));
    it->second->trained = true;
    const TensorMeta *gradient = findTensor(program, spec.argument), *parameter = findTensor(program, it->second->argument);
    if (gradient && parameter && !sameShape(*gradient, *parameter))
      throw ImportError(absl::StrCat("model.json: the gradient of parameter '", spec.target.str(), "' has the shape ", shapeText(*gradient),
                                     ", the parameter ", shapeText(*parameter), "; export the graph again"));
  }
}

// A fused backward of attention wants one number per row of scores. An export that decomposes the forward, but not the
// backward, hands it the scores' softmax: its gradients are wrong.
static void checkAttentionBackward(const ExportedProgram &program, const Node &node) {
  const TensorMeta *query = findTensorArgument(program, node, "query"), *rows = findTensorArgument(program, node, "logsumexp");
  if (!query || !rows || query->sizes.size() != 4)
    return;
  size_t rank = rows->sizes.size();
  bool perRow = rank == 3 || (rank == 4 && rows->sizes[3].value == 1);
  // Some kernels pad the rows.
  if (perRow && rows->sizes[0].value == query->sizes[0].value && rows->sizes[1].value == query->sizes[1].value &&
      rows->sizes[2].value >= query->sizes[2].value)
    return;
  TensorMeta expected = *query;
  expected.sizes.pop_back();
  throw ImportError(absl::StrCat("model.json: node '", node.outputs.empty() ? "" : node.outputs[0].str(), "' (", node.target.str(),
                                 ") gets a logsumexp of shape ", shapeText(*rows), ", expected ", shapeText(expected),
                                 ", so the exported gradients are wrong; export the forward and backward again under "
                                 "torch.nn.attention.sdpa_kernel(SDPBackend.MATH)"));
}

// Names of everything that the named values depend on, themselves included.
static llvm::DenseSet<llvm::StringRef> dependencies(const Graph &graph, std::vector<llvm::StringRef> names) {
  llvm::DenseMap<llvm::StringRef, const Node *> producers;
  producers.reserve(graph.nodes.size());
  for (const Node &node : graph.nodes) {
    for (llvm::StringRef output : node.outputs)
      producers[output] = &node;
    for (llvm::StringRef output : node.symbolOutputs)
      producers[output] = &node;
  }
  llvm::DenseSet<llvm::StringRef> found;
  while (!names.empty()) {
    llvm::StringRef name = names.back();
    names.pop_back();
    auto producer = producers.find(name);
    if (!found.insert(name).second || producer == producers.end())
      continue;
    for (const Argument &argument : producer->second->arguments) {
      names.insert(names.end(), argument.tensors.begin(), argument.tensors.end());
      for (const Size &size : argument.ints)
        if (!size.symbol.empty())
          names.push_back(size.symbol);
    }
  }
  return found;
}

static void keepForward(ExportedProgram &program) {
  std::vector<llvm::StringRef> roots;
  unsigned losses = 0;
  for (const OutputSpec &spec : program.outputs) {
    losses += spec.kind == "loss_output";
    if (spec.kind == "loss_output" || spec.kind == "buffer_mutation")
      roots.push_back(spec.argument);
  }
  if (losses != 1)
    throw ImportError(absl::StrCat("model.json: the graph carries gradients and ", losses,
                                   " of its outputs are marked as the loss, expected 1; export the graph again"));
  llvm::erase_if(program.outputs, [](const OutputSpec &spec) { return spec.kind != "loss_output" && spec.kind != "buffer_mutation"; });
  auto needed = dependencies(program.graph, std::move(roots));
  auto isNeeded = [&](llvm::StringRef name) { return needed.contains(name); };
  llvm::erase_if(program.graph.nodes,
                 [&](const Node &node) { return llvm::none_of(node.outputs, isNeeded) && llvm::none_of(node.symbolOutputs, isNeeded); });
  // What only the backward reads of a node, such as the places where a pool found its maxima.
  for (Node &node : program.graph.nodes)
    for (llvm::StringRef &output : node.outputs)
      if (!isNeeded(output))
        output = {};
}

bool moai::separateForward(ExportedProgram &program) {
  if (llvm::none_of(program.outputs, [](const OutputSpec &spec) { return spec.kind == "gradient_to_parameter"; }))
    return false;
  takeGradients(program);
  for (const Node &node : program.graph.nodes)
    if (node.target.contains("scaled_dot_product") && node.target.contains("_backward"))
      checkAttentionBackward(program, node);
  keepForward(program);
  return true;
}
