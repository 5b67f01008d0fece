//===- Work.h - What running one op costs, before any hardware is known ----===//
#ifndef MOAI_PLAN_WORK_H
#define MOAI_PLAN_WORK_H

#include <cstdint>

namespace moai {

/// The kind of kernel an op runs as. `View` runs nothing.
enum class OpKernel : uint8_t { View, Matmul, Attention, Memory };

/// Work of one op on one device.
struct OpWork {
  OpKernel kernel = OpKernel::View;
  double flops = 0;          ///< floating-point operations; matmuls count 2 m n k, attention is never halved for causality
  double bytes = 0;          ///< bytes read and written once each
  bool lowPrecision = false; ///< operands are 16 bits wide or narrower
};

} // namespace moai

#endif // MOAI_PLAN_WORK_H
