//===- Kernel.cpp - Seconds of one op on one device -------------------------===//
#include "moai/CostModel/Kernel.h"

using namespace moai;

double moai::kernelSeconds(const OpWork &work, const Device &device) {
  double peak = work.lowPrecision ? device.peakLowPrecisionFlops : device.peakFloat32Flops;
  double streamBandwidth = device.streamEfficiency * device.memoryBandwidth;
  switch (work.kernel) {
  case OpKernel::View:
    return 0;
  case OpKernel::Matmul:
    if (work.flops <= 0 && work.bytes <= 0)
      return 0;
    return work.flops / (device.gemmEfficiency * peak) + work.bytes / (device.gemmBandwidthFactor * device.memoryBandwidth) +
           device.gemmOverheadSeconds;
  case OpKernel::Attention:
    if (work.flops <= 0 && work.bytes <= 0)
      return 0;
    return work.flops / (device.attentionEfficiency * peak) + work.bytes / streamBandwidth + device.kernelOverheadSeconds;
  case OpKernel::Memory:
    return work.bytes <= 0 ? 0 : work.bytes / streamBandwidth + device.kernelOverheadSeconds;
  }
  return 0;
}
