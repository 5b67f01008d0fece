//===- Hardware.h - Facts about devices and how they are joined -------------===//
#ifndef MOAI_COSTMODEL_HARDWARE_H
#define MOAI_COSTMODEL_HARDWARE_H

#include "absl/status/statusor.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/JSON.h"
#include <cstdint>
#include <string>
#include <vector>

namespace moai {

/// What one device does. The first group is vendor data, the second are constants of the cost model; the database
/// (cost_model/hardware.json) gives a source for each.
struct Device {
  std::string name;
  double peakLowPrecisionFlops = 0; ///< dense bf16 FLOP/s (V100: fp16)
  double peakFloat32Flops = 0;      ///< FLOP/s of fp32 matmuls without TF32
  double memoryBandwidth = 0;       ///< bytes/s, nominal
  int64_t memoryBytes = 0;          ///< what a program can see, at most

  double gemmEfficiency = 0;        ///< of the peak, in time = flops / (e peak) + bytes / (beta BW) + t0
  double gemmBandwidthFactor = 0;   ///< beta; above 1, as operands partly come from cache
  double gemmOverheadSeconds = 0;   ///< t0
  double attentionEfficiency = 0;   ///< of the peak, for fused attention
  double streamEfficiency = 0;      ///< of the memory bandwidth, for memory-bound kernels
  double kernelOverheadSeconds = 0; ///< per kernel that is not a matmul
  double kernelWorkspaceBytes = 0;  ///< that a framework sets aside for the library of matrix products
};

/// A connection in one direction. Seconds of a message: latencySeconds + bytes / bytesPerSecond.
struct Link {
  double latencySeconds = 0; ///< of one hop
  double bytesPerSecond = 0; ///< usable, not nominal
};

/// A number of equal devices in equal nodes. Device i is on node i / devicesPerNode.
struct Accelerator {
  std::string name; ///< as listed: `4xLarge.2048GB`, `H100-SXM:64`
  Device device;
  int64_t numDevices = 1;
  int64_t devicesPerNode = 1;
  Link intraNode;                       ///< latency of a ring's hop inside a node; nccl-tests' bus bandwidth of a full node
  Link interNode;                       ///< latency of a hop between nodes; bytesPerSecond is of all NICs of a node together
  double allReduceBytesPerSecond = 0;   ///< bus bandwidth of all-reduces in a node: above intraNode's where switches add
  double collectiveOverheadSeconds = 0; ///< of any collective, before its first hop
  bool meshIntraNode = false;           ///< groups of g devices use g-1 of a device's devicesPerNode-1 links

  /// Full nodes, at least one: 12 devices of 8 per node count as one. MoAI bounds its stages by this.
  int64_t numNodes() const { return numDevices < 2 * devicesPerNode ? 1 : numDevices / devicesPerNode; }
  int64_t nodeOf(int64_t deviceIndex) const { return deviceIndex / devicesPerNode; }
};

/// Reads an accelerator:
///  - a MoAI flavor, with or without its memory: `4xLarge.2048GB`, `4xlarge`;
///  - `NAME:COUNT` (or `NAME` for one) of the database, by name or alias: `h100:64`. MI250 and MI250X count GCDs, two to
///    a package;
///  - a path ending in `.json`: one object with the fields of a device of cost_model/hardware.json (a `base` naming a
///    database device gives the fields left out) and `count`, the number of devices.
/// Case is ignored in names. InvalidArgument with the nearest name if there is none such, or the count is not
/// in 1 ... 1,000,000; NotFound for a missing file.
absl::StatusOr<Accelerator> resolveAccelerator(llvm::StringRef spec);

/// Names of MoAI's flavors, from the smallest to the largest.
std::vector<std::string> listFlavors();

/// An aligned table of flavors and devices, a line each.
std::string listAccelerators();

/// All fields; keys as in cost_model/hardware.json where it has them, `usable_nic_gbps_per_node` for interNode.
llvm::json::Object toJSON(const Accelerator &accelerator);

} // namespace moai

#endif // MOAI_COSTMODEL_HARDWARE_H
