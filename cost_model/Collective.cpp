//===- Collective.cpp - Seconds of communication between devices ------------===//
#include "moai/CostModel/Collective.h"
#include <algorithm>

using namespace moai;

double moai::collectiveSeconds(CollectiveKind kind, double bytes, const GroupShape &group, const Accelerator &accelerator) {
  if (group.size <= 1 || bytes <= 0)
    return 0;
  const int64_t perNode = accelerator.devicesPerNode;
  const bool allReduce = kind == CollectiveKind::AllReduce;
  const double n = group.size;
  const double passes = allReduce ? 2 : 1; // a ring all-reduce is a reduce-scatter and an all-gather
  const double movedBytes = passes * (n - 1) / n * bytes;
  const double intraBandwidth = allReduce ? accelerator.allReduceBytesPerSecond : accelerator.intraNode.bytesPerSecond;

  const NodeShape shape = placeOnNodes(group, accelerator.numDevices, perNode);
  if (shape.nodes <= 1) {
    double share = accelerator.meshIntraNode ? (n - 1) / std::max<double>(perNode - 1, 1) : 1;
    return accelerator.collectiveOverheadSeconds + passes * (n - 1) * accelerator.intraNode.latencySeconds +
           movedBytes / (intraBandwidth * std::min(share, 1.0));
  }

  const double nodes = static_cast<double>(shape.nodes);
  const double nicBandwidth = accelerator.interNode.bytesPerSecond / static_cast<double>(shape.groupsPerNode);
  const double crossing = std::min(nodes, n - 1);
  const double latency = accelerator.collectiveOverheadSeconds + passes * (crossing * accelerator.interNode.latencySeconds +
                                                                           (n - 1 - crossing) * accelerator.intraNode.latencySeconds);
  if (kind == CollectiveKind::AllToAll) {
    const double members = n / nodes; // of the group in one node
    const double leaving = members * bytes * (n - members) / n;
    const double staying = bytes * (members - 1) / n;
    return latency + std::max(leaving / nicBandwidth, staying / intraBandwidth);
  }
  return latency + movedBytes / std::min(intraBandwidth, nicBandwidth);
}

double moai::sendSeconds(double bytes, bool crossesNode, const Accelerator &accelerator) {
  if (bytes <= 0)
    return 0;
  if (crossesNode)
    return accelerator.interNode.latencySeconds +
           bytes / (accelerator.interNode.bytesPerSecond / std::min(accelerator.devicesPerNode, accelerator.numDevices));
  double bandwidth = accelerator.intraNode.bytesPerSecond;
  if (accelerator.meshIntraNode)
    bandwidth /= std::max<int64_t>(accelerator.devicesPerNode - 1, 1);
  return accelerator.intraNode.latencySeconds + bytes / bandwidth;
}
