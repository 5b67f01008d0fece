// Trainings: batches in their order, learning rates, evaluation, stopping, checkpoints that go on anywhere, devices that are too small.
#include "moai/Execute/TrainingLoop.h"
#include "TestFolder.h"
#include "TestModel.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cmath>

using namespace moai;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

/// Samples that count up, so that a batch tells which they are.
class CountedTokens : public DataSource {
public:
  CountedTokens(int64_t samples, int64_t length, uint64_t print = 7) : samples(samples), length(length), print(print) {}
  int64_t numSamples() const override { return samples; }
  std::string describe() const override { return "counted"; }
  uint64_t fingerprint() const override { return print; }
  Batch read(llvm::ArrayRef<int64_t> wanted) const override {
    seen.insert(seen.end(), wanted.begin(), wanted.end());
    auto tokens = std::make_shared<Tensor>(llvm::ArrayRef<int64_t>{static_cast<int64_t>(wanted.size()), length});
    for (size_t i = 0; i < wanted.size(); ++i)
      for (int64_t k = 0; k < length; ++k)
        tokens->values[i * length + k] = static_cast<double>((wanted[i] * 3 + k) % 64);
    return {{"input_ids", tokens}, {"labels", tokens}};
  }
  mutable std::vector<int64_t> seen;

private:
  int64_t samples, length;
  uint64_t print;
};

/// A run of tiny-gpt2 (or another) under a configuration, with random weights of seed 3.
class Trainee {
public:
  explicit Trainee(const std::string &config, const char *graph = "tiny-gpt2", const ExecuteOptions &given = {},
                   const std::string &optimizer = "adamw")
      : model(importTrainingGraph(graph, context)), tensors(*model.module, model.tiedParameters) {
    tensors.fillTheRest(3, /*withInputs=*/false);
    inputs = describeInputs(*model.module);
    program = compileForTest(*model.module, config, optimizer);
    auto created = TrainingRun::create(tensors, *program, given);
    status = created.status();
    if (created.ok())
      run.emplace(std::move(*created));
  }

  absl::StatusOr<TrainingOutcome> train(const DataSource &data, const TrainingOptions &options,
                                        const std::optional<TrainingProgress> &resumed = {}) {
    TrainingCallbacks callbacks;
    callbacks.onStep = [this](const StepReport &report) { reports.push_back(report); };
    callbacks.onEvaluation = [this](int64_t step, double loss) { evaluations.push_back({step, loss}); };
    callbacks.onWarning = [this](const std::string &warning) { warnings.push_back(warning); };
    callbacks.shouldStop = [this] { return static_cast<int64_t>(reports.size()) == stopAfter; };
    return trainModel(*run, data, inputs, options, resumed, callbacks);
  }
  std::vector<double> losses() const {
    std::vector<double> all;
    for (const StepReport &report : reports)
      all.push_back(report.loss);
    return all;
  }

  TestContext context;
  ImportedModel model;
  ModelTensors tensors;
  std::vector<ModelInput> inputs;
  mlir::OwningOpRef<mlir::ModuleOp> program;
  absl::Status status;
  std::optional<TrainingRun> run;
  std::vector<StepReport> reports;
  std::vector<std::pair<int64_t, double>> evaluations;
  std::vector<std::string> warnings;
  int64_t stopAfter = -1;
};

std::string contentOf(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false);
  EXPECT_TRUE(buffer) << path;
  return buffer ? (*buffer)->getBuffer().str() : "";
}

TrainingOptions steps(int64_t count) {
  TrainingOptions options;
  options.numSteps = count;
  options.optimizer = "adamw";
  return options;
}

//===----------------------------------------------------------------------===//
// Batches
//===----------------------------------------------------------------------===//

// 11 samples in batches of 8: what is left of an epoch is filled from the next one, and each sample is seen once in each.
TEST(TrainingLoop, GoesThroughTheSamplesEpochByEpoch) {
  Trainee trainee("");
  CountedTokens data(11, 16);
  TrainingOptions options = steps(3);
  options.shuffle = false;
  ASSERT_TRUE(trainee.train(data, options).ok());
  EXPECT_THAT(data.seen, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1));
  EXPECT_TRUE(trainee.warnings.empty());
}

TEST(TrainingLoop, SaysThatABatchHoldsSamplesTwice) {
  Trainee trainee("");
  CountedTokens data(5, 16);
  ASSERT_TRUE(trainee.train(data, steps(1)).ok());
  EXPECT_THAT(trainee.warnings, ElementsAre("the data has 5 samples, so a batch of 8 holds some of them several times"));
}

// The same batches, whoever computes which part of them.
TEST(TrainingLoop, LosesTheSameUnderAnyConfiguration) {
  ExecuteOptions inDouble;
  inDouble.float64 = true;
  for (const char *graph : {"tiny-gpt2", "tiny-gpt2-dropout"}) {
    Trainee whole("", graph, inDouble);
    ASSERT_TRUE(whole.train(CountedTokens(40, 16), steps(4)).ok());
    EXPECT_LT(whole.losses().back(), whole.losses().front());
    for (const char *config : {"data_parallel=4,zero=1", "num_stages=2,num_micro_batches=4", "num_micro_batches=2,recomputation=full"}) {
      Trainee split(config, graph, inDouble);
      ASSERT_TRUE(split.train(CountedTokens(40, 16), steps(4)).ok());
      for (size_t i = 0; i < 4; ++i)
        EXPECT_NEAR(split.losses()[i], whole.losses()[i], 1e-9) << graph << ", " << config << ", step " << i + 1;
    }
  }
}

TEST(TrainingLoop, MultipliesTheLearningRate) {
  // SGD moves by rate x gradient: at twice the rate, the first step goes twice as far.
  auto movedBy = [](LearningRateSchedule schedule, const char *optimizer) {
    Trainee trainee("", "tiny-gpt2", {}, optimizer);
    TrainingOptions options = steps(4);
    options.learningRate = schedule;
    trainee.stopAfter = 2;
    EXPECT_TRUE(trainee.train(CountedTokens(40, 16), options).ok());
    const Tensor &before = *trainee.tensors.find("model.transformer.wpe.weight")->tensor;
    Tensor after = trainee.run->weights().at("model.transformer.wpe.weight").read().tensor;
    double squares = 0;
    for (size_t i = 0; i < after.values.size(); ++i)
      squares += (after.values[i] - before.values[i]) * (after.values[i] - before.values[i]);
    return std::sqrt(squares);
  };
  LearningRateSchedule warmUp;
  warmUp.warmupSteps = 2; // factors 0 and 0.5 in the first two steps
  double half = movedBy(warmUp, "sgd,learning_rate=1e-3"), direct = movedBy(warmUp, "sgd,learning_rate=2e-3");
  EXPECT_GT(half, 0);
  EXPECT_NEAR(direct / half, 2, 1e-2);
}

//===----------------------------------------------------------------------===//
// Evaluation, stopping
//===----------------------------------------------------------------------===//

TEST(TrainingLoop, EvaluatesWithoutDropoutAndWithoutATrace) {
  CountedTokens held(21, 16, 8);
  auto evaluate = [&](const char *config, bool withEvaluation) {
    auto trainee = std::make_unique<Trainee>(config, "tiny-gpt2-dropout");
    TrainingOptions options = steps(4);
    if (withEvaluation)
      options.evaluationData = &held;
    options.evaluateEvery = 2;
    EXPECT_TRUE(trainee->train(CountedTokens(40, 16), options).ok());
    return trainee;
  };
  auto with = evaluate("", true), without = evaluate("", false),
       split = evaluate("num_stages=2,num_micro_batches=2,data_parallel=2,zero=1", true);
  ASSERT_EQ(with->evaluations.size(), 2u); // after steps 2 and 4, once each
  EXPECT_EQ(with->evaluations[1].first, 4);
  EXPECT_EQ(with->losses(), without->losses());
  EXPECT_EQ(with->run->trainingState().at("second_moment.model.transformer.wpe.weight").read().tensor.values,
            without->run->trainingState().at("second_moment.model.transformer.wpe.weight").read().tensor.values);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_NEAR(split->evaluations[i].second, with->evaluations[i].second, 1e-5);
  // Two whole batches of the 21 samples, each evaluated by hand: no draw of a dropout is in them.
  double mean = 0;
  for (int64_t first : {0, 8}) {
    std::vector<int64_t> samples;
    for (int64_t i = 0; i < 8; ++i)
      samples.push_back(first + i);
    ASSERT_TRUE(with->run->setBatch(held.read(samples)).ok());
    mean += *with->run->evaluate() / 2;
  }
  EXPECT_DOUBLE_EQ(mean, with->evaluations[1].second);
}

TEST(TrainingLoop, RefusesTooLittleToEvaluate) {
  Trainee trainee("");
  CountedTokens few(7, 16);
  TrainingOptions options = steps(1);
  options.evaluationData = &few;
  EXPECT_THAT(std::string(trainee.train(CountedTokens(40, 16), options).status().message()),
              HasSubstr("the evaluation data has 7 samples, less than one batch of 8"));
}

TEST(TrainingLoop, StopsBetweenStepsAndSaves) {
  TestFolder folder;
  Trainee trainee("");
  trainee.stopAfter = 2;
  TrainingOptions options = steps(5);
  options.saveFolder = folder.path("stopped");
  auto outcome = trainee.train(CountedTokens(40, 16), options);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->wasStopped);
  EXPECT_EQ(outcome->step, 2);
  auto checkpoint = readCheckpoint(folder.path("stopped"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->progress.step, 2);
  EXPECT_EQ(checkpoint->progress.samples, 16);
}

TEST(TrainingLoop, SaysThatPartsCountUnequally) {
  class HalfIgnored : public CountedTokens {
  public:
    using CountedTokens::CountedTokens;
    Batch read(llvm::ArrayRef<int64_t> wanted) const override {
      Batch batch = CountedTokens::read(wanted);
      auto labels = std::make_shared<Tensor>(*batch["labels"]);
      std::fill(labels->values.begin(), labels->values.begin() + 5, -100);
      batch["labels"] = labels;
      return batch;
    }
  };
  for (auto [config, warns] : {std::pair("", false), {"data_parallel=2", true}, {"num_micro_batches=4", true}}) {
    Trainee trainee(config);
    ASSERT_TRUE(trainee.train(HalfIgnored(40, 16), steps(2)).ok());
    ASSERT_EQ(trainee.warnings.size(), warns ? 1u : 0u) << config;
    if (warns) {
      EXPECT_THAT(trainee.warnings[0], HasSubstr("unequal numbers of labels that count in 'labels'"));
    }
  }
}

//===----------------------------------------------------------------------===//
// Checkpoints
//===----------------------------------------------------------------------===//

struct Resumed {
  const char *optimizer, *first, *second;
};

// Three steps under one configuration, two more under the same or another, against five at a stretch.
class Resume : public ::testing::TestWithParam<Resumed> {};

TEST_P(Resume, EndsAsIfNothingHadHappened) {
  TestFolder folder;
  auto [optimizer, first, second] = GetParam();
  bool isSame = llvm::StringRef(first) == second;
  CountedTokens data(13, 16);
  TrainingOptions options = steps(5);
  options.seed = 4;
  ExecuteOptions execute;
  execute.seed = 4;

  Trainee whole(first, "tiny-gpt2-dropout", execute, optimizer);
  options.saveFolder = folder.path("whole");
  ASSERT_TRUE(whole.train(data, options).ok());

  Trainee before(first, "tiny-gpt2-dropout", execute, optimizer);
  before.stopAfter = 3;
  options.saveFolder = folder.path("resumed");
  ASSERT_TRUE(before.train(data, options).ok());
  ASSERT_NE(contentOf(folder.path("resumed/model.safetensors")), contentOf(folder.path("whole/model.safetensors")));

  Trainee after(second, "tiny-gpt2-dropout", execute, optimizer);
  auto checkpoint = readCheckpoint(folder.path("resumed"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_EQ(after.run->restore(checkpoint->state, checkpoint->progress.step), absl::OkStatus());
  ASSERT_TRUE(after.train(data, options, checkpoint->progress).ok());
  ASSERT_EQ(after.reports.size(), 2u);
  EXPECT_EQ(after.reports[0].step, 4);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_NEAR(after.losses()[i], whole.losses()[3 + i], isSame ? 0 : 1e-5);
  if (!isSame)
    return;
  for (const char *file : {"model.safetensors", "training.safetensors"})
    EXPECT_EQ(contentOf((folder.path("resumed/")) + file), contentOf((folder.path("whole/")) + file)) << file;
}

INSTANTIATE_TEST_SUITE_P(
    TrainingLoop, Resume,
    ::testing::Values(Resumed{"adamw", "", ""}, Resumed{"adamw", "data_parallel=4,zero=1", "data_parallel=4,zero=1"},
                      Resumed{"sgd,momentum=0.9", "num_stages=2,num_micro_batches=4", "num_stages=2,num_micro_batches=4"},
                      Resumed{"adamw", "", "num_stages=4,num_micro_batches=4,data_parallel=2,zero=1"},
                      Resumed{"adamw", "num_stages=2,num_micro_batches=2,data_parallel=2,zero=1", "data_parallel=8,zero=1"},
                      Resumed{"sgd,momentum=0.9", "data_parallel=2,zero=1", ""}));

// States are kept in the type of the master, so nothing that a bfloat16 parameter rounds away is lost.
TEST(Checkpoint, KeepsMasters) {
  Trainee trainee("data_parallel=2,zero=1", "tiny-gpt2", {}, "adamw,parameter=bf16,master=f32,state=f32");
  ASSERT_TRUE(trainee.train(CountedTokens(16, 16), steps(1)).ok());
  TensorViews state = trainee.run->trainingState();
  StoredTensor master = state.at("parameter.model.transformer.wpe.weight").read();
  EXPECT_EQ(master.type, "F32");
  bool hasMore = llvm::any_of(master.tensor.values, [](double value) {
    std::vector<double> rounded{value};
    roundTo(mlir::BFloat16Type::get(std::make_unique<TestContext>().get()), rounded);
    return rounded[0] != value;
  });
  EXPECT_TRUE(hasMore);
  // One entry for each parameter and state, none for both copies.
  size_t parameters = llvm::count_if(trainee.tensors.all(), [](const ModelTensor &tensor) { return tensor.isTrained(); });
  EXPECT_EQ(state.size(), 3 * parameters);
}

class SavedCheckpoint : public ::testing::Test {
protected:
  void SetUp() override {
    Trainee trainee("");
    TrainingOptions options = steps(1);
    options.saveFolder = folder.path("saved");
    ASSERT_TRUE(trainee.train(CountedTokens(16, 16), options).ok());
    good = contentOf(file());
  }
  std::string file() const { return folder.path("saved/training.safetensors"); }
  std::string readAfter(const std::string &content) {
    std::ofstream(file(), std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    auto checkpoint = readCheckpoint(folder.path("saved"));
    return checkpoint.ok() ? "" : std::string(checkpoint.status().message());
  }
  TestFolder folder;
  std::string good;
};

TEST_F(SavedCheckpoint, IsRefusedIfAnyByteIsAnother) {
  ASSERT_EQ(readAfter(good), "");
  for (size_t i = 0; i < 200; ++i) {
    std::string bad = good;
    // Every byte of the header is as likely as one of the numbers.
    size_t at = (i % 2 ? i * 7919 % 4000 : i * 104729) % good.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << i % 8));
    EXPECT_THAT(readAfter(bad), HasSubstr("training.safetensors: ")) << "byte " << at;
  }
}

TEST_F(SavedCheckpoint, IsRefusedIfItIsCutOff) {
  for (size_t length : {size_t(0), size_t(7), size_t(8), size_t(100), good.size() / 2, good.size() - 1})
    EXPECT_THAT(readAfter(good.substr(0, length)), HasSubstr("training.safetensors: ")) << length;
}

TEST_F(SavedCheckpoint, IsRefusedIfItIsNewer) {
  size_t at = good.find("\"version\":\"1\"");
  ASSERT_NE(at, std::string::npos);
  std::string newer = good;
  newer[at + 11] = '2';
  EXPECT_THAT(readAfter(newer), HasSubstr("is of version 2, this moai reads version 1"));
}

TEST_F(SavedCheckpoint, IsRefusedIfItIsNone) {
  auto missing = readCheckpoint(folder.path("nowhere"));
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("nowhere/training.safetensors: there is none"));
  EXPECT_THAT(readAfter(contentOf(folder.path("saved/model.safetensors"))), HasSubstr("is no checkpoint of a training"));
}

TEST_F(SavedCheckpoint, BelongsToItsTraining) {
  auto checkpoint = readCheckpoint(folder.path("saved"));
  ASSERT_TRUE(checkpoint.ok());
  Trainee other("", "tiny-llama");
  EXPECT_THAT(std::string(other.run->restore(checkpoint->state, 1).message()), HasSubstr("has no tensor 'parameter."));
  Trainee same("");
  ASSERT_TRUE(same.run->restore(checkpoint->state, 1).ok());
  auto refusal = [&](const DataSource &data, const TrainingOptions &options) {
    return std::string(same.train(data, options, checkpoint->progress).status().message());
  };
  EXPECT_THAT(refusal(CountedTokens(16, 16, 9), steps(3)), HasSubstr("the checkpoint was trained on other data"));
  TrainingOptions options = steps(3);
  options.optimizer = "sgd";
  EXPECT_THAT(refusal(CountedTokens(16, 16), options), HasSubstr("the checkpoint holds the states of adamw, this training uses sgd"));
  options = steps(3);
  options.seed = 1;
  EXPECT_THAT(refusal(CountedTokens(16, 16), options), HasSubstr("the checkpoint has the seed 0, this training 1"));
  options = steps(3);
  options.precision = "mixed";
  EXPECT_THAT(refusal(CountedTokens(16, 16), options), HasSubstr("the checkpoint keeps parameters and states as , this training as mixed"));
  options = steps(3);
  options.shuffle = false;
  EXPECT_THAT(refusal(CountedTokens(16, 16), options), HasSubstr("the checkpoint takes shuffled samples"));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

// A device of exactly the planned peak runs; one of a byte less refuses, and says where.
TEST(DeviceMemory, PlannedPeakIsTheLimit) {
  for (const char *config : {"", "data_parallel=2,zero=1", "num_stages=2,num_micro_batches=4"}) {
    Trainee free(config);
    ASSERT_TRUE(free.train(CountedTokens(16, 16), steps(2)).ok());
    int64_t planned = 0, used = 0;
    for (auto stage : free.program->getOps<mlir::func::FuncOp>())
      if (auto memory = stage->getAttrOfType<mlir::DictionaryAttr>(attrs::kMemory))
        planned = std::max(planned, memory.getAs<mlir::IntegerAttr>("total").getInt());
    for (int64_t device = 0; device < free.run->devices().numDevices(); ++device)
      used = std::max(used, free.run->devices().peakBytes(device));
    EXPECT_EQ(used, planned) << config;
    for (auto [limit, fits] : {std::pair(planned, true), {planned - 1, false}}) {
      ExecuteOptions options;
      options.deviceMemoryBytes = limit;
      Trainee limited(config, "tiny-gpt2", options);
      ASSERT_TRUE(limited.status.ok()) << limited.status;
      auto outcome = limited.train(CountedTokens(16, 16), steps(2));
      EXPECT_EQ(outcome.ok(), fits) << config << ": " << outcome.status();
      if (fits)
        continue;
      EXPECT_TRUE(absl::IsResourceExhausted(outcome.status()));
      EXPECT_THAT(std::string(outcome.status().message()),
                  ::testing::ContainsRegex("step 1: .*device [0-9] \\(stage [0-9]\\) is out of memory at "
                                           "moai\\..*, which needs 1 byte more than the .* of the device"));
    }
  }
}

TEST(DeviceMemory, WeightsThatDontFitAreNamed) {
  ExecuteOptions options;
  options.deviceMemoryBytes = 100000;
  Trainee trainee("", "tiny-gpt2", options);
  EXPECT_TRUE(absl::IsResourceExhausted(trainee.status));
  EXPECT_THAT(std::string(trainee.status.message()),
              ::testing::ContainsRegex(
                  "device 0 \\(stage 0\\) is out of memory at [a-z_]+ model\\..*, which needs .* more than the 97.7 KiB of the device"));
}

} // namespace
