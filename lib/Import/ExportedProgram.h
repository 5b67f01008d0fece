//===- ExportedProgram.h - torch.export's JSON as plain values -------------===//
#ifndef MOAI_LIB_IMPORT_EXPORTEDPROGRAM_H
#define MOAI_LIB_IMPORT_EXPORTEDPROGRAM_H

#include "absl/status/statusor.h"
#include "simdjson.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <memory>
#include <string>
#include <vector>

namespace moai::pt2 {

/// Element types by torch.export's own numbers (its serde enum, not c10's).
enum class DType : uint8_t {
  U8 = 1,
  I8 = 2,
  I16 = 3,
  I32 = 4,
  I64 = 5,
  F16 = 6,
  F32 = 7,
  F64 = 8,
  C32 = 9,
  C64 = 10,
  C128 = 11,
  Bool = 12,
  BF16 = 13,
  U16 = 28,
  F8E4M3FN = 29,
  F8E5M2 = 30,
  F8E4M3FNUZ = 31,
  F8E5M2FNUZ = 32,
};
bool isFloating(DType type);

/// A size: a number, or a symbolic value with the number it had at export.
struct Size {
  int64_t value = 0;      ///< the number, or the hint
  llvm::StringRef symbol; ///< name of a symbolic int, or a sympy expression; empty for a number
};

struct TensorMeta {
  DType dtype = DType::F32;
  llvm::SmallVector<Size, 4> sizes;
  bool requiresGrad = true; ///< whether a step wants its gradient; decides something for parameters only
};

struct Graph;

/// One argument of a node; which fields hold something follows from `kind`.
struct Argument {
  enum class Kind : uint8_t { None, Tensor, Tensors, Int, Ints, Float, Floats, Bool, String, DType, SymInt, SymInts, Graph, Other };
  llvm::StringRef name;
  Kind kind = Kind::None;
  llvm::SmallVector<llvm::StringRef, 1> tensors; ///< names; empty string for a missing optional
  llvm::SmallVector<Size, 4> ints;               ///< Int, Ints, SymInt, SymInts, Bool (0 or 1), DType
  llvm::SmallVector<double, 1> floats;
  llvm::StringRef text;
  std::shared_ptr<Graph> graph;
};

struct Node {
  llvm::StringRef target; ///< without the leading "torch.ops."
  llvm::StringRef path;   ///< module path, e.g. model.layers.0.mlp
  std::vector<Argument> arguments;
  llvm::SmallVector<llvm::StringRef, 1> outputs; ///< tensors; empty string where an output is none
  llvm::SmallVector<llvm::StringRef, 0> symbolOutputs;
};

struct Graph {
  std::vector<Argument> inputs;
  std::vector<Argument> outputs;
  std::vector<Node> nodes;
  llvm::DenseMap<llvm::StringRef, TensorMeta> tensors;
};

struct InputSpec {
  enum class Kind : uint8_t { Parameter, Buffer, Constant, User, Other };
  Kind kind = Kind::Other;
  llvm::StringRef argument; ///< name in the graph; empty for constants that aren't tensors
  llvm::StringRef name;     ///< the framework's name
  bool trained = true;      ///< of parameters: whether a step has a gradient for it
};

struct OutputSpec {
  llvm::StringRef kind; ///< user_output, loss_output, buffer_mutation, gradient_to_parameter, ...
  llvm::StringRef argument;
  llvm::StringRef target; ///< the buffer or parameter that a mutation or gradient is for
};

/// The whole program. Strings point into the parser, which lives as long as this object.
struct ExportedProgram {
  simdjson::dom::parser parser;
  Graph graph;
  std::vector<InputSpec> inputs;
  std::vector<OutputSpec> outputs;
  std::vector<std::string> warnings;
};

/// Parses model.json. `file` names the archive in messages.
absl::StatusOr<std::unique_ptr<ExportedProgram>> parseExportedProgram(const simdjson::padded_string &json, llvm::StringRef file);

} // namespace moai::pt2

#endif // MOAI_LIB_IMPORT_EXPORTEDPROGRAM_H
