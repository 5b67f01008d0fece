// Any bytes as a .safetensors file, and any description of a tensor in a storage: read or refused, never worse.
#include "moai/Execute/Safetensors.h"
#include "llvm/Support/Endian.h"

using namespace moai;

extern "C" const char *__asan_default_options();
// LLVM's allocators poison memory that LLVM's own, uninstrumented, libraries then use.
extern "C" const char *__asan_default_options() { return "allow_user_poisoning=0"; }

static void check(const absl::StatusOr<StoredTensors> &tensors) {
  if (!tensors.ok() && tensors.status().message().find("fuzz.safetensors: ") != 0)
    __builtin_trap(); // every refusal names the file
}

// A header alone gets the length in front, so that mutations needn't keep it right.
static void readHeader(llvm::StringRef header) {
  std::string file(8, '\0');
  llvm::support::endian::write64le(file.data(), header.size());
  check(parseSafetensors(file + header.str() + std::string(64, '\1'), "fuzz.safetensors"));
}

// Numbers of eight bytes: the offset, then sizes, then strides; what is left over is the storage.
static void decode(llvm::StringRef bytes) {
  static const char *const types[] = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F4"};
  if (bytes.size() < 10)
    return;
  llvm::StringRef type = types[static_cast<uint8_t>(bytes[0]) % std::size(types)];
  unsigned rank = static_cast<uint8_t>(bytes[1]) % 5;
  bytes = bytes.drop_front(2);
  llvm::SmallVector<int64_t> numbers;
  while (numbers.size() < 1 + 2 * rank && bytes.size() >= 8) {
    numbers.push_back(static_cast<int64_t>(llvm::support::endian::read64le(bytes.data())));
    bytes = bytes.drop_front(8);
  }
  numbers.resize(1 + 2 * rank, 1);
  auto shape = llvm::ArrayRef(numbers).slice(1, rank), strides = llvm::ArrayRef(numbers).drop_front(1 + rank);
  auto tensor = decodeTensor("fuzzed", type, shape, strides, numbers[0], bytes);
  if (!tensor.ok() && tensor.status().message().find("tensor 'fuzzed' ") != 0)
    __builtin_trap();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  llvm::StringRef bytes(reinterpret_cast<const char *>(data), size);
  // The first byte chooses what the others are.
  if (bytes.consume_front("h"))
    readHeader(bytes);
  else if (bytes.consume_front("t"))
    decode(bytes);
  else
    check(parseSafetensors(bytes.drop_front(bytes.empty() ? 0 : 1), "fuzz.safetensors"));
  return 0;
}
