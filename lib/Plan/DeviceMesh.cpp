//===- DeviceMesh.cpp - Where devices stand --------------------------------===//
#include "moai/Plan/DeviceMesh.h"
#include "absl/strings/str_cat.h"
#include "moai/Plan/Dim.h"
#include "llvm/ADT/STLExtras.h"
#include <numeric>

using namespace moai;

static constexpr const char *kAxisNames[kNumMeshAxes] = {"stage", "replicate", "shard", "expert", "context", "tensor"};
static constexpr const char *kDataName = "data";

//===----------------------------------------------------------------------===//
// Sets of axes
//===----------------------------------------------------------------------===//

std::string moai::toString(AxisSet axes) {
  std::string text;
  bool hasData = (axes | AxisSet::data()) == axes;
  for (unsigned i = 0; i < kNumMeshAxes; ++i) {
    auto axis = static_cast<MeshAxis>(i);
    bool isData = hasData && AxisSet::data().contains(axis);
    if (axes.contains(axis) && (!isData || axis == MeshAxis::Replicate))
      absl::StrAppend(&text, text.empty() ? "" : ", ", isData ? kDataName : kAxisNames[i]);
  }
  return text;
}

static std::optional<AxisSet> axesNamed(llvm::StringRef name) {
  if (name == kDataName)
    return AxisSet::data();
  for (unsigned i = 0; i < kNumMeshAxes; ++i)
    if (name == kAxisNames[i])
      return static_cast<MeshAxis>(i);
  return std::nullopt;
}

absl::StatusOr<AxisSet> moai::parseAxisSet(llvm::StringRef text) {
  AxisSet axes;
  llvm::SmallVector<llvm::StringRef> names;
  text.split(names, ',');
  for (llvm::StringRef name : names) {
    std::optional<AxisSet> named = axesNamed(name.trim());
    if (!named)
      return absl::InvalidArgumentError(absl::StrCat("'", name.trim().str(), "' is no axis, expected ", kDataName,
                                                     ", stage, replicate, shard, expert, context or tensor"));
    if ((axes | *named) == axes)
      return absl::InvalidArgumentError(absl::StrCat("axis '", name.trim().str(), "' is given twice"));
    axes = axes | *named;
  }
  return axes;
}

//===----------------------------------------------------------------------===//
// Ranks
//===----------------------------------------------------------------------===//

DeviceMesh::DeviceMesh(AxisSizes outermostFirst) {
  sizes.fill(1);
  strides.fill(1);
  int64_t inside = 1;
  for (auto [axis, size] : llvm::reverse(outermostFirst)) {
    order.insert(order.begin(), axis);
    sizes[static_cast<unsigned>(axis)] = size;
    strides[static_cast<unsigned>(axis)] = inside;
    inside = saturatingMultiply(inside, size);
  }
}

static DeviceMesh meshOf(const ParallelConfig &config) {
  int64_t expert = std::gcd(config.expertParallel, config.dataParallel), others = config.dataParallel / expert;
  return DeviceMesh({{MeshAxis::Stage, config.numStages},
                     {MeshAxis::Replicate, config.zero ? 1 : others},
                     {MeshAxis::Shard, config.zero ? others : 1},
                     {MeshAxis::Expert, expert},
                     {MeshAxis::Context, config.contextParallel},
                     {MeshAxis::Tensor, config.tensorParallel}});
}

DeviceMesh::DeviceMesh(const ParallelConfig &config) : DeviceMesh(meshOf(config)) {}

int64_t DeviceMesh::size(AxisSet axes) const {
  int64_t product = 1;
  for (MeshAxis axis : order)
    if (axes.contains(axis))
      product = saturatingMultiply(product, sizes[static_cast<unsigned>(axis)]);
  return product;
}

DeviceMesh::Coordinates DeviceMesh::coordinatesOf(int64_t rank) const {
  Coordinates coordinates;
  for (unsigned i = 0; i < kNumMeshAxes; ++i)
    coordinates[i] = coordinateOf(rank, static_cast<MeshAxis>(i));
  return coordinates;
}

int64_t DeviceMesh::rankOf(const Coordinates &coordinates) const {
  int64_t rank = 0;
  for (unsigned i = 0; i < kNumMeshAxes; ++i)
    rank += coordinates[i] * strides[i];
  return rank;
}

//===----------------------------------------------------------------------===//
// Groups
//===----------------------------------------------------------------------===//

int64_t DeviceMesh::placeIn(int64_t rank, AxisSet axes) const {
  int64_t place = 0;
  for (MeshAxis axis : order)
    if (axes.contains(axis))
      place = place * sizes[static_cast<unsigned>(axis)] + coordinateOf(rank, axis);
  return place;
}

int64_t DeviceMesh::memberAt(int64_t rank, AxisSet axes, int64_t place) const {
  for (MeshAxis axis : llvm::reverse(order)) {
    if (!axes.contains(axis))
      continue;
    int64_t size = sizes[static_cast<unsigned>(axis)];
    rank += (place % size - coordinateOf(rank, axis)) * stride(axis);
    place /= size;
  }
  return rank;
}

llvm::SmallVector<int64_t> DeviceMesh::membersOf(int64_t rank, AxisSet axes) const {
  llvm::SmallVector<int64_t> members;
  for (int64_t place = 0, count = size(axes); place < count; ++place)
    members.push_back(memberAt(rank, axes, place));
  return members;
}

GroupShape DeviceMesh::shapeOf(AxisSet axes) const {
  GroupShape shape{size(axes), 1};
  for (MeshAxis axis : order)
    if (axes.contains(axis) && sizes[static_cast<unsigned>(axis)] > 1) {
      shape.extent = sizes[static_cast<unsigned>(axis)] * stride(axis);
      break;
    }
  return shape;
}

// A block that starts late in a node touches the most nodes; members that are further apart than nodes are large skip some.
NodeShape moai::placeOnNodes(const GroupShape &shape, int64_t numDevices, int64_t devicesPerNode) {
  int64_t common = std::gcd(shape.extent, devicesPerNode);
  int64_t allNodes = (numDevices + devicesPerNode - 1) / devicesPerNode;
  int64_t blockNodes = std::min(allNodes, (devicesPerNode - common + shape.extent - 1) / devicesPerNode + 1);
  bool straddles = shape.extent % devicesPerNode != 0 && numDevices >= 2 * shape.extent;
  return {std::min(blockNodes, shape.size), std::min(shape.interleaved(), devicesPerNode) * (straddles ? 2 : 1)};
}

bool DeviceMesh::crossesNodes(MeshAxis axis, int64_t place, int64_t devicesPerNode) const {
  int64_t inside = stride(axis), block = inside * size(axis);
  for (int64_t first = place * inside; first < numDevices(); first += block)
    for (int64_t rank = first; rank < first + inside; ++rank)
      if (rank / devicesPerNode != (rank + inside) / devicesPerNode)
        return true;
  return false;
}
