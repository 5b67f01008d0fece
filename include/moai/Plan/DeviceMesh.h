//===- DeviceMesh.h - Where devices stand ----------------------------------===//
#ifndef MOAI_PLAN_DEVICEMESH_H
#define MOAI_PLAN_DEVICEMESH_H

#include "absl/status/statusor.h"
#include "moai/Plan/ParallelConfig.h"
#include "llvm/ADT/Hashing.h"
#include <array>

namespace moai {

/// What a step is split by. Replicas of the data that keep everything whole (`Replicate`), that share the parameters and their states
/// (`Shard`) and that share the experts as well (`Expert`); positions of a sequence; parts of a layer's tensors.
enum class MeshAxis : uint8_t { Stage, Replicate, Shard, Expert, Context, Tensor };
inline constexpr unsigned kNumMeshAxes = 6;

/// Some of the axes: devices that differ along these alone are a group.
class AxisSet {
public:
  constexpr AxisSet() = default;
  constexpr AxisSet(MeshAxis axis) : bits(1u << static_cast<unsigned>(axis)) {}
  /// All that take different samples: replicate, shard and expert.
  static constexpr AxisSet data() { return AxisSet(MeshAxis::Replicate) | MeshAxis::Shard | MeshAxis::Expert; }

  constexpr bool contains(MeshAxis axis) const { return bits >> static_cast<unsigned>(axis) & 1; }
  constexpr bool isEmpty() const { return bits == 0; }
  constexpr AxisSet operator|(AxisSet other) const { return AxisSet(bits | other.bits); }
  constexpr AxisSet operator~() const { return AxisSet(~bits & ((1u << kNumMeshAxes) - 1)); }
  constexpr bool operator==(AxisSet other) const { return bits == other.bits; }
  constexpr bool operator!=(AxisSet other) const { return bits != other.bits; }
  friend llvm::hash_code hash_value(AxisSet axes) { return llvm::hash_value(axes.bits); }

private:
  explicit constexpr AxisSet(unsigned bits) : bits(bits) {}
  unsigned bits = 0;
};

/// `data`, `stage`, `context, tensor`: the axes in their order, `data` for its three.
std::string toString(AxisSet axes);
/// The same back, in any order. InvalidArgument for a name that is no axis's, and for one given twice.
absl::StatusOr<AxisSet> parseAxisSet(llvm::StringRef text);

/// A group as its links see it: so many members, spread evenly over a block of `extent` devices.
struct GroupShape {
  int64_t size, extent;

  GroupShape(int64_t size, int64_t extent) : size(size), extent(extent) {}
  /// Of contiguous devices.
  GroupShape(int64_t size) : GroupShape(size, size) {}
  /// Groups that share a block. Of a group with no others in between, the distance of neighbours.
  int64_t interleaved() const { return extent / size; }
};

/// Groups of one shape, which tile all devices, on nodes.
struct NodeShape {
  int64_t nodes = 1;         ///< that one of them touches, wherever it begins
  int64_t groupsPerNode = 1; ///< whose messages leave a node, where they touch more than one
};
NodeShape placeOnNodes(const GroupShape &shape, int64_t numDevices, int64_t devicesPerNode);

/// Devices are numbered along axes, the outermost first; a device's number is its rank. Nothing else computes one, or who is in a group.
class DeviceMesh {
public:
  using AxisSizes = llvm::ArrayRef<std::pair<MeshAxis, int64_t>>;
  /// Where a device stands along each axis.
  using Coordinates = std::array<int64_t, kNumMeshAxes>;

  /// Axes that aren't listed have a size of 1; none is listed twice.
  explicit DeviceMesh(AxisSizes outermostFirst = {});
  /// The stage outermost, so that stages are contiguous, then the data, the context and the tensor axis. The experts are split over as
  /// much of the data as they can be, and otherwise over the context.
  explicit DeviceMesh(const ParallelConfig &config);

  /// Both saturate at INT64_MAX.
  int64_t numDevices() const { return size(~AxisSet()); }
  int64_t size(AxisSet axes) const;

  Coordinates coordinatesOf(int64_t rank) const;
  int64_t rankOf(const Coordinates &coordinates) const;
  int64_t coordinateOf(int64_t rank, MeshAxis axis) const { return rank / stride(axis) % size(axis); }

  /// The group of a device, in the order of ranks.
  llvm::SmallVector<int64_t> membersOf(int64_t rank, AxisSet axes) const;
  /// A device's place among them.
  int64_t placeIn(int64_t rank, AxisSet axes) const;
  /// The member at a place.
  int64_t memberAt(int64_t rank, AxisSet axes, int64_t place) const;

  int64_t stageOf(int64_t rank) const { return coordinateOf(rank, MeshAxis::Stage); }
  /// Whose samples a device takes.
  int64_t replicaOf(int64_t rank) const { return placeIn(rank, AxisSet::data()); }
  int64_t numReplicas() const { return size(AxisSet::data()); }
  int64_t devicesPerStage() const { return size(~AxisSet(MeshAxis::Stage)); }
  int64_t firstOfStage(int64_t stage) const { return stage * stride(MeshAxis::Stage); }

  GroupShape shapeOf(AxisSet axes) const;
  /// Of so many neighbours along an axis.
  GroupShape shapeAlong(MeshAxis axis, int64_t count) const { return {count, count * stride(axis)}; }
  /// Whether any device at a place along an axis, and its peer at the next place, are on different nodes.
  bool crossesNodes(MeshAxis axis, int64_t place, int64_t devicesPerNode) const;

private:
  int64_t stride(MeshAxis axis) const { return strides[static_cast<unsigned>(axis)]; }

  llvm::SmallVector<MeshAxis, kNumMeshAxes> order; ///< outermost first
  std::array<int64_t, kNumMeshAxes> sizes, strides;
};

} // namespace moai

#endif // MOAI_PLAN_DEVICEMESH_H
