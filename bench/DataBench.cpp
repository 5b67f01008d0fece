//===- DataBench.cpp - Samples read, and files of tensors ------------------===//
#include "BenchModel.h"
#include "benchmark/benchmark.h"
#include "mlir/Parser/Parser.h"
#include "moai/Execute/Checkpoint.h"
#include "moai/Passes/Pipelines.h"
#include "moai/Planner/Planner.h"
#include "moai/Support/File.h"
#include "llvm/Support/FileSystem.h"

using namespace moai;

namespace {

constexpr int64_t kLength = 1024;

std::vector<ModelInput> inputs() {
  ModelInput ids;
  ids.name = "ids";
  ids.type = "I64";
  ids.shape = {32, kLength};
  ids.perSample = {1, 0};
  ids.use = InputUse::Tokens;
  ids.numIds = 256;
  ModelInput labels = ids;
  labels.name = "labels";
  labels.use = InputUse::Targets;
  labels.takesNextToken = true;
  return {ids, labels};
}

const std::string &text() {
  static const std::string bytes(int64_t(64) << 20, 'a');
  return bytes;
}

void openText(benchmark::State &state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(orDie(DataSource::parse(text(), "a.txt", DataFormat::Text, inputs())));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text().size()));
}
BENCHMARK(openText)->Name("Data/open/text")->Unit(benchmark::kMillisecond);

void openIds(benchmark::State &state) {
  std::string line, lines;
  for (int64_t i = 0; i <= kLength; ++i)
    line += std::to_string(i % 256) + " ";
  for (int i = 0; i < 4096; ++i)
    lines += line + "\n";
  for (auto _ : state)
    benchmark::DoNotOptimize(orDie(DataSource::parse(lines, "a.ids", DataFormat::Ids, inputs())));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * lines.size()));
}
BENCHMARK(openIds)->Name("Data/open/ids")->Unit(benchmark::kMillisecond);

// Batches of 32 samples of 1,024 tokens, shuffled.
void readBatch(benchmark::State &state) {
  auto source = orDie(DataSource::parse(text(), "a.txt", DataFormat::Text, inputs()));
  SampleOrder order(source->numSamples(), 0, /*shuffle=*/true);
  int64_t place = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(source->read(order.at(place, 32)));
    place += 32;
  }
  state.SetItemsProcessed(place);
}
BENCHMARK(readBatch)->Name("Data/batch")->Unit(benchmark::kMicrosecond);

//===----------------------------------------------------------------------===//
// 256 MB of float32, as a checkpoint holds them
//===----------------------------------------------------------------------===//

constexpr int64_t kBytes = int64_t(256) << 20;

/// A file that is gone in the end.
class TemporaryFile {
public:
  TemporaryFile() {
    if (std::error_code error = llvm::sys::fs::createTemporaryFile("moai-bench", "safetensors", path))
      orDie(absl::InternalError(error.message()));
  }
  ~TemporaryFile() { llvm::sys::fs::remove(path); }
  llvm::SmallString<128> path;
};

StoredTensors weights() {
  StoredTensors tensors;
  for (int i = 0; i < 16; ++i) {
    StoredTensor &stored = tensors["layer." + std::to_string(i)];
    stored.type = "F32";
    stored.tensor = Tensor(llvm::ArrayRef<int64_t>{1024, kBytes / 16 / 4096});
    for (int64_t at = 0; at < stored.tensor.size(); ++at)
      stored.tensor.values[at] = static_cast<double>(at) * 1e-6;
  }
  return tensors;
}

// The disk's own speed: bytes that are there already.
void writeBytes(benchmark::State &state) {
  TemporaryFile file;
  std::string bytes(kBytes, 'a');
  for (auto _ : state)
    orDie(writeFile(file.path, [&](llvm::raw_ostream &os) { os << bytes; }));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * kBytes);
}
BENCHMARK(writeBytes)->Name("Data/write/bytes")->Unit(benchmark::kMillisecond)->UseRealTime();

void writeTensors(benchmark::State &state) {
  TemporaryFile file;
  StoredTensors tensors = weights();
  for (auto _ : state)
    orDie(writeSafetensors(file.path, tensors));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * kBytes);
}
BENCHMARK(writeTensors)->Name("Data/write/safetensors")->Unit(benchmark::kMillisecond)->UseRealTime();

void readTensors(benchmark::State &state) {
  TemporaryFile file;
  orDie(writeSafetensors(file.path, weights()));
  for (auto _ : state)
    benchmark::DoNotOptimize(orDie(readSafetensors(file.path)));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * kBytes);
}
BENCHMARK(readTensors)->Name("Data/read/safetensors")->Unit(benchmark::kMillisecond)->UseRealTime();

// A whole checkpoint of a training on four devices: parameters of 64 MB, sharded with their two moments, joined, summed up and written, the
// parameters a second time for others to read.
void writeTraining(benchmark::State &state) {
  constexpr int64_t kElements = kBytes / 4 / sizeof(float);
  BenchContext context;
  std::string vector = "!moai.tensor<[" + std::to_string(kElements) + "], f32>";
  auto module = mlir::parseSourceString<mlir::ModuleOp>(
      "module attributes {moai.binding = array<i64: 4, 1, 1, 1>} {\n"
      "func.func @step(%x: !moai.tensor<[b, 1], f32> {moai.name = \"x\", moai.role = \"input\"}, %w: " +
          vector +
          " {moai.name = \"w\", moai.role = \"parameter\"}) -> !moai.tensor<[], f32> {\n"
          "%0 = moai.elementwise %x, %w {kind = \"mul\"} : (!moai.tensor<[b, 1], f32>, " +
          vector + ") -> !moai.tensor<[b, " + std::to_string(kElements) +
          "], f32>\n%1 = moai.reduce %0 {dims = array<i64: 0, 1>, keep_dims = false, kind = \"mean\"} : (!moai.tensor<[b, " +
          std::to_string(kElements) + "], f32>) -> !moai.tensor<[], f32>\nreturn %1 : !moai.tensor<[], f32>\n}\n}\n",
      &context);
  if (!module)
    std::exit(1);
  orDie(buildTrainingGraph(*module));
  ModelTensors tensors(*module, {});
  tensors.fillTheRest(0);
  PlanRequest request;
  request.accelerator = orDie(resolveAccelerator("h100:4"));
  std::string reason;
  auto program = compileCandidate(*module, orDie(parseConfig("data_parallel=4,zero=1")), request, reason);
  if (!program)
    std::exit(1);
  TrainingRun run = orDie(TrainingRun::create(tensors, *program, {}));
  llvm::SmallString<128> folder;
  if (llvm::sys::fs::createUniqueDirectory("moai-bench", folder))
    std::exit(1);
  for (auto _ : state)
    orDie(writeCheckpoint(folder, run, {}));
  llvm::sys::fs::remove_directories(folder);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * kBytes);
}
BENCHMARK(writeTraining)->Name("Data/write/checkpoint")->Unit(benchmark::kMillisecond)->UseRealTime();

} // namespace
