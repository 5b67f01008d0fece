//===- HardwareTest.cpp - Facts about devices and how they are joined -------===//
#include "moai/CostModel/Hardware.h"
#include "gtest/gtest.h"
#include <fstream>

using namespace moai;

namespace {
std::string failure(llvm::StringRef spec) { return std::string(resolveAccelerator(spec).status().message()); }

TEST(Hardware, Flavors) {
  // MoAI Platform documentation: GPUs of a flavor are GCDs; MoAI counts whole nodes of eight.
  struct Case {
    const char *name;
    int64_t devices, nodes;
  } cases[] = {{"Small.64GB", 1, 1},         {"Medium.128GB", 2, 1},    {"Large.256GB", 4, 1},       {"xLarge.512GB", 8, 1},
               {"1.5xLarge.768GB", 12, 1},   {"2xLarge.1024GB", 16, 2}, {"3xLarge.1536GB", 24, 3},   {"4xLarge.2048GB", 32, 4},
               {"6xLarge.3072GB", 48, 6},    {"8xLarge.4096GB", 64, 8}, {"12xLarge.6144GB", 96, 12}, {"24xLarge.12288GB", 192, 24},
               {"48xLarge.24576GB", 384, 48}};
  for (const Case &c : cases) {
    absl::StatusOr<Accelerator> accelerator = resolveAccelerator(c.name);
    ASSERT_TRUE(accelerator.ok()) << accelerator.status();
    EXPECT_EQ(accelerator->name, c.name);
    EXPECT_EQ(accelerator->numDevices, c.devices);
    EXPECT_EQ(accelerator->numNodes(), c.nodes);
    EXPECT_EQ(accelerator->device.memoryBytes, int64_t(65520) << 20);
  }
  EXPECT_EQ(resolveAccelerator("4xlarge")->name, "4xLarge.2048GB");
  EXPECT_EQ(resolveAccelerator("1.5XLARGE")->numDevices, 12);
  EXPECT_EQ(resolveAccelerator("4xLarge")->nodeOf(15), 1);
}

TEST(Hardware, DatabaseByNameAndAlias) {
  absl::StatusOr<Accelerator> accelerator = resolveAccelerator("h100:64");
  ASSERT_TRUE(accelerator.ok()) << accelerator.status();
  EXPECT_EQ(accelerator->name, "H100-SXM:64");
  EXPECT_EQ(accelerator->numNodes(), 8);
  EXPECT_DOUBLE_EQ(accelerator->device.peakLowPrecisionFlops, 989.4e12);
  EXPECT_DOUBLE_EQ(accelerator->device.peakFloat32Flops, 66.9e12);
  EXPECT_DOUBLE_EQ(accelerator->device.memoryBandwidth, 3350e9);
  EXPECT_DOUBLE_EQ(accelerator->device.gemmEfficiency, 0.815);
  EXPECT_DOUBLE_EQ(accelerator->device.gemmOverheadSeconds, 3e-6);
  EXPECT_DOUBLE_EQ(accelerator->interNode.bytesPerSecond, 360e9); // 8 x 50 GB/s at 0.9
  EXPECT_FALSE(accelerator->meshIntraNode);
  EXPECT_TRUE(resolveAccelerator("mi300x:8")->meshIntraNode);
  EXPECT_EQ(resolveAccelerator("MI250-gcd")->numDevices, 1);
  EXPECT_EQ(resolveAccelerator("gb200:72")->numNodes(), 1);
  EXPECT_EQ(resolveAccelerator("h100:1000000")->numDevices, 1000000);
}

TEST(Hardware, EveryDeviceIsPlausible) {
  for (const char *name :
       {"MI210", "MI250-GCD", "MI250X-GCD", "MI300X", "MI325X", "MI355X", "V100-SXM-32GB", "A100-SXM-40GB", "A100-SXM-80GB", "H100-SXM",
        "H100-SXM-96GB-500W", "H200-SXM", "B200-SXM", "GB200-NVL72", "TPUv4", "TPUv5e", "TPUv5p", "TPUv6e"}) {
    absl::StatusOr<Accelerator> accelerator = resolveAccelerator(name);
    ASSERT_TRUE(accelerator.ok()) << accelerator.status();
    const Device &device = accelerator->device;
    EXPECT_EQ(device.name, name);
    EXPECT_GT(device.peakLowPrecisionFlops, device.peakFloat32Flops) << name;
    EXPECT_GT(device.memoryBytes, int64_t(15) << 30) << name;
    EXPECT_LT(device.memoryBytes, int64_t(300) << 30) << name;
    EXPECT_LT(accelerator->intraNode.bytesPerSecond, device.memoryBandwidth) << name;
    EXPECT_LT(accelerator->interNode.bytesPerSecond / accelerator->devicesPerNode, accelerator->intraNode.bytesPerSecond) << name;
    EXPECT_GE(accelerator->allReduceBytesPerSecond, accelerator->intraNode.bytesPerSecond) << name;
    EXPECT_NE(listAccelerators().find(std::string("\n  ") + name + " "), std::string::npos) << name;
  }
}

TEST(Hardware, RefusesWithASuggestion) {
  EXPECT_EQ(failure("h1000:8"), "unknown accelerator 'h1000:8', did you mean 'h100'? Expected a MoAI flavor, NAME:COUNT or a .json file");
  EXPECT_EQ(failure("4xLarg"), "unknown accelerator '4xLarg', did you mean '4xLarge'? Expected a MoAI flavor, NAME:COUNT or a .json file");
  for (const char *count : {"0", "-1", "1000001", "x", "", "8:8"})
    EXPECT_EQ(failure(std::string("h100:") + count), std::string("accelerator 'h100:") + count + "' has the device count '" + count +
                                                         "', expected a whole number from 1 to 1000000");
  EXPECT_FALSE(resolveAccelerator("").ok());
  EXPECT_EQ(resolveAccelerator("/nonexistent.json").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(failure("/nonexistent.json"), "accelerator file '/nonexistent.json' cannot be read: No such file or directory");
}

TEST(Hardware, Files) {
  std::string path = testing::TempDir() + "/moai_cluster.json";
  auto resolve = [&](const char *text) {
    std::ofstream(path) << text;
    return resolveAccelerator(path);
  };
  absl::StatusOr<Accelerator> accelerator =
      resolve(R"({"base": "h100", "count": 16, "nic_gbps_per_node": 100, "usable_memory_mib": 1024})");
  ASSERT_TRUE(accelerator.ok()) << accelerator.status();
  EXPECT_EQ(accelerator->name, "moai_cluster:16");
  EXPECT_EQ(accelerator->numNodes(), 2);
  EXPECT_EQ(accelerator->device.memoryBytes, 1 << 30);
  EXPECT_DOUBLE_EQ(accelerator->interNode.bytesPerSecond, 90e9);
  EXPECT_DOUBLE_EQ(accelerator->device.peakLowPrecisionFlops, 989.4e12);
  EXPECT_EQ(resolve(R"({"base": "h100", "count": 2, "name": "mine"})")->name, "mine:2");

  const std::string deep(200000, '[');
  struct Case {
    const char *text, *message;
  } cases[] = {
      {"{", "is not JSON: "},
      {deep.c_str(), "is not JSON: it nests deeper than 64 levels"},
      {R"({"base": "h100", "count": 1, "hbm_gbps": 1e308})", ": field 'hbm_gbps' is beyond what any device has; check its unit"},
      {R"({"base": "h100", "count": 1, "hbm_gbps": 1e-308})", ": field 'hbm_gbps' is beyond what any device has; check its unit"},
      {R"({"base": "h100", "count": 1, "kernel_workspace_mib": 1e300})", ": field 'kernel_workspace_mib' is beyond what any device has"},
      {"[]", " does not hold a JSON object, expected the fields of a device and 'count'"},
      {R"({"count": 2})", ": field 'peak_bf16_tflops' is missing; give it, or a 'base' device to take it from"},
      {R"({"base": "h100"})", ": field 'count' is missing, expected a whole number from 1 to 1000000"},
      {R"({"base": "h100", "count": 0})", ": field 'count' is not a whole number from 1 to 1000000"},
      {R"({"base": "h100", "count": 1.5})", ": field 'count' is not a whole number from 1 to 1000000"},
      {R"({"base": "hh100", "count": 1})", ": 'base' is 'hh100', which is no device of the database; did you mean 'h100'?"},
      {R"({"base": "h100", "count": 1, "hbm_gb": 3})", ": field 'hbm_gb' is unknown, did you mean 'hbm_gib'?"},
      {R"({"base": "h100", "count": 1, "hbm_gbps": 0})", ": field 'hbm_gbps' is not a number above 0"},
      {R"({"base": "h100", "count": 1, "hbm_gbps": "fast"})", ": field 'hbm_gbps' is not a number above 0"},
      {R"({"base": "h100", "count": 1, "gemm_overhead_us": -1})", ": field 'gemm_overhead_us' is not a number of at least 0"},
      {R"({"base": "h100", "count": 1, "gemm_efficiency": 81})", ": field 'gemm_efficiency' is above 1; efficiencies are fractions"},
      {R"({"base": "h100", "count": 1, "gpus_per_node": 2.5})", ": field 'gpus_per_node' is not a whole number from 1 to 1000000"},
  };
  for (const Case &c : cases) {
    std::string message(resolve(c.text).status().message());
    EXPECT_EQ(message.find("accelerator file '" + path + "'"), 0u) << message;
    EXPECT_NE(message.find(c.message), std::string::npos) << message;
  }
}

TEST(Hardware, Json) {
  llvm::json::Object json = toJSON(*resolveAccelerator("4xLarge"));
  EXPECT_EQ(json.getString("name"), llvm::StringRef("4xLarge.2048GB"));
  EXPECT_EQ(json.getString("device"), llvm::StringRef("MI250-GCD"));
  EXPECT_EQ(json.getInteger("count"), 32);
  EXPECT_EQ(json.getInteger("num_nodes"), 4);
  EXPECT_EQ(json.getInteger("usable_memory_mib"), 65520);
  EXPECT_EQ(json.getNumber("gemm_efficiency"), 0.65);
  EXPECT_EQ(json.getNumber("usable_nic_gbps_per_node"), 88.0);
}
} // namespace
