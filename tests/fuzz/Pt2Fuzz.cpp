// Any bytes as a .pt2 archive, any JSON as the program or the list of weights in one: read or refused, never worse.
#include "JsonMutator.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Execute/Safetensors.h"
#include "moai/IR/Moai.h"
#include "moai/Import/Import.h"
#include "moai/Import/Weights.h"
#include <memory>
#include <sys/mman.h>
#include <unistd.h>
#include <zip.h>

using namespace moai;

// The first byte of an input says what the others are: `p` the program and `w` the list of weights in an archive that is made
// around them, anything else a whole archive. The second chooses the options of the import.
static constexpr size_t kPrefix = 2;
static constexpr char kProgram = 'p', kWeights = 'w';

extern "C" const char *__asan_default_options();
// LLVM's allocators poison memory that LLVM's own, uninstrumented, libraries then use.
extern "C" const char *__asan_default_options() { return "allow_user_poisoning=0"; }

namespace {
/// A file in memory that has a path.
class MemoryFile {
public:
  MemoryFile() : descriptor(memfd_create("fuzz.pt2", 0)), path("/proc/self/fd/" + std::to_string(descriptor)) {
    if (descriptor < 0)
      abort();
  }
  void write(llvm::StringRef bytes) {
    if (ftruncate(descriptor, 0) || pwrite(descriptor, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      abort();
  }
  llvm::StringRef getPath() const { return path; }

private:
  int descriptor;
  std::string path;
};
} // namespace

static std::string archiveOf(llvm::ArrayRef<std::pair<const char *, llvm::StringRef>> entries) {
  zip_error_t error;
  zip_source_t *source = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_source_keep(source);
  zip_t *archive = zip_open_from_source(source, ZIP_TRUNCATE, &error);
  for (auto [name, text] : entries) {
    zip_int64_t index = zip_file_add(archive, name, zip_source_buffer(archive, text.data(), text.size(), 0), 0);
    zip_set_file_compression(archive, index, ZIP_CM_STORE, 0);
  }
  if (zip_close(archive))
    abort();
  zip_stat_t info;
  zip_source_stat(source, &info);
  std::string bytes(info.size, '\0');
  zip_source_open(source);
  zip_source_read(source, bytes.data(), bytes.size());
  zip_source_close(source);
  zip_source_free(source);
  return bytes;
}

// A refusal names the file.
static void check(const absl::Status &status, llvm::StringRef path) {
  if (!status.ok() && status.message().find(path.str()) != 0)
    __builtin_trap();
}

static void importModel(llvm::StringRef path, uint8_t choices) {
  ImportOptions options;
  if (choices & 1)
    options.batch = 3;
  if (choices & 2)
    options.sequenceLength = 5;
  options.strict = choices & 4;
  options.bufferUpdates = choices & 8;
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<MoaiDialect, mlir::func::FuncDialect>();
  check(importPt2(path, options, context).status(), path);
}

static void readWeights(llvm::StringRef path) {
  auto tensors = readPt2Tensors(path);
  check(tensors.status(), path);
  if (!tensors.ok())
    return;
  for (const ArchivedTensor &tensor : *tensors)
    decodeTensor(tensor.name, tensor.type, tensor.shape, tensor.strides, tensor.offset, tensor.bytes).status().IgnoreError();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static MemoryFile file;
  if (size < kPrefix)
    return 0;
  llvm::StringRef content(reinterpret_cast<const char *>(data) + kPrefix, size - kPrefix);
  if (data[0] == kProgram)
    file.write(archiveOf({{"m/models/model.json", content}}));
  else if (data[0] == kWeights)
    file.write(archiveOf({{"m/data/weights/model_weights_config.json", content},
                          {"m/data/weights/weight_0", "0123456789abcdef"},
                          {"m/data/weights/weight_1", ""}}));
  else
    file.write(content);
  if (data[0] != kWeights)
    importModel(file.getPath(), data[1]);
  if (data[0] != kProgram)
    readWeights(file.getPath());
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  std::minstd_rand random(seed);
  bool isJson = size > kPrefix && (data[0] == kProgram || data[0] == kWeights);
  if (!isJson || random() % 8 == 0)
    return LLVMFuzzerMutate(data, size, maxSize);
  std::string changed = mutateJson({reinterpret_cast<char *>(data) + kPrefix, size - kPrefix}, random);
  if (changed.size() + kPrefix > maxSize)
    return size;
  memcpy(data + kPrefix, changed.data(), changed.size());
  return kPrefix + changed.size();
}
