//===- BenchModel.h - Graphs that are measured -----------------------------===//
#ifndef MOAI_BENCH_BENCHMODEL_H
#define MOAI_BENCH_BENCHMODEL_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Import.h"
#include <cstdio>
#include <cstdlib>

namespace moai {

class BenchContext : public mlir::MLIRContext {
public:
  BenchContext() : mlir::MLIRContext(Threading::DISABLED) { loadDialect<MoaiDialect, mlir::func::FuncDialect>(); }
};

/// The value, or the end of the process with the reason.
template <typename T> T orDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", std::string(value.status().message()).c_str());
    std::exit(1);
  }
  return std::move(*value);
}

inline void orDie(const absl::Status &status) {
  if (!status.ok())
    orDie(absl::StatusOr<int>(status));
}

} // namespace moai

#endif // MOAI_BENCH_BENCHMODEL_H
