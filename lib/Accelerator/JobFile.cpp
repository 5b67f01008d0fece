//===- JobFile.cpp - A job's state as bytes of a file ----------------------===//
//
// README.md has the layout.
//
//===----------------------------------------------------------------------===//
#include "JobFile.h"
#include "absl/strings/str_cat.h"
#include "moai/Accelerator/UserFolders.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/xxhash.h"
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace moai;

static constexpr char kMagic[8] = {'M', 'O', 'A', 'I', 'J', 'O', 'B', '\n'};
static constexpr uint32_t kVersion = 1;
static constexpr int64_t kFirstId = 100000, kNumIds = 900000;
// More than any accelerator has; bounds what a damaged file can make a reader allocate.
static constexpr uint32_t kMaxDevices = 1000000;

namespace {

/// What is written once, before anyone can read it.
struct FixedPart {
  char magic[8];
  uint32_t version, numDevices;
  uint64_t fileBytes;
  uint64_t counter; // the only field that changes
  uint64_t checksum;
  int64_t id, pid;
  uint64_t processStart;
  int64_t startedAt, bytesPerDevice;
  uint64_t isSimulated;
  char bootId[40], host[128], accelerator[256], command[4096];
};
static_assert(sizeof(FixedPart) == 4608 && offsetof(FixedPart, counter) == 24 && offsetof(FixedPart, command) == 512);

/// The beginning of a state, which its devices follow.
struct StatePart {
  uint64_t checksum;
  int64_t heartbeat, step, numSteps;
  double loss, utilization;
  uint64_t phase;
};
static_assert(sizeof(StatePart) == 56);

struct DevicePart {
  int64_t node, stage, replica, bytesInUse, peakBytes;
  double utilization;
};
static_assert(sizeof(DevicePart) == 48);

} // namespace

static size_t stateBytes(size_t numDevices) { return sizeof(StatePart) + numDevices * sizeof(DevicePart); }
static size_t fileBytes(size_t numDevices) { return sizeof(FixedPart) + 2 * stateBytes(numDevices); }
// Two states take turns: the newest whole one is where the counter is even or odd.
static size_t stateOffset(uint64_t counter, size_t numDevices) { return sizeof(FixedPart) + (counter % 2) * stateBytes(numDevices); }

template <typename Part> static uint64_t checksumFrom(const Part *part, const void *first, size_t size) {
  const auto *begin = static_cast<const uint8_t *>(first);
  size_t skipped = static_cast<size_t>(begin - reinterpret_cast<const uint8_t *>(part));
  return llvm::xxh3_64bits(llvm::ArrayRef<uint8_t>(begin, size - skipped));
}
static uint64_t checksum(const FixedPart &fixed) { return checksumFrom(&fixed, &fixed.id, sizeof fixed); }
static uint64_t checksum(const std::vector<char> &state) {
  return llvm::xxh3_64bits(
      llvm::ArrayRef(reinterpret_cast<const uint8_t *>(state.data()) + sizeof(uint64_t), state.size() - sizeof(uint64_t)));
}

// A text that is too long loses its end; there is always a zero behind it.
template <size_t N> static void copyText(char (&to)[N], const std::string &from) {
  std::memset(to, 0, N);
  std::memcpy(to, from.data(), std::min(from.size(), N - 1));
}
template <size_t N> static std::string toText(const char (&from)[N]) { return std::string(from, strnlen(from, N)); }

static FixedPart encodeFixed(const JobRecord &record) {
  const JobState &state = record.state;
  FixedPart fixed{};
  std::memcpy(fixed.magic, kMagic, sizeof kMagic);
  fixed.version = kVersion;
  fixed.numDevices = static_cast<uint32_t>(state.devices.size());
  fixed.fileBytes = fileBytes(state.devices.size());
  fixed.id = state.id;
  fixed.pid = state.pid;
  fixed.processStart = record.processStart;
  fixed.startedAt = state.startedAt;
  fixed.bytesPerDevice = state.bytesPerDevice;
  fixed.isSimulated = state.isSimulated;
  copyText(fixed.bootId, record.bootId);
  copyText(fixed.host, record.host);
  copyText(fixed.accelerator, state.accelerator);
  copyText(fixed.command, state.command);
  fixed.checksum = checksum(fixed);
  return fixed;
}

static void decodeFixed(const FixedPart &fixed, JobRecord &record) {
  JobState &state = record.state;
  state.id = fixed.id;
  state.pid = fixed.pid;
  record.processStart = fixed.processStart;
  state.startedAt = fixed.startedAt;
  state.bytesPerDevice = fixed.bytesPerDevice;
  state.isSimulated = fixed.isSimulated;
  record.bootId = toText(fixed.bootId);
  record.host = toText(fixed.host);
  state.accelerator = toText(fixed.accelerator);
  state.command = toText(fixed.command);
}

static std::vector<char> encodeState(const JobRecord &record, size_t numDevices) {
  const JobState &state = record.state;
  std::vector<char> bytes(stateBytes(numDevices));
  StatePart part{0, record.heartbeat, state.step, state.numSteps, state.loss, state.utilization, static_cast<uint64_t>(state.phase)};
  std::memcpy(bytes.data(), &part, sizeof part);
  for (size_t i = 0; i < std::min(numDevices, state.devices.size()); ++i) {
    const JobDevice &device = state.devices[i];
    DevicePart devicePart{device.node, device.stage, device.replica, device.bytesInUse, device.peakBytes, device.utilization};
    std::memcpy(bytes.data() + stateBytes(i), &devicePart, sizeof devicePart);
  }
  uint64_t sum = checksum(bytes);
  std::memcpy(bytes.data(), &sum, sizeof sum);
  return bytes;
}

// False if the bytes are damaged.
static bool decodeState(const std::vector<char> &bytes, size_t numDevices, JobRecord &record) {
  JobState &state = record.state;
  StatePart part;
  std::memcpy(&part, bytes.data(), sizeof part);
  if (part.checksum != checksum(bytes) || part.phase > static_cast<uint64_t>(JobPhase::Saving))
    return false;
  record.heartbeat = part.heartbeat;
  state.step = part.step;
  state.numSteps = part.numSteps;
  state.loss = part.loss;
  state.utilization = part.utilization;
  state.phase = static_cast<JobPhase>(part.phase);
  for (size_t i = 0; i < numDevices; ++i) {
    DevicePart device;
    std::memcpy(&device, bytes.data() + stateBytes(i), sizeof device);
    state.devices.push_back({device.node, device.stage, device.replica, device.bytesInUse, device.peakBytes, device.utilization});
  }
  return true;
}

absl::StatusOr<std::string> moai::jobFolder() {
  auto state = userStateFolder();
  if (!state.ok())
    return state.status();
  return *state + "/jobs";
}

std::string moai::jobPath(const std::string &folder, int64_t id) { return absl::StrCat(folder, "/", id, ".job"); }

static absl::Status cannotPublish(const std::string &folder, const std::string &reason) {
  return absl::PermissionDeniedError(
      absl::StrCat(folder, ": the state of a job can't be kept there (", reason, "); set XDG_STATE_HOME to a folder that can be written"));
}
static std::string reasonOf(int error) { return std::generic_category().message(error); }

// Claims a number: an empty file, which is no state yet. Several processes may ask at once.
static absl::StatusOr<int64_t> claimId(const std::string &folder) {
  int64_t start = std::chrono::steady_clock::now().time_since_epoch().count() / 1000 % kNumIds + getpid();
  for (int64_t attempt = 0; attempt < kNumIds; ++attempt) {
    int64_t id = kFirstId + (start + attempt) % kNumIds;
    int file = open(jobPath(folder, id).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (file >= 0) {
      close(file);
      return id;
    }
    if (errno != EEXIST)
      return cannotPublish(folder, reasonOf(errno));
  }
  return cannotPublish(folder, absl::StrCat("all ", kNumIds, " numbers of jobs are taken"));
}

// A file of that size in memory, with its blocks set aside: a full disk is found out now and not by a signal later.
static absl::StatusOr<char *> mapNewFile(const std::string &folder, const std::string &path, size_t size) {
  int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (file < 0)
    return cannotPublish(folder, reasonOf(errno));
  int error = posix_fallocate(file, 0, static_cast<off_t>(size));
  void *bytes = MAP_FAILED;
  if (!error) {
    bytes = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    error = bytes == MAP_FAILED ? errno : 0;
  }
  close(file);
  if (error)
    return cannotPublish(folder, reasonOf(error));
  return static_cast<char *>(bytes);
}

absl::StatusOr<std::unique_ptr<JobFile>> JobFile::create(const std::string &folder, JobRecord &record) {
  size_t numDevices = record.state.devices.size(), size = fileBytes(numDevices);
  if (std::error_code error = llvm::sys::fs::create_directories(folder, /*IgnoreExisting=*/true, llvm::sys::fs::owner_all))
    return cannotPublish(folder, error.message());
  auto id = claimId(folder);
  if (!id.ok())
    return id.status();
  std::string path = jobPath(folder, *id), temporary = path + ".tmp";
  unlink(temporary.c_str()); // whoever had the number before is gone
  auto bytes = mapNewFile(folder, temporary, size);
  if (!bytes.ok()) {
    unlink(temporary.c_str());
    unlink(path.c_str());
    return bytes.status();
  }
  record.state.id = *id;
  FixedPart fixed = encodeFixed(record);
  std::memcpy(*bytes, &fixed, sizeof fixed);
  auto file = std::unique_ptr<JobFile>(new JobFile(path, *bytes, size, numDevices));
  file->write(record);
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    int error = errno;
    unlink(temporary.c_str());
    return cannotPublish(folder, reasonOf(error));
  }
  return file;
}

JobFile::~JobFile() {
  unlink(path.c_str());
  munmap(bytes, size);
}

void JobFile::write(const JobRecord &record) {
  std::vector<char> state = encodeState(record, numDevices);
  // A reader whose counter is still the same has read a state that was not being written.
  std::atomic_thread_fence(std::memory_order_release);
  std::memcpy(bytes + stateOffset(numWritten + 1, numDevices), state.data(), state.size());
  __atomic_store_n(reinterpret_cast<uint64_t *>(bytes + offsetof(FixedPart, counter)), ++numWritten, __ATOMIC_RELEASE);
}

namespace {
/// An open file that is read but never mapped: it may be cut short by others, which would be a signal then.
class Reader {
public:
  explicit Reader(const std::string &path) : file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Reader() {
    if (file >= 0)
      close(file);
  }
  Reader(const Reader &) = delete;
  bool isOpen() const { return file >= 0; }
  /// -1 if it is no plain file.
  int64_t size() const {
    struct stat status{};
    return fstat(file, &status) == 0 && S_ISREG(status.st_mode) ? status.st_size : -1;
  }
  bool read(void *to, size_t size, size_t offset) const {
    while (size > 0) {
      ssize_t done = pread(file, to, size, static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR)
        continue;
      if (done <= 0)
        return false;
      to = static_cast<char *>(to) + done;
      offset += static_cast<size_t>(done);
      size -= static_cast<size_t>(done);
    }
    return true;
  }

private:
  int file;
};
} // namespace

absl::StatusOr<JobRecord> moai::readJobFile(const std::string &path) {
  auto damaged = [&](const char *how) {
    return absl::DataLossError(absl::StrCat(path, ": is no whole state of a job (", how, "); remove it"));
  };
  Reader reader(path);
  if (!reader.isOpen()) {
    if (errno == ENOENT)
      return absl::NotFoundError(path);
    return absl::PermissionDeniedError(absl::StrCat(path, ": can't be read (", reasonOf(errno), "); remove it"));
  }
  int64_t size = reader.size();
  if (size == 0)
    return absl::NotFoundError(path);
  FixedPart fixed{};
  bool isWhole = reader.read(&fixed, sizeof fixed, 0);
  if (std::memcmp(fixed.magic, kMagic, std::min(sizeof kMagic, static_cast<size_t>(std::max<int64_t>(size, 0)))) != 0 || size < 0)
    return damaged("it begins otherwise");
  if (fixed.version > kVersion)
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": is of version ", fixed.version, ", and this moai reads version ", kVersion, "; use the moai that wrote it"));
  if (!isWhole || fixed.numDevices > kMaxDevices || fixed.fileBytes != fileBytes(fixed.numDevices) ||
      size != static_cast<int64_t>(fixed.fileBytes))
    return damaged("its size is wrong");
  if (fixed.version != kVersion || fixed.checksum != checksum(fixed) || jobPath(llvm::sys::path::parent_path(path).str(), fixed.id) != path)
    return damaged("its bytes were changed");

  JobRecord record;
  decodeFixed(fixed, record);
  std::vector<char> state(stateBytes(fixed.numDevices));
  // The job writes another state meanwhile, and only the one after that over this one.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    uint64_t before, after;
    if (!reader.read(&before, sizeof before, offsetof(FixedPart, counter)) ||
        !reader.read(state.data(), state.size(), stateOffset(before, fixed.numDevices)))
      return damaged("its size is wrong");
    std::atomic_thread_fence(std::memory_order_acquire);
    if (!reader.read(&after, sizeof after, offsetof(FixedPart, counter)))
      return damaged("its size is wrong");
    if (before != after)
      continue;
    if (!decodeState(state, fixed.numDevices, record))
      return damaged("its bytes were changed");
    return record;
  }
  return absl::UnavailableError(absl::StrCat(path, ": changes too fast to be read; try again"));
}
