//===- MoaiDialect.cpp - Registration, types and attributes ----------------===//
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "moai/IR/Gradient.h"
#include "moai/IR/Moai.h"
#include "moai/Plan/OptimizerPolicy.h"
#include "moai/Plan/ParallelConfig.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moai;

#include "moai/IR/MoaiDialect.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "moai/IR/MoaiTypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "moai/IR/MoaiAttrs.cpp.inc"
#include "moai/IR/MoaiInterfaces.cpp.inc"

namespace {
/// A module's optimizer is spelled once, as #optimizer.
struct AsmInterface : public OpAsmDialectInterface {
  using OpAsmDialectInterface::OpAsmDialectInterface;
  AliasResult getAlias(Attribute attribute, raw_ostream &os) const override {
    if (!isa<OptimizerPolicyAttr>(attribute))
      return AliasResult::NoAlias;
    os << "optimizer";
    return AliasResult::FinalAlias;
  }
};
} // namespace

void MoaiDialect::initialize() {
  addInterfaces<AsmInterface>();
  addTypes<
#define GET_TYPEDEF_LIST
#include "moai/IR/MoaiTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "moai/IR/MoaiAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "moai/IR/MoaiOps.cpp.inc"
      >();
}

LogicalResult MoaiDialect::verifyOperationAttribute(Operation *op, NamedAttribute attribute) {
  if (attribute.getName() == attrs::kBinding) {
    auto values = dyn_cast<DenseI64ArrayAttr>(attribute.getValue());
    if (!values || values.size() != kNumDimSymbols)
      return op->emitOpError() << "attribute 'moai.binding' must be array<i64> with " << kNumDimSymbols << " values";
    for (int64_t value : values.asArrayRef())
      if (value < 1)
        return op->emitOpError() << "attribute 'moai.binding' must hold positive values, found " << value;
  } else if (attribute.getName() == attrs::kConfig && !isa<ConfigAttr>(attribute.getValue())) {
    return op->emitOpError("attribute 'moai.config' must be a #moai.config");
  } else if (attribute.getName() == attrs::kOptimizer && !isa<OptimizerPolicyAttr>(attribute.getValue())) {
    return op->emitOpError("attribute 'moai.optimizer' must be a #moai.optimizer");
  } else if (attribute.getName() == attrs::kStage) {
    auto stage = dyn_cast<IntegerAttr>(attribute.getValue());
    if (!stage || stage.getInt() < 0)
      return op->emitOpError("attribute 'moai.stage' must be an integer that is not negative");
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Dimensions
//===----------------------------------------------------------------------===//

SmallVector<Dim, 4> DimList::decode() const {
  SmallVector<Dim, 4> dims;
  size_t at = 1;
  for (unsigned i = 0, rank = getRank(); i < rank; ++i) {
    SmallVector<Dim::Term, 2> terms;
    for (int64_t n = packed[at++]; n; --n, at += 2)
      terms.push_back({static_cast<uint32_t>(packed[at]), packed[at + 1]});
    dims.push_back(Dim::fromTerms(terms));
  }
  return dims;
}

SmallVector<int64_t, 4> DimList::evaluate(const DimBinding &binding) const {
  SmallVector<int64_t, 4> sizes;
  size_t at = 1;
  for (unsigned i = 0, rank = getRank(); i < rank; ++i) {
    int64_t count = packed[at++];
    if (count == 1 && packed[at] == 0) { // a number, as most are
      sizes.push_back(packed[at + 1]);
      at += 2;
      continue;
    }
    SmallVector<Dim::Term, 2> terms;
    for (; count; --count, at += 2)
      terms.push_back({static_cast<uint32_t>(packed[at]), packed[at + 1]});
    sizes.push_back(Dim::fromTerms(terms).evaluate(binding));
  }
  return sizes;
}

SmallVector<int64_t, 16> DimList::encode(ArrayRef<Dim> dims) {
  SmallVector<int64_t, 16> packed{static_cast<int64_t>(dims.size())};
  for (const Dim &dim : dims) {
    packed.push_back(dim.getTerms().size());
    for (const Dim::Term &term : dim.getTerms()) {
      packed.push_back(term.powers);
      packed.push_back(term.coefficient);
    }
  }
  return packed;
}

DimBinding moai::getBinding(Operation *module) {
  DimBinding binding;
  if (auto values = module->getAttrOfType<DenseI64ArrayAttr>(attrs::kBinding))
    std::copy_n(values.asArrayRef().begin(), std::min<size_t>(kNumDimSymbols, values.size()), binding.values.begin());
  return binding;
}

void moai::setBinding(Operation *module, const DimBinding &binding) {
  module->setAttr(attrs::kBinding, DenseI64ArrayAttr::get(module->getContext(), binding.values));
}

std::optional<DeviceMesh> moai::getMesh(Operation *op) {
  for (; op; op = op->getParentOp())
    if (auto attribute = op->getAttrOfType<ConfigAttr>(attrs::kConfig))
      if (auto config = parseConfig(attribute.getText()); config.ok())
        return DeviceMesh(*config);
  return std::nullopt;
}

bool moai::isFloating(Type type) { return isa<FloatType, ComplexType>(type); }

//===----------------------------------------------------------------------===//
// !moai.tensor
//===----------------------------------------------------------------------===//

SymTensorType SymTensorType::get(MLIRContext *context, ArrayRef<Dim> shape, Type elementType) {
  return Base::get(context, DimList(DimList::encode(shape)), elementType);
}

LogicalResult SymTensorType::verify(function_ref<InFlightDiagnostic()> emitError, DimList dims, Type elementType) {
  for (auto [index, dim] : llvm::enumerate(dims.decode()))
    if (dim.isConstant() && dim.constant() < 0)
      return emitError() << "dimension " << index << " of a tensor must not be negative, found " << dim.str();
  if (!elementType.isIntOrFloat() && !llvm::isa<ComplexType>(elementType))
    return emitError() << "element type of a tensor must be an integer, float or complex type, found " << elementType;
  return success();
}

Type SymTensorType::parse(AsmParser &parser) {
  SmallVector<Dim> dims;
  Type elementType;
  auto parseDim = [&]() -> ParseResult {
    // Polynomials are spelled with tokens of MLIR's own lexer: keywords, integers, and `*`, `+`, `-`.
    std::string text;
    while (true) {
      StringRef keyword;
      int64_t number = 0;
      SMLoc at = parser.getCurrentLocation();
      if (succeeded(parser.parseOptionalKeyword(&keyword)))
        text += keyword;
      else if (auto parsed = parser.parseOptionalInteger(number); parsed.has_value()) {
        if (failed(*parsed))
          return failure();
        if (number < 0 && !text.empty())
          text += " - " + std::to_string(-number);
        else
          text += std::to_string(number);
      } else
        return parser.emitError(at, "expected a dimension such as `4096` or `b*s`");
      if (succeeded(parser.parseOptionalStar()))
        text += "*";
      else if (succeeded(parser.parseOptionalPlus()))
        text += "+";
      else if (succeeded(parser.parseOptionalKeyword("minus")))
        text += "-";
      else
        break;
    }
    std::optional<Dim> dim = Dim::parse(text);
    if (!dim)
      return parser.emitError(parser.getCurrentLocation()) << "'" << text << "' is not a dimension";
    dims.push_back(*dim);
    return success();
  };
  if (parser.parseLess() || parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseDim) || parser.parseComma() ||
      parser.parseType(elementType) || parser.parseGreater())
    return {};
  return parser.getChecked<SymTensorType>(parser.getContext(), DimList(DimList::encode(dims)), elementType);
}

void SymTensorType::print(AsmPrinter &printer) const {
  printer << "<[";
  llvm::interleaveComma(getShape(), printer, [&](const Dim &dim) {
    // MLIR's lexer has no binary minus between identifiers, so it is spelled out.
    std::string text = dim.str();
    for (size_t at; (at = text.find(" - ")) != std::string::npos;)
      text.replace(at, 3, " minus ");
    printer << text;
  });
  printer << "], " << getElementType() << ">";
}

int64_t SymTensorType::countElements(const DimBinding &binding) const {
  int64_t count = 1;
  for (int64_t size : getDims().evaluate(binding))
    count = saturatingMultiply(count, size);
  return count;
}

int64_t SymTensorType::countBytes(const DimBinding &binding) const {
  Type element = getElementType();
  int64_t width = 1;
  if (auto complex = llvm::dyn_cast<ComplexType>(element)) {
    width = 2;
    element = complex.getElementType();
  }
  width *= std::max<int64_t>(1, element.getIntOrFloatBitWidth() / 8);
  return saturatingMultiply(countElements(binding), width);
}

//===----------------------------------------------------------------------===//
// !moai.stack
//===----------------------------------------------------------------------===//

LogicalResult StackType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t count, SymTensorType) {
  if (count < 1)
    return emitError() << "a stack must hold at least one tensor, found " << count;
  return success();
}

//===----------------------------------------------------------------------===//
// #moai.config
//===----------------------------------------------------------------------===//

LogicalResult ConfigAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef text) {
  auto config = parseConfig(text);
  if (!config.ok())
    return emitError() << std::string(config.status().message());
  return success();
}

//===----------------------------------------------------------------------===//
// #moai.axes
//===----------------------------------------------------------------------===//

Attribute AxesAttr::parse(AsmParser &parser, Type) {
  std::string text;
  SMLoc at = parser.getCurrentLocation();
  auto parseAxis = [&]() -> ParseResult {
    StringRef name;
    if (parser.parseKeyword(&name))
      return failure();
    text += (text.empty() ? "" : ",") + name.str();
    return success();
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, parseAxis))
    return {};
  auto axes = parseAxisSet(text);
  if (!axes.ok()) {
    parser.emitError(at) << std::string(axes.status().message());
    return {};
  }
  return get(parser.getContext(), *axes);
}

void AxesAttr::print(AsmPrinter &printer) const { printer << "<" << toString(getValue()) << ">"; }

//===----------------------------------------------------------------------===//
// #moai.optimizer
//===----------------------------------------------------------------------===//

LogicalResult OptimizerPolicyAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef text) {
  auto policy = parseOptimizer(text);
  if (!policy.ok())
    return emitError() << std::string(policy.status().message());
  return success();
}
