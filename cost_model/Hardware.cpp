//===- Hardware.cpp - Facts about devices and how they are joined -----------===//
#include "moai/CostModel/Hardware.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "moai/Support/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <cmath>

using namespace moai;

static constexpr char kDatabaseText[] =
#include "HardwareData.inc"
    ;
static constexpr int64_t kMaxDevices = 1000000;
static constexpr double kLargestFigure = 1e9;

namespace {
enum class FieldUse : uint8_t { Positive, NotNegative, Information };

/// A numeric field of a device in the database, where it goes, and the factor to SI units or bytes.
struct Field {
  const char *key;
  FieldUse use;
  double scale;
  double Device::*ofDevice;
  double Accelerator::*ofAccelerator;
};
} // namespace

// Fields that need more than a scale (memory, links, counts) are read by name below.
static constexpr Field kFields[] = {
    {"peak_bf16_tflops", FieldUse::Positive, 1e12, &Device::peakLowPrecisionFlops, nullptr},
    {"peak_fp32_tflops", FieldUse::Positive, 1e12, &Device::peakFloat32Flops, nullptr},
    {"hbm_gib", FieldUse::Information, 1, nullptr, nullptr},
    {"hbm_gbps", FieldUse::Positive, 1e9, &Device::memoryBandwidth, nullptr},
    {"intra_link_gbps_per_dir", FieldUse::Information, 1, nullptr, nullptr},
    {"gpus_per_node", FieldUse::Positive, 1, nullptr, nullptr},
    {"nic_gbps_per_node", FieldUse::Positive, 1e9, nullptr, nullptr},
    {"tdp_w", FieldUse::Information, 1, nullptr, nullptr},
    {"usable_memory_mib", FieldUse::Positive, 1, nullptr, nullptr},
    {"gemm_efficiency", FieldUse::Positive, 1, &Device::gemmEfficiency, nullptr},
    {"gemm_bandwidth_factor", FieldUse::Positive, 1, &Device::gemmBandwidthFactor, nullptr},
    {"gemm_overhead_us", FieldUse::NotNegative, 1e-6, &Device::gemmOverheadSeconds, nullptr},
    {"attention_efficiency", FieldUse::Positive, 1, &Device::attentionEfficiency, nullptr},
    {"stream_efficiency", FieldUse::Positive, 1, &Device::streamEfficiency, nullptr},
    {"kernel_overhead_us", FieldUse::NotNegative, 1e-6, &Device::kernelOverheadSeconds, nullptr},
    {"kernel_workspace_mib", FieldUse::NotNegative, 1048576.0, &Device::kernelWorkspaceBytes, nullptr},
    {"intra_node_gbps", FieldUse::Positive, 1, nullptr, nullptr},
    {"intra_node_all_reduce_gbps", FieldUse::Positive, 1e9, nullptr, &Accelerator::allReduceBytesPerSecond},
    {"intra_node_latency_us", FieldUse::NotNegative, 1, nullptr, nullptr},
    {"collective_overhead_us", FieldUse::NotNegative, 1e-6, nullptr, &Accelerator::collectiveOverheadSeconds},
    {"inter_node_latency_us", FieldUse::NotNegative, 1, nullptr, nullptr},
    {"nic_efficiency", FieldUse::Positive, 1, nullptr, nullptr},
};
static constexpr const char *kOtherKeys[] = {"name", "aliases", "intra_topology", "source", "sources", "base", "count", "intra_node_mesh"};

static absl::string_view view(llvm::StringRef text) { return {text.data(), text.size()}; }

static const llvm::json::Object &database() {
  static const llvm::json::Value value = llvm::cantFail(llvm::json::parse(kDatabaseText));
  return *value.getAsObject();
}

namespace {
/// The nearest of some names, for "did you mean".
class NearestName {
public:
  explicit NearestName(llvm::StringRef wanted) : wanted(wanted) {}
  void offer(llvm::StringRef name) {
    unsigned distance = wanted.edit_distance_insensitive(name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  llvm::StringRef get() const { return nearest; }

private:
  llvm::StringRef wanted, nearest;
  unsigned best = ~0u;
};
} // namespace

/// `object` holds a complete device; `where` begins error messages.
static absl::StatusOr<Accelerator> readDevice(const llvm::json::Object &object, const std::string &where) {
  Accelerator result;
  auto fail = [&](llvm::StringRef key, llvm::StringRef problem) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": field '", view(key), "' ", view(problem)));
  };
  for (const auto &entry : object) {
    llvm::StringRef key = entry.first;
    if (llvm::is_contained(kOtherKeys, key) || llvm::any_of(kFields, [&](const Field &field) { return key == field.key; }))
      continue;
    NearestName nearest(key);
    for (const Field &field : kFields)
      nearest.offer(field.key);
    for (const char *other : kOtherKeys)
      nearest.offer(other);
    return fail(key, absl::StrCat("is unknown, did you mean '", view(nearest.get()), "'?"));
  }
  for (const Field &field : kFields) {
    const llvm::json::Value *value = object.get(field.key);
    if (!value) {
      if (field.use == FieldUse::Information)
        continue;
      return fail(field.key, "is missing; give it, or a 'base' device to take it from");
    }
    std::optional<double> number = value->getAsNumber();
    if (!number || !std::isfinite(*number) || *number < 0 || (field.use == FieldUse::Positive && *number == 0))
      return fail(field.key, field.use == FieldUse::Positive ? "is not a number above 0" : "is not a number of at least 0");
    // No unit makes a device's figure so large or so small; with it, seconds and bytes would leave what numbers can hold.
    bool isMemory = llvm::StringRef(field.key) == "usable_memory_mib"; // has bounds of its own
    if (!isMemory && (*number > kLargestFigure || (*number > 0 && *number < 1 / kLargestFigure)))
      return fail(field.key, "is beyond what any device has; check its unit");
    if (field.ofDevice)
      result.device.*field.ofDevice = *number * field.scale;
    if (field.ofAccelerator)
      result.*field.ofAccelerator = *number * field.scale;
  }
  auto number = [&](const char *key) { return *object.get(key)->getAsNumber(); };
  double perNode = number("gpus_per_node");
  if (perNode > kMaxDevices || perNode != std::floor(perNode))
    return fail("gpus_per_node", absl::StrCat("is not a whole number from 1 to ", kMaxDevices));
  result.devicesPerNode = static_cast<int64_t>(perNode);
  double mebibytes = number("usable_memory_mib");
  if (mebibytes > 1e9)
    return fail("usable_memory_mib", "is more than 1e9; the unit is MiB");
  result.device.memoryBytes = static_cast<int64_t>(mebibytes * 1048576.0);
  for (const char *key : {"gemm_efficiency", "attention_efficiency", "stream_efficiency", "nic_efficiency"})
    if (number(key) > 1)
      return fail(key, "is above 1; efficiencies are fractions");
  result.intraNode = {number("intra_node_latency_us") * 1e-6, number("intra_node_gbps") * 1e9};
  result.interNode = {number("inter_node_latency_us") * 1e-6, number("nic_gbps_per_node") * number("nic_efficiency") * 1e9};
  if (const llvm::json::Value *mesh = object.get("intra_node_mesh")) {
    if (!mesh->getAsBoolean())
      return fail("intra_node_mesh", "is not true or false");
    result.meshIntraNode = *mesh->getAsBoolean();
  }
  if (const llvm::json::Value *name = object.get("name")) {
    if (!name->getAsString())
      return fail("name", "is not a string");
    result.device.name = name->getAsString()->str();
  }
  return result;
}

static const llvm::json::Object *findDevice(llvm::StringRef wanted) {
  for (const llvm::json::Value &value : *database().getArray("devices")) {
    const llvm::json::Object &object = *value.getAsObject();
    if (object.getString("name")->equals_insensitive(wanted))
      return &object;
    for (const llvm::json::Value &alias : *object.getArray("aliases"))
      if (alias.getAsString()->equals_insensitive(wanted))
        return &object;
  }
  return nullptr;
}

static void offerDevices(NearestName &nearest) {
  for (const llvm::json::Value &value : *database().getArray("devices")) {
    nearest.offer(*value.getAsObject()->getString("name"));
    for (const llvm::json::Value &alias : *value.getAsObject()->getArray("aliases"))
      nearest.offer(*alias.getAsString());
  }
}

static absl::StatusOr<Accelerator> readFile(llvm::StringRef path) {
  std::string where = absl::StrCat("accelerator file '", view(path), "'");
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return absl::NotFoundError(absl::StrCat(where, " cannot be read: ", buffer.getError().message()));
  absl::StatusOr<llvm::json::Value> parsed = parseJson((*buffer)->getBuffer());
  if (!parsed.ok())
    return absl::InvalidArgumentError(absl::StrCat(where, " is not JSON: ", parsed.status().message()));
  const llvm::json::Object *given = parsed->getAsObject();
  if (!given)
    return absl::InvalidArgumentError(absl::StrCat(where, " does not hold a JSON object, expected the fields of a device and 'count'"));
  llvm::json::Object device;
  if (const llvm::json::Value *base = given->get("base")) {
    llvm::StringRef baseName = base->getAsString().value_or("");
    const llvm::json::Object *found = findDevice(baseName);
    if (!found) {
      NearestName nearest(baseName);
      offerDevices(nearest);
      return absl::InvalidArgumentError(absl::StrCat(where, ": 'base' is '", view(baseName),
                                                     "', which is no device of the database; "
                                                     "did you mean '",
                                                     view(nearest.get()), "'?"));
    }
    device = *found;
  }
  for (const auto &entry : *given)
    device[entry.first] = entry.second;
  absl::StatusOr<Accelerator> result = readDevice(device, where);
  if (!result.ok())
    return result;
  const llvm::json::Value *countValue = given->get("count");
  std::optional<int64_t> count = countValue ? countValue->getAsInteger() : std::nullopt;
  if (!count || *count < 1 || *count > kMaxDevices)
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": field 'count' is ", countValue ? "not" : "missing, expected", " a whole number from 1 to ", kMaxDevices));
  result->numDevices = *count;
  if (!given->get("name"))
    result->device.name = llvm::sys::path::stem(path).str();
  result->name = absl::StrCat(result->device.name, ":", *count);
  return result;
}

absl::StatusOr<Accelerator> moai::resolveAccelerator(llvm::StringRef spec) {
  spec = spec.trim();
  if (spec.ends_with_insensitive(".json"))
    return readFile(spec);

  NearestName nearest(spec.split(':').first);
  for (const llvm::json::Value &value : *database().getArray("flavors")) {
    const llvm::json::Object &flavor = *value.getAsObject();
    llvm::StringRef name = *flavor.getString("name");
    llvm::StringRef shortName = name.rsplit('.').first;
    nearest.offer(name);
    nearest.offer(shortName);
    if (!spec.equals_insensitive(name) && !spec.equals_insensitive(shortName))
      continue;
    absl::StatusOr<Accelerator> result = readDevice(*findDevice(*flavor.getString("device")), "hardware database");
    if (result.ok()) {
      result->name = name.str();
      result->numDevices = *flavor.getInteger("count");
    }
    return result;
  }

  auto [name, countText] = spec.split(':');
  const llvm::json::Object *device = findDevice(name);
  if (!device) {
    offerDevices(nearest);
    return absl::InvalidArgumentError(absl::StrCat("unknown accelerator '", view(spec), "', did you mean '", view(nearest.get()),
                                                   "'? Expected a MoAI flavor, NAME:COUNT or a .json file"));
  }
  int64_t count = 1;
  if (spec.contains(':') && (countText.getAsInteger(10, count) || count < 1 || count > kMaxDevices))
    return absl::InvalidArgumentError(absl::StrCat("accelerator '", view(spec), "' has the device count '", view(countText),
                                                   "', expected a whole number from 1 to ", kMaxDevices));
  absl::StatusOr<Accelerator> result = readDevice(*device, "hardware database");
  if (result.ok()) {
    result->name = absl::StrCat(result->device.name, ":", count);
    result->numDevices = count;
  }
  return result;
}

std::vector<std::string> moai::listFlavors() {
  std::vector<std::string> names;
  for (const llvm::json::Value &value : *database().getArray("flavors"))
    names.push_back(value.getAsObject()->getString("name")->str());
  return names;
}

std::string moai::listAccelerators() {
  std::string text = "MoAI flavors:\n";
  for (const llvm::json::Value &value : *database().getArray("flavors")) {
    const llvm::json::Object &flavor = *value.getAsObject();
    int64_t count = *flavor.getInteger("count");
    absl::StrAppendFormat(&text, "  %-20s %4d x %s\n", view(*flavor.getString("name")), count, view(*flavor.getString("device")));
  }
  text += "Devices, as NAME:COUNT:\n";
  absl::StrAppendFormat(&text, "  %-20s %11s %11s %10s %9s %9s  %s\n", "name", "bf16 TF/s", "fp32 TF/s", "memory GiB", "HBM GB/s",
                        "per node", "also");
  for (const llvm::json::Value &value : *database().getArray("devices")) {
    const llvm::json::Object &device = *value.getAsObject();
    std::string aliases;
    for (const llvm::json::Value &alias : *device.getArray("aliases"))
      absl::StrAppend(&aliases, aliases.empty() ? "" : ", ", view(*alias.getAsString()));
    std::string line = absl::StrFormat("  %-20s %11.1f %11.1f %10.1f %9.0f %9d  %s", view(*device.getString("name")),
                                       *device.getNumber("peak_bf16_tflops"), *device.getNumber("peak_fp32_tflops"),
                                       *device.getNumber("usable_memory_mib") / 1024, *device.getNumber("hbm_gbps"),
                                       *device.getInteger("gpus_per_node"), aliases);
    absl::StrAppend(&text, view(llvm::StringRef(line).rtrim()), "\n");
  }
  return text;
}

llvm::json::Object moai::toJSON(const Accelerator &accelerator) {
  const Device &device = accelerator.device;
  // Written numbers are the database's again: scaling up and down must not leave 3.0000000000000004.
  auto scaled = [](double value, double scale) { return std::round(value * scale * 1e6) / 1e6; };
  return llvm::json::Object{
      {"name", accelerator.name},
      {"device", device.name},
      {"count", accelerator.numDevices},
      {"num_nodes", accelerator.numNodes()},
      {"gpus_per_node", accelerator.devicesPerNode},
      {"peak_bf16_tflops", scaled(device.peakLowPrecisionFlops, 1e-12)},
      {"peak_fp32_tflops", scaled(device.peakFloat32Flops, 1e-12)},
      {"hbm_gbps", scaled(device.memoryBandwidth, 1e-9)},
      {"usable_memory_mib", device.memoryBytes / 1048576},
      {"gemm_efficiency", device.gemmEfficiency},
      {"gemm_bandwidth_factor", device.gemmBandwidthFactor},
      {"gemm_overhead_us", scaled(device.gemmOverheadSeconds, 1e6)},
      {"attention_efficiency", device.attentionEfficiency},
      {"stream_efficiency", device.streamEfficiency},
      {"kernel_overhead_us", scaled(device.kernelOverheadSeconds, 1e6)},
      {"intra_node_gbps", scaled(accelerator.intraNode.bytesPerSecond, 1e-9)},
      {"intra_node_all_reduce_gbps", scaled(accelerator.allReduceBytesPerSecond, 1e-9)},
      {"intra_node_mesh", accelerator.meshIntraNode},
      {"intra_node_latency_us", scaled(accelerator.intraNode.latencySeconds, 1e6)},
      {"collective_overhead_us", scaled(accelerator.collectiveOverheadSeconds, 1e6)},
      {"inter_node_latency_us", scaled(accelerator.interNode.latencySeconds, 1e6)},
      {"usable_nic_gbps_per_node", scaled(accelerator.interNode.bytesPerSecond, 1e-9)},
  };
}
