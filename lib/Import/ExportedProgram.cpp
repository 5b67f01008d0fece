//===- ExportedProgram.cpp - torch.export's JSON as plain values -----------===//
#include "ExportedProgram.h"
#include "ImportError.h"
#include "absl/strings/str_cat.h"
#include <cstdlib>
#include <limits>

using namespace moai;
using namespace moai::pt2;
using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::element_type;
using simdjson::dom::object;

// The only schema this reader understands; PyTorch raises it when old readers would misread a file.
static constexpr int64_t kSchemaMajor = 8;
static constexpr int64_t kKnownSchemaMinor = 20;
static constexpr unsigned kMaxGraphDepth = 32;
// No tensor of any model comes near 2^48 elements along one dimension.
static constexpr int64_t kMaxSize = int64_t(1) << 48;

static llvm::StringRef ref(std::string_view text) { return {text.data(), text.size()}; }

bool pt2::isFloating(DType type) {
  switch (type) {
  case DType::F16:
  case DType::F32:
  case DType::F64:
  case DType::BF16:
  case DType::C32:
  case DType::C64:
  case DType::C128:
  case DType::F8E4M3FN:
  case DType::F8E5M2:
  case DType::F8E4M3FNUZ:
  case DType::F8E5M2FNUZ:
    return true;
  default:
    return false;
  }
}

static const char *typeName(element value) {
  switch (value.type()) {
  case element_type::ARRAY:
    return "an array";
  case element_type::OBJECT:
    return "an object";
  case element_type::STRING:
    return "a string";
  case element_type::BOOL:
    return "a boolean";
  case element_type::NULL_VALUE:
    return "null";
  default:
    return "a number";
  }
}

namespace {
class Reader {
public:
  object asObject(element value, llvm::StringRef where) { return get<object>(value, where, "an object"); }
  array asArray(element value, llvm::StringRef where) { return get<array>(value, where, "an array"); }
  llvm::StringRef asString(element value, llvm::StringRef where) { return ref(get<std::string_view>(value, where, "a string")); }
  int64_t asInt(element value, llvm::StringRef where) { return get<int64_t>(value, where, "an integer"); }

  element member(object parent, const char *key, llvm::StringRef where) {
    element value;
    if (parent[key].get(value))
      throw ImportError(absl::StrCat("model.json: ", where.str(), " has no '", key, "'"));
    return value;
  }

  std::unique_ptr<Graph> readGraph(element value, unsigned depth);
  Argument readArgument(element value, llvm::StringRef where, unsigned depth);
  TensorMeta readTensor(element value, llvm::StringRef name);
  Node readNode(element value, size_t index, unsigned depth);
  void readSignature(element value, ExportedProgram &program);

private:
  template <typename T> T get(element value, llvm::StringRef where, const char *expected) {
    T result;
    if (value.get(result))
      throw ImportError(absl::StrCat("model.json: ", where.str(), " is ", typeName(value), ", expected ", expected));
    return result;
  }
  Size readSize(element value, llvm::StringRef where);
  /// The single key of a union, and its value.
  std::pair<llvm::StringRef, element> single(element value, llvm::StringRef where) {
    object fields = asObject(value, where);
    for (auto field : fields)
      return {ref(field.key), field.value};
    throw ImportError(absl::StrCat("model.json: ", where.str(), " is an empty object, expected one kind of argument"));
  }
  llvm::StringRef nameOf(element value, llvm::StringRef where) { return asString(member(asObject(value, where), "name", where), where); }
};
} // namespace

Size Reader::readSize(element value, llvm::StringRef where) {
  auto [kind, content] = single(value, where);
  Size size;
  if (kind == "as_int") {
    size.value = asInt(content, where);
  } else if (kind == "as_expr") {
    object expression = asObject(content, where);
    size.symbol = asString(member(expression, "expr_str", where), where);
    element hint;
    if (!expression["hint"].get(hint) && hint.type() == element_type::OBJECT)
      size.value = readSize(hint, where).value;
  } else if (kind == "as_name") {
    size.symbol = asString(content, where);
  } else {
    throw ImportError(absl::StrCat("model.json: ", where.str(), " is '", kind.str(), "', expected as_int, as_expr or as_name"));
  }
  return size;
}

TensorMeta Reader::readTensor(element value, llvm::StringRef name) {
  TensorMeta meta;
  auto where = [&] { return absl::StrCat("tensor '", name.str(), "'"); };
  object fields = asObject(value, name);
  int64_t dtype = asInt(member(fields, "dtype", name), name);
  if (!((dtype >= 1 && dtype <= 13) || (dtype >= 28 && dtype <= 32)))
    throw ImportError(absl::StrCat("model.json: ", where(), " has the unknown dtype ", dtype, "; known are 1 to 13 and 28 to 32"));
  meta.dtype = static_cast<DType>(dtype);
  int64_t elements = 1;
  for (element size : asArray(member(fields, "sizes", name), name)) {
    Size read = readSize(size, name);
    if (read.value < 0 || read.value > kMaxSize)
      throw ImportError(absl::StrCat("model.json: ", where(), " has a dimension of size ", read.value, "; expected 0 to 2^48"));
    if (__builtin_mul_overflow(elements, std::max<int64_t>(1, read.value), &elements) || elements > (int64_t(1) << 56))
      throw ImportError(absl::StrCat("model.json: ", where(), " has more than 2^56 elements"));
    meta.sizes.push_back(read);
  }
  if (meta.sizes.size() > 16)
    throw ImportError(absl::StrCat("model.json: ", where(), " has ", meta.sizes.size(), " dimensions; expected at most 16"));
  bool requiresGrad;
  meta.requiresGrad = fields["requires_grad"].get(requiresGrad) || requiresGrad;
  return meta;
}

Argument Reader::readArgument(element value, llvm::StringRef where, unsigned depth) {
  Argument argument;
  auto [kind, content] = single(value, where);
  using Kind = Argument::Kind;
  auto names = [&](element list) {
    for (element item : asArray(list, where))
      argument.tensors.push_back(nameOf(item, where));
  };
  if (kind == "as_tensor") {
    argument.kind = Kind::Tensor;
    argument.tensors.push_back(nameOf(content, where));
  } else if (kind == "as_tensors") {
    argument.kind = Kind::Tensors;
    names(content);
  } else if (kind == "as_optional_tensors") {
    argument.kind = Kind::Tensors;
    for (element item : asArray(content, where)) {
      auto [itemKind, itemValue] = single(item, where);
      argument.tensors.push_back(itemKind == "as_tensor" ? nameOf(itemValue, where) : llvm::StringRef());
    }
  } else if (kind == "as_optional_tensor") {
    auto [itemKind, itemValue] = single(content, where);
    argument.kind = itemKind == "as_tensor" ? Kind::Tensor : Kind::None;
    if (argument.kind == Kind::Tensor)
      argument.tensors.push_back(nameOf(itemValue, where));
  } else if (kind == "as_int") {
    argument.kind = Kind::Int;
    argument.ints.push_back({asInt(content, where), {}});
  } else if (kind == "as_ints") {
    argument.kind = Kind::Ints;
    for (element item : asArray(content, where))
      argument.ints.push_back({asInt(item, where), {}});
  } else if (kind == "as_float" || kind == "as_floats") {
    argument.kind = kind == "as_float" ? Kind::Float : Kind::Floats;
    auto number = [&](element item) {
      double parsed;
      if (item.type() == element_type::STRING) {
        // JSON has no infinities; torch writes their names.
        llvm::StringRef text = asString(item, where);
        if (text == "Infinity")
          return std::numeric_limits<double>::infinity();
        if (text == "-Infinity")
          return -std::numeric_limits<double>::infinity();
        if (text == "NaN")
          return std::numeric_limits<double>::quiet_NaN();
      }
      return item.get(parsed) ? throw ImportError(absl::StrCat("model.json: ", where.str(), " is ", typeName(item), ", expected a number"))
                              : parsed;
    };
    if (argument.kind == Kind::Float)
      argument.floats.push_back(number(content));
    else
      for (element item : asArray(content, where))
        argument.floats.push_back(number(item));
  } else if (kind == "as_bool") {
    argument.kind = Kind::Bool;
    argument.ints.push_back({get<bool>(content, where, "a boolean"), {}});
  } else if (kind == "as_string") {
    argument.kind = Kind::String;
    argument.text = asString(content, where);
  } else if (kind == "as_scalar_type") {
    argument.kind = Kind::DType;
    argument.ints.push_back({asInt(content, where), {}});
  } else if (kind == "as_sym_int") {
    argument.kind = Kind::SymInt;
    argument.ints.push_back(readSize(content, where));
  } else if (kind == "as_sym_ints") {
    argument.kind = Kind::SymInts;
    for (element item : asArray(content, where))
      argument.ints.push_back(readSize(item, where));
  } else if (kind == "as_graph") {
    argument.kind = Kind::Graph;
    object graph = asObject(content, where);
    argument.graph = readGraph(member(graph, "graph", where), depth + 1);
  } else if (kind == "as_none") {
    argument.kind = Kind::None;
  } else {
    argument.kind = Kind::Other;
    argument.text = kind;
  }
  return argument;
}

// The innermost frame's path of `key,path,type;key,path,type`.
static llvm::StringRef modulePath(llvm::StringRef stack) {
  llvm::StringRef frame = stack.rsplit(';').second;
  if (frame.empty())
    frame = stack;
  llvm::StringRef rest = frame.split(',').second;
  return rest.split(',').first;
}

Node Reader::readNode(element value, size_t index, unsigned depth) {
  std::string where = absl::StrCat("node ", index);
  object fields = asObject(value, where);
  Node node;
  node.target = asString(member(fields, "target", where), where);
  node.target.consume_front("torch.ops.");
  if (node.target.size() < 200)
    absl::StrAppend(&where, " (", node.target.str(), ")");
  for (element input : asArray(member(fields, "inputs", where), where)) {
    object named = asObject(input, where);
    Argument argument = readArgument(member(named, "arg", where), where, depth);
    element name;
    if (!named["name"].get(name) && name.type() == element_type::STRING)
      argument.name = asString(name, where);
    node.arguments.push_back(std::move(argument));
  }
  for (element output : asArray(member(fields, "outputs", where), where)) {
    Argument argument = readArgument(output, where, depth);
    if (argument.kind == Argument::Kind::Tensor || argument.kind == Argument::Kind::Tensors)
      node.outputs.append(argument.tensors.begin(), argument.tensors.end());
    else if (argument.kind == Argument::Kind::SymInt)
      node.symbolOutputs.push_back(argument.ints[0].symbol);
    else
      node.outputs.push_back({});
  }
  element metadata, stack;
  if (!fields["metadata"].get(metadata) && metadata.is_object() && !metadata["nn_module_stack"].get(stack) && stack.is_string())
    node.path = modulePath(asString(stack, where));
  return node;
}

std::unique_ptr<Graph> Reader::readGraph(element value, unsigned depth) {
  if (depth > kMaxGraphDepth)
    throw ImportError("model.json: graphs are nested more than 32 deep");
  auto graph = std::make_unique<Graph>();
  object fields = asObject(value, "graph");
  for (element input : asArray(member(fields, "inputs", "graph"), "graph.inputs"))
    graph->inputs.push_back(readArgument(input, "an input of the graph", depth));
  for (element output : asArray(member(fields, "outputs", "graph"), "graph.outputs"))
    graph->outputs.push_back(readArgument(output, "an output of the graph", depth));
  object tensors = asObject(member(fields, "tensor_values", "graph"), "graph.tensor_values");
  graph->tensors.reserve(tensors.size());
  for (auto field : tensors)
    graph->tensors.try_emplace(ref(field.key), readTensor(field.value, ref(field.key)));
  array nodes = asArray(member(fields, "nodes", "graph"), "graph.nodes");
  graph->nodes.reserve(nodes.size());
  for (element node : nodes)
    graph->nodes.push_back(readNode(node, graph->nodes.size(), depth));
  return graph;
}

void Reader::readSignature(element value, ExportedProgram &program) {
  object signature = asObject(value, "signature");
  for (element item : asArray(member(signature, "input_specs", "signature"), "input_specs")) {
    auto [kind, content] = single(item, "an input_spec");
    InputSpec spec;
    object fields = asObject(content, "an input_spec");
    auto named = [&](InputSpec::Kind specKind, const char *key) {
      spec.kind = specKind;
      spec.argument = nameOf(member(fields, "arg", kind), kind);
      spec.name = asString(member(fields, key, kind), kind);
    };
    if (kind == "parameter")
      named(InputSpec::Kind::Parameter, "parameter_name");
    else if (kind == "buffer")
      named(InputSpec::Kind::Buffer, "buffer_name");
    else if (kind == "tensor_constant")
      named(InputSpec::Kind::Constant, "tensor_constant_name");
    else if (kind == "user_input") {
      Argument argument = readArgument(member(fields, "arg", kind), kind, 0);
      if (argument.kind == Argument::Kind::Tensor) {
        spec.kind = InputSpec::Kind::User;
        spec.argument = spec.name = argument.tensors[0];
      }
    }
    if (auto meta = program.graph.tensors.find(spec.argument);
        spec.kind == InputSpec::Kind::Parameter && meta != program.graph.tensors.end())
      spec.trained = meta->second.requiresGrad;
    program.inputs.push_back(spec);
  }
  for (element item : asArray(member(signature, "output_specs", "signature"), "output_specs")) {
    OutputSpec spec;
    auto [kind, content] = single(item, "an output_spec");
    spec.kind = kind;
    element argument;
    if (content.is_object() && !content["arg"].get(argument) && argument.is_object()) {
      element name;
      if (!argument["name"].get(name) && name.is_string())
        spec.argument = asString(name, kind);
      else {
        Argument read = readArgument(argument, kind, 0);
        if (read.kind == Argument::Kind::Tensor)
          spec.argument = read.tensors[0];
      }
    }
    for (const char *key : {"parameter_name", "buffer_name"})
      if (element name; content.is_object() && !content[key].get(name) && name.is_string())
        spec.target = asString(name, kind);
    program.outputs.push_back(spec);
  }
}

absl::StatusOr<std::unique_ptr<ExportedProgram>> pt2::parseExportedProgram(const simdjson::padded_string &json, llvm::StringRef file) {
  auto program = std::make_unique<ExportedProgram>();
  auto fail = [&](llvm::StringRef what) { return absl::InvalidArgumentError(absl::StrCat(file.str(), ": ", what.str())); };
  element root;
  if (auto error = program->parser.parse(json).get(root))
    return fail(absl::StrCat("model.json is not valid JSON (", simdjson::error_message(error), "); the file is damaged or cut off"));
  try {
    Reader reader;
    object top = reader.asObject(root, "the document");
    object version = reader.asObject(reader.member(top, "schema_version", "the document"), "schema_version");
    int64_t major = reader.asInt(reader.member(version, "major", "schema_version"), "schema_version.major");
    int64_t minor = reader.asInt(reader.member(version, "minor", "schema_version"), "schema_version.minor");
    if (major != kSchemaMajor)
      return fail(absl::StrCat("has torch.export schema ", major, ".", minor, ", expected major ", kSchemaMajor,
                               "; export it again with PyTorch 2.9 or newer"));
    if (minor > kKnownSchemaMinor)
      program->warnings.push_back(absl::StrCat("schema ", major, ".", minor, " is newer than ", kSchemaMajor, ".", kKnownSchemaMinor,
                                               ", the newest known; what it added is ignored"));
    object module = reader.asObject(reader.member(top, "graph_module", "the document"), "graph_module");
    program->graph = std::move(*reader.readGraph(reader.member(module, "graph", "graph_module"), 0));
    reader.readSignature(reader.member(module, "signature", "graph_module"), *program);
  } catch (const ImportError &error) {
    return fail(error.what());
  }
  return program;
}
