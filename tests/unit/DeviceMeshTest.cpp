// Ranks, coordinates and groups of random meshes, against lists of all devices.
#include "moai/Plan/DeviceMesh.h"
#include "gmock/gmock.h"
#include <map>
#include <random>
#include <set>

using namespace moai;
using ::testing::HasSubstr;

namespace {
using Sizes = std::vector<std::pair<MeshAxis, int64_t>>;

AxisSet randomAxes(std::mt19937 &random) {
  AxisSet axes;
  for (unsigned i = 0; i < kNumMeshAxes; ++i)
    if (random() % 2)
      axes = axes | static_cast<MeshAxis>(i);
  return axes;
}

Sizes randomSizes(std::mt19937 &random) {
  Sizes sizes;
  for (unsigned i = 0; i < kNumMeshAxes; ++i)
    if (random() % 4)
      sizes.push_back({static_cast<MeshAxis>(i), 1 + static_cast<int64_t>(random() % 4)});
  std::shuffle(sizes.begin(), sizes.end(), random);
  return sizes;
}

/// Every device's coordinates, by rank: the last axis counts fastest.
std::vector<DeviceMesh::Coordinates> listDevices(const Sizes &sizes) {
  std::vector<DeviceMesh::Coordinates> devices{{}};
  for (auto [axis, size] : sizes) {
    std::vector<DeviceMesh::Coordinates> finer;
    for (const DeviceMesh::Coordinates &device : devices)
      for (int64_t i = 0; i < size; ++i) {
        finer.push_back(device);
        finer.back()[static_cast<unsigned>(axis)] = i;
      }
    devices = std::move(finer);
  }
  return devices;
}

/// Ranks by what their groups have in common: the coordinates along all other axes.
std::map<DeviceMesh::Coordinates, llvm::SmallVector<int64_t>> listGroups(const std::vector<DeviceMesh::Coordinates> &devices,
                                                                         AxisSet axes) {
  std::map<DeviceMesh::Coordinates, llvm::SmallVector<int64_t>> groups;
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    DeviceMesh::Coordinates others = devices[rank];
    for (unsigned i = 0; i < kNumMeshAxes; ++i)
      if (axes.contains(static_cast<MeshAxis>(i)))
        others[i] = 0;
    groups[others].push_back(static_cast<int64_t>(rank));
  }
  return groups;
}

TEST(DeviceMesh, RanksAndCoordinates) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    Sizes sizes = randomSizes(random);
    DeviceMesh mesh(sizes);
    std::vector<DeviceMesh::Coordinates> devices = listDevices(sizes);
    ASSERT_EQ(mesh.numDevices(), static_cast<int64_t>(devices.size()));
    for (size_t rank = 0; rank < devices.size(); ++rank) {
      EXPECT_EQ(mesh.coordinatesOf(rank), devices[rank]);
      EXPECT_EQ(mesh.rankOf(devices[rank]), static_cast<int64_t>(rank));
    }
  }
}

TEST(DeviceMesh, GroupsPartitionTheDevices) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 300; ++trial) {
    Sizes sizes = randomSizes(random);
    DeviceMesh mesh(sizes);
    AxisSet axes = randomAxes(random);
    for (const auto &[others, group] : listGroups(listDevices(sizes), axes)) {
      EXPECT_EQ(mesh.size(axes), static_cast<int64_t>(group.size()));
      for (size_t place = 0; place < group.size(); ++place) {
        EXPECT_EQ(mesh.membersOf(group[place], axes), group);
        EXPECT_EQ(mesh.placeIn(group[place], axes), static_cast<int64_t>(place));
        EXPECT_EQ(mesh.memberAt(group[random() % group.size()], axes, static_cast<int64_t>(place)), group[place]);
      }
    }
  }
}

// Where blocks begin anywhere in a node the shape is exact; few blocks may miss the worst place.
TEST(DeviceMesh, GroupsOnNodes) {
  std::mt19937 random(3);
  int tight = 0;
  constexpr int kTrials = 500;
  for (int trial = 0; trial < kTrials; ++trial) {
    Sizes sizes = randomSizes(random);
    DeviceMesh mesh(sizes);
    AxisSet axes = randomAxes(random);
    int64_t perNode = 1 + static_cast<int64_t>(random() % 9);
    size_t most = 0;
    for (const auto &[others, group] : listGroups(listDevices(sizes), axes)) {
      std::set<int64_t> nodes;
      for (int64_t rank : group)
        nodes.insert(rank / perNode);
      most = std::max(most, nodes.size());
    }
    NodeShape shape = placeOnNodes(mesh.shapeOf(axes), mesh.numDevices(), perNode);
    EXPECT_LE(static_cast<int64_t>(most), shape.nodes);
    tight += static_cast<int64_t>(most) == shape.nodes;
  }
  EXPECT_GT(tight, kTrials * 8 / 10);
}

TEST(DeviceMesh, NeighboursOnOtherNodes) {
  std::mt19937 random(4);
  for (int trial = 0; trial < 300; ++trial) {
    Sizes sizes = randomSizes(random);
    DeviceMesh mesh(sizes);
    auto axis = static_cast<MeshAxis>(random() % kNumMeshAxes);
    int64_t perNode = 1 + static_cast<int64_t>(random() % 9);
    for (int64_t place = 0; place + 1 < mesh.size(axis); ++place) {
      bool crosses = false;
      for (DeviceMesh::Coordinates device : listDevices(sizes)) {
        if (device[static_cast<unsigned>(axis)] != place)
          continue;
        int64_t rank = mesh.rankOf(device);
        ++device[static_cast<unsigned>(axis)];
        crosses |= rank / perNode != mesh.rankOf(device) / perNode;
      }
      EXPECT_EQ(mesh.crossesNodes(axis, place, perNode), crosses);
    }
  }
}

TEST(DeviceMesh, OfAConfiguration) {
  DeviceMesh mesh(*parseConfig("num_stages=2,data_parallel=6,zero=1"));
  EXPECT_EQ(mesh.numDevices(), 12);
  EXPECT_EQ(mesh.devicesPerStage(), 6);
  EXPECT_EQ(mesh.firstOfStage(1), 6);
  EXPECT_EQ(mesh.stageOf(8), 1);
  EXPECT_EQ(mesh.replicaOf(8), 2);
  EXPECT_EQ(mesh.membersOf(8, AxisSet::data()), (llvm::SmallVector<int64_t>{6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(mesh.membersOf(8, MeshAxis::Stage), (llvm::SmallVector<int64_t>{2, 8}));
  EXPECT_EQ(mesh.shapeOf(AxisSet::data()).interleaved(), 1);
  EXPECT_EQ(mesh.shapeAlong(MeshAxis::Stage, 2).interleaved(), 6);

  // Experts that the data can't hold are split over the context.
  DeviceMesh experts(*parseConfig("data_parallel=6,context_parallel=2,tensor_parallel=3,expert_parallel=4"));
  EXPECT_EQ(experts.numDevices(), 36);
  EXPECT_EQ(experts.size(MeshAxis::Expert), 2);
  EXPECT_EQ(experts.numReplicas(), 6);
  EXPECT_EQ(DeviceMesh(*parseConfig("num_stages=4611686018427387904,data_parallel=4611686018427387904")).numDevices(), INT64_MAX);
}

TEST(DeviceMesh, AxesHaveNames) {
  EXPECT_EQ(toString(AxisSet::data()), "data");
  EXPECT_EQ(toString(AxisSet::data() | MeshAxis::Tensor | MeshAxis::Stage), "stage, data, tensor");
  EXPECT_EQ(toString(AxisSet(MeshAxis::Shard) | MeshAxis::Expert), "shard, expert");
  std::mt19937 random(5);
  for (int trial = 0; trial < 100; ++trial)
    if (AxisSet axes = randomAxes(random); !axes.isEmpty())
      EXPECT_EQ(*parseAxisSet(toString(axes)), axes);
  EXPECT_THAT(parseAxisSet("data, shrad").status().message(), HasSubstr("'shrad' is no axis, expected data, stage,"));
  EXPECT_THAT(parseAxisSet("data, shard").status().message(), HasSubstr("axis 'shard' is given twice"));
}
} // namespace
