//===- Collective.h - Seconds of communication between devices --------------===//
#ifndef MOAI_COSTMODEL_COLLECTIVE_H
#define MOAI_COSTMODEL_COLLECTIVE_H

#include "moai/CostModel/Hardware.h"
#include "moai/Plan/DeviceMesh.h"

namespace moai {

enum class CollectiveKind : uint8_t { AllGather, ReduceScatter, AllReduce, AllToAll };

/// Seconds of a collective of a group; the devices are tiled by groups of its shape, all of which run at the same time. `bytes` is the full
/// buffer, as nccl-tests count: the output of an all-gather, the input of a reduce-scatter, the buffer of an all-reduce, all that one
/// device sends (its own part included) in an all-to-all. 0 for a group of one or no bytes.
///
/// With n members, a ring takes n-1 steps and moves (n-1)/n of the bytes over each edge (all-reduce: twice both;
/// the factors are nccl-tests' bus bandwidth):
///    collectiveOverhead + hops x their latency + factor x bytes / bandwidth
///  - inside a node the bandwidth is intraNode's (all-reduce: allReduceBytesPerSecond), times
///    (n-1)/(devicesPerNode-1) on a full mesh;
///  - over N nodes a ring enters and leaves each node once, so all of a node's NICs serve it, shared by the groups that
///    cross there (those interleaved; twice as many where groups straddle node boundaries): the smaller of both
///    bandwidths counts. N hops cross nodes (all-reduce: 2 N) and pay interNode's latency;
///  - in an all-to-all over nodes the parts for other nodes leave through the NICs in the same way.
/// Trees are not modelled: small all-reduces over many nodes come out too slow.
double collectiveSeconds(CollectiveKind kind, double bytes, const GroupShape &group, const Accelerator &accelerator);

/// Seconds from a device of one stage to its peer in the next. Where that crosses nodes, every device of the node
/// sends at once and gets its share of the node's NICs.
double sendSeconds(double bytes, bool crossesNode, const Accelerator &accelerator);

} // namespace moai

#endif // MOAI_COSTMODEL_COLLECTIVE_H
