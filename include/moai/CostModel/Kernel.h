//===- Kernel.h - Seconds of one op on one device ---------------------------===//
#ifndef MOAI_COSTMODEL_KERNEL_H
#define MOAI_COSTMODEL_KERNEL_H

#include "moai/CostModel/Hardware.h"
#include "moai/Plan/Work.h"

namespace moai {

/// Seconds of an op, by kind:
///  - View: 0;
///  - Matmul: flops / (gemmEfficiency peak) + bytes / (gemmBandwidthFactor BW) + gemmOverhead. Additive, not the
///    larger of both: on 35,000 measured shapes per GPU (NVIDIA aiconfigurator, m >= 1024) this form is within 5-6 %
///    on A100 to B200, a maximum no better;
///  - Attention: flops / (attentionEfficiency peak) + bytes / (streamEfficiency BW) + kernelOverhead;
///  - Memory: bytes / (streamEfficiency BW) + kernelOverhead; flops are free.
/// The peak is bf16's where lowPrecision, else fp32's. An op without work costs 0: no flops and no bytes, or a Memory op
/// without bytes.
double kernelSeconds(const OpWork &work, const Device &device);

} // namespace moai

#endif // MOAI_COSTMODEL_KERNEL_H
