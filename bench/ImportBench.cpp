//===- ImportBench.cpp - Megabytes of model.json imported per second -------===//
#include "BenchModel.h"
#include "benchmark/benchmark.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace moai;

namespace {

// Uncompressed bytes of the archive's model.json, from the central directory: the last name that ends so.
int64_t countModelBytes(const std::string &path) {
  FILE *file = std::fopen(path.c_str(), "rb");
  std::fseek(file, 0, SEEK_END);
  std::string bytes(static_cast<size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
  std::fclose(file);
  size_t name = bytes.rfind("models/model.json"), header = bytes.rfind("PK\x01\x02", name);
  uint32_t size = 0;
  for (unsigned i = 0; i < 4; ++i)
    size |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[header + 24 + i])) << (8 * i);
  return size;
}

void importGraph(benchmark::State &state, const std::string &path) {
  int64_t layers = 0;
  for (auto _ : state) {
    BenchContext context;
    ImportedModel model = orDie(importPt2(path, {}, context));
    for (const ModelBlock &block : model.summary.blocks)
      layers = std::max(layers, block.repeats);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * countModelBytes(path));
  state.counters["layers"] = static_cast<double>(layers);
}

int registerGraphs() {
  std::vector<std::string> paths{MOAI_MODELS "/qwen1.5-7b.pt2"};
  std::error_code error;
  for (llvm::sys::fs::directory_iterator it(MOAI_GRAPHS, error), end; it != end && !error; it.increment(error))
    if (llvm::StringRef(it->path()).ends_with(".pt2") && !llvm::StringRef(it->path()).contains("inconsistent"))
      paths.push_back(it->path());
  std::sort(paths.begin(), paths.end());
  for (const std::string &path : paths) {
    // Torch stores its archives; the copies for tests are compressed.
    bool stored = llvm::StringRef(path).starts_with(MOAI_MODELS);
    std::string name = "Import/" + llvm::sys::path::stem(path).str() + (stored ? "/stored" : "/deflated");
    benchmark::RegisterBenchmark(name.c_str(), importGraph, path)->Unit(benchmark::kMillisecond);
  }
  return 0;
}
const int registered = registerGraphs();

} // namespace
