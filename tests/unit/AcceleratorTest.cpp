//===- AcceleratorTest.cpp - A user's accelerator, and jobs that others see ===//
#include "absl/strings/str_cat.h"
#include "moai/Accelerator/CurrentAccelerator.h"
#include "moai/Accelerator/Job.h"
#include "moai/Accelerator/UserFolders.h"
#include "moai/Support/File.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/xxhash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <csignal>
#include <cstring>
#include <fstream>
#include <mutex>
#include <set>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace moai;
using testing::HasSubstr;

namespace {

/// A user with folders of their own, who hasn't chosen yet.
class UserTest : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("moai-accelerator-test", folder));
    for (const char *variable : {"MOAI_ACCELERATOR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"})
      unsetenv(variable);
    setenv("HOME", folder.str().str().c_str(), 1);
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  std::string path(llvm::StringRef name) { return (folder + "/" + name).str(); }
  std::string read(const std::string &path) {
    auto buffer = llvm::MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : "no file";
  }
  void write(const std::string &path, const std::string &text) { ASSERT_TRUE(writeFile(path, text).ok()); }

  llvm::SmallString<128> folder;
};

template <typename T> std::string messageOf(const absl::StatusOr<T> &result) { return std::string(result.status().message()); }

class ChoiceTest : public UserTest {
protected:
  void SetUp() override {
    UserTest::SetUp();
    ASSERT_TRUE(createFolder(path(".config/moai")).ok());
  }
  std::string choice() { return path(".config/moai/accelerator.json"); }
};

TEST_F(UserTest, Folders) {
  EXPECT_EQ(*userConfigFolder(), path(".config/moai"));
  EXPECT_EQ(*userStateFolder(), path(".local/state/moai"));
  setenv("XDG_CONFIG_HOME", "/c", 1);
  setenv("XDG_STATE_HOME", "relative", 1); // must be ignored
  EXPECT_EQ(*userConfigFolder(), "/c/moai");
  EXPECT_EQ(*userStateFolder(), path(".local/state/moai"));
  // The system knows the home of a user without a variable, if it knows the user.
  unsetenv("HOME");
  auto state = userStateFolder();
  if (state.ok())
    EXPECT_THAT(*state, testing::EndsWith("/.local/state/moai"));
  else
    EXPECT_THAT(messageOf(state), HasSubstr("set HOME or XDG_STATE_HOME"));
}

TEST_F(UserTest, TheDefault) {
  auto current = currentAccelerator();
  ASSERT_TRUE(current.ok()) << current.status();
  EXPECT_EQ(current->spec, "xLarge.512GB");
  EXPECT_EQ(current->accelerator.numDevices, 8);
  EXPECT_FALSE(current->isFromEnvironment);
}

TEST_F(UserTest, ChoicesAreNamedAsListed) {
  write(path("mine.json"), R"({"base": "h100", "name": "Mine", "count": 4})");
  for (auto [given, spec, name] : {std::tuple("4XLARGE", "4xLarge.2048GB", "4xLarge.2048GB"),
                                   {" 8 ", "4xLarge.2048GB", "4xLarge.2048GB"},
                                   {"1", "Small.64GB", "Small.64GB"},
                                   {"h100:64", "H100-SXM:64", "H100-SXM:64"},
                                   {"mi300x:8", "MI300X:8", "MI300X:8"}}) {
    auto chosen = switchAccelerator(given);
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    auto current = currentAccelerator();
    ASSERT_TRUE(current.ok()) << current.status();
    for (const auto &one : {chosen, current}) {
      EXPECT_EQ(one->spec, spec);
      EXPECT_EQ(one->accelerator.name, name);
    }
  }
  EXPECT_EQ(read(*userConfigFolder() + "/accelerator.json"), "{\"accelerator\":\"MI300X:8\",\"version\":1}\n");
  auto chosen = switchAccelerator(path("mine.json"));
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->spec, path("mine.json"));
  EXPECT_EQ(currentAccelerator()->accelerator.name, "Mine:4");
}

TEST_F(UserTest, TheFlavorsAreNumberedFromOne) {
  std::vector<std::string> flavors = listFlavors();
  ASSERT_EQ(flavors.size(), 13u);
  EXPECT_EQ(flavors.front(), "Small.64GB");
  EXPECT_EQ(flavors.back(), "48xLarge.24576GB");
  for (size_t i = 0; i < flavors.size(); ++i)
    EXPECT_EQ(switchAccelerator(absl::StrCat(i + 1))->spec, flavors[i]);
  for (const char *number : {"0", "14", "-1"})
    EXPECT_THAT(messageOf(switchAccelerator(number)), HasSubstr("expected a number from 1 to 13"));
  EXPECT_EQ(currentAccelerator()->spec, "48xLarge.24576GB");
}

TEST_F(UserTest, TheEnvironmentGoesFirst) {
  ASSERT_TRUE(switchAccelerator("2").ok());
  setenv("MOAI_ACCELERATOR", "large", 1);
  EXPECT_EQ(currentAccelerator()->spec, "Large.256GB");
  EXPECT_TRUE(currentAccelerator()->isFromEnvironment);
  EXPECT_EQ(chosenAccelerator()->spec, "Medium.128GB");
  setenv("MOAI_ACCELERATOR", "huge", 1);
  EXPECT_TRUE(absl::IsInvalidArgument(currentAccelerator().status()));
  EXPECT_THAT(messageOf(currentAccelerator()), HasSubstr("MOAI_ACCELERATOR: unknown accelerator 'huge'"));
  setenv("MOAI_ACCELERATOR", "", 1);
  EXPECT_EQ(currentAccelerator()->spec, "Medium.128GB");
}

TEST_F(ChoiceTest, FilesThatAreNoChoice) {
  for (auto [text, problem] : {std::pair("", "is no choice"),
                               {R"({"version": 1, "accel)", "is no choice"},
                               {R"(["Small.64GB"])", "names no version"},
                               {R"({"accelerator": "Small.64GB"})", "names no version"},
                               {R"({"version": 0, "accelerator": "Small.64GB"})", "names no version"},
                               {R"({"version": 1, "accelerator": 4})", "names no accelerator"},
                               {R"({"version": 2, "accelerator": "Small.64GB"})", "is of version 2, and this moai reads version 1"},
                               {R"({"version": 1, "accelerator": "Huge"})", "unknown accelerator 'Huge'"},
                               {R"({"version": 1, "accelerator": "/gone.json"})", "'/gone.json' cannot be read"}}) {
    write(choice(), text);
    EXPECT_TRUE(absl::IsInvalidArgument(currentAccelerator().status())) << text;
    EXPECT_THAT(messageOf(currentAccelerator()),
                testing::AllOf(HasSubstr(choice()), HasSubstr(problem), HasSubstr("moai-switch-model NAME")));
    EXPECT_EQ(read(choice()), text); // it is the user who replaces it
    ASSERT_TRUE(switchAccelerator("3").ok());
    EXPECT_EQ(currentAccelerator()->spec, "Large.256GB");
  }
}

TEST_F(ChoiceTest, WhatIsNoAcceleratorLeavesTheChoice) {
  ASSERT_TRUE(switchAccelerator("3").ok());
  for (const char *spec : {"5xlarge", "", "h100:0", "missing.json"})
    EXPECT_FALSE(switchAccelerator(spec).ok()) << spec;
  EXPECT_EQ(currentAccelerator()->spec, "Large.256GB");
}

TEST_F(UserTest, NoFolderToKeepAChoiceIn) {
  write(path("file"), "");
  setenv("XDG_CONFIG_HOME", path("file").c_str(), 1);
  EXPECT_EQ(currentAccelerator()->spec, "xLarge.512GB");
  EXPECT_TRUE(absl::IsPermissionDenied(switchAccelerator("3").status()));
  EXPECT_THAT(messageOf(switchAccelerator("3")), HasSubstr(path("file")));
}

/// A job whose state is in a file.
class JobTest : public UserTest {
protected:
  JobState makeState(size_t numDevices = 4) {
    JobState state;
    state.command = "moai-run gpt2.pt2 --steps=40";
    state.accelerator = "Large.256GB";
    state.bytesPerDevice = 1 << 30;
    state.numSteps = 40;
    state.devices.resize(numDevices);
    return state;
  }
  std::unique_ptr<JobPublisher> publish(JobState state) {
    auto publisher = JobPublisher::create(std::move(state), [](JobState &) {});
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    return publisher.ok() ? std::move(*publisher) : nullptr;
  }
  Jobs readAll() {
    auto jobs = readJobs();
    EXPECT_TRUE(jobs.ok()) << jobs.status();
    return jobs.ok() ? *jobs : Jobs();
  }
  std::string jobPath(int64_t id) { return absl::StrCat(*userStateFolder(), "/jobs/", id, ".job"); }

  // A whole file with some bytes of a running job's replaced, as lib/Accelerator/README.md lays it out.
  struct Edit {
    size_t offset;
    std::string bytes;
  };
  template <typename T> static std::string bytesOf(T value) { return std::string(reinterpret_cast<const char *>(&value), sizeof value); }
  void forge(int64_t from, int64_t id, const std::vector<Edit> &edits) {
    std::string content = read(jobPath(from));
    auto replace = [&](size_t offset, const std::string &bytes) { content.replace(offset, bytes.size(), bytes); };
    auto sum = [&](size_t from, size_t to) {
      return llvm::xxh3_64bits(llvm::ArrayRef(reinterpret_cast<const uint8_t *>(content.data()) + from, to - from));
    };
    replace(40, bytesOf(id));
    for (const Edit &edit : edits)
      replace(edit.offset, edit.bytes);
    replace(32, bytesOf(sum(40, 4608)));
    size_t stateBytes = (content.size() - 4608) / 2;
    for (size_t state : {size_t(4608), 4608 + stateBytes})
      replace(state, bytesOf(sum(state + 8, state + stateBytes)));
    write(jobPath(id), content);
  }
};

TEST_F(JobTest, NoJobs) {
  Jobs jobs = readAll();
  EXPECT_TRUE(jobs.running.empty() && jobs.gone.empty() && jobs.unreadable.empty());
  EXPECT_FALSE(llvm::sys::fs::exists(*userStateFolder())); // looking makes nothing
}

TEST_F(JobTest, WhatIsPublishedIsRead) {
  JobState state = makeState();
  state.isSimulated = true;
  state.phase = JobPhase::Saving;
  state.step = 17;
  state.loss = 0.83984375;
  state.utilization = 0.5;
  for (int64_t i = 0; i < 4; ++i)
    state.devices[i] = {i / 2, i % 2, -1, 100 + i, 200 + i, 0.25};
  std::string file;
  {
    auto publisher = publish(state);
    ASSERT_TRUE(publisher);
    EXPECT_GE(publisher->id(), 100000);
    EXPECT_LE(publisher->id(), 999999);
    file = jobPath(publisher->id());
    Jobs jobs = readAll();
    ASSERT_EQ(jobs.running.size(), 1u);
    const JobState &seen = jobs.running[0];
    EXPECT_EQ(seen.id, publisher->id());
    EXPECT_EQ(seen.pid, getpid());
    EXPECT_NEAR(static_cast<double>(seen.startedAt), static_cast<double>(time(nullptr)), 5);
    EXPECT_EQ(seen.command, state.command);
    EXPECT_EQ(seen.accelerator, state.accelerator);
    EXPECT_EQ(seen.bytesPerDevice, state.bytesPerDevice);
    EXPECT_TRUE(seen.isSimulated);
    EXPECT_EQ(seen.phase, JobPhase::Saving);
    EXPECT_EQ(seen.step, 17);
    EXPECT_EQ(seen.numSteps, 40);
    EXPECT_EQ(seen.loss, state.loss);
    EXPECT_EQ(seen.utilization, 0.5);
    EXPECT_EQ(seen.bytesInUse(), 406);
    ASSERT_EQ(seen.devices.size(), 4u);
    for (int64_t i = 0; i < 4; ++i) {
      const JobDevice &device = seen.devices[i];
      EXPECT_EQ(std::tuple(device.node, device.stage, device.replica, device.bytesInUse, device.peakBytes, device.utilization),
                std::tuple(i / 2, i % 2, -1, 100 + i, 200 + i, 0.25));
    }
  }
  EXPECT_FALSE(llvm::sys::fs::exists(file));
  EXPECT_TRUE(readAll().running.empty() && readAll().gone.empty());
}

TEST_F(JobTest, ALongCommandIsCut) {
  JobState state = makeState(1);
  state.command = std::string(10000, 'x');
  auto publisher = publish(state);
  EXPECT_EQ(readAll().running.at(0).command, std::string(4095, 'x'));
}

TEST_F(JobTest, RefreshIsSeenSoon) {
  auto publisher = JobPublisher::create(makeState(), [](JobState &state) { ++state.step; });
  ASSERT_TRUE(publisher.ok());
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (readAll().running.at(0).step < 3 && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GE(readAll().running.at(0).step, 3);
}

TEST_F(JobTest, EveryJobHasANumberOfItsOwn) {
  std::mutex mutex;
  std::vector<std::unique_ptr<JobPublisher>> publishers;
  std::set<int64_t> ids;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 8; ++k) {
        auto publisher = publish(makeState(1));
        std::lock_guard lock(mutex);
        ids.insert(publisher->id());
        publishers.push_back(std::move(publisher));
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(ids.size(), 64u);
  Jobs jobs = readAll();
  EXPECT_EQ(jobs.running.size(), 64u);
  EXPECT_TRUE(llvm::is_sorted(
      jobs.running, [](const JobState &a, const JobState &b) { return std::pair(a.startedAt, a.id) < std::pair(b.startedAt, b.id); }));
}

// States of which every field is the same number, written as fast as possible. There are more readers than cores, so some are interrupted
// while they read, for longer than it takes to write both of a file's states.
TEST_F(JobTest, StatesAreReadWhole) {
  auto refresh = [](JobState &state) {
    int64_t number = ++state.step;
    state.numSteps = number;
    state.loss = static_cast<double>(number);
    for (JobDevice &device : state.devices)
      device = {number, number, number, number, number, static_cast<double>(number)};
  };
  JobState first = makeState(20000);
  refresh(first);
  auto publisher = JobPublisher::create(first, refresh, std::chrono::milliseconds(0));
  ASSERT_TRUE(publisher.ok()) << publisher.status();
  auto readMany = [&] {
    int64_t newest = 0;
    for (int i = 0; i < 200; ++i) {
      Jobs jobs = readAll();
      ASSERT_TRUE(jobs.unreadable.empty()) << jobs.unreadable[0];
      ASSERT_EQ(jobs.running.size(), 1u);
      const JobState &state = jobs.running[0];
      ASSERT_GE(state.step, newest);
      newest = state.step;
      ASSERT_EQ(state.numSteps, newest);
      ASSERT_EQ(state.loss, static_cast<double>(newest));
      for (const JobDevice &device : state.devices)
        ASSERT_EQ(std::tuple(device.node, device.stage, device.replica, device.bytesInUse, device.peakBytes, device.utilization),
                  std::tuple(newest, newest, newest, newest, newest, static_cast<double>(newest)));
    }
    EXPECT_GT(newest, 20); // there was something to be interrupted by
  };
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < std::clamp(2 * std::thread::hardware_concurrency(), 4u, 16u); ++i)
    readers.emplace_back(readMany);
  for (std::thread &reader : readers)
    reader.join();
}

// /proc/PID/stat has the name, in parentheses, ahead of the start.
TEST_F(JobTest, AProcessMayHaveAnyName) {
  auto start = [&](const JobPublisher &publisher) {
    uint64_t start = 0;
    std::memcpy(&start, read(jobPath(publisher.id())).data() + 56, sizeof start);
    return start;
  };
  auto nameProcess = [](const char *name) { std::ofstream("/proc/self/comm") << name; };
  nameProcess("plain");
  std::ifstream stat("/proc/self/stat");
  std::string field;
  for (int i = 0; i < 22; ++i)
    stat >> field;
  nameProcess("a) R (b) 1 2");
  auto publisher = publish(makeState());
  EXPECT_EQ(absl::StrCat(start(*publisher)), field);
  EXPECT_EQ(readAll().running.size(), 1u);
}

TEST_F(JobTest, AProcessThatWasKilledIsToldOnce) {
  pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    JobState state = makeState();
    state.step = 17;
    publish(state).release();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(runningJobs()->empty()); // which leaves the news to readJobs
  Jobs jobs = readAll();
  EXPECT_TRUE(jobs.running.empty());
  ASSERT_EQ(jobs.gone.size(), 1u);
  EXPECT_EQ(jobs.gone[0].pid, child);
  EXPECT_EQ(jobs.gone[0].step, 17);
  EXPECT_FALSE(llvm::sys::fs::exists(jobPath(jobs.gone[0].id)));
  EXPECT_TRUE(readAll().gone.empty());
  EXPECT_TRUE(absl::IsNotFound(stopJob(jobs.gone[0])));
}

TEST_F(JobTest, APidThatIsUsedAgainIsNoSignOfLife) {
  auto publisher = publish(makeState());
  forge(publisher->id(), 1, {{56, bytesOf<uint64_t>(12345)}}); // the process began at another time
  forge(publisher->id(), 2, {{88, "another-start-of-the-machine"}});
  forge(publisher->id(), 3, {});
  Jobs jobs = readAll();
  ASSERT_EQ(jobs.gone.size(), 2u);
  EXPECT_EQ(jobs.gone[0].id, 1);
  EXPECT_EQ(jobs.gone[1].id, 2);
  EXPECT_TRUE(absl::IsNotFound(stopJob(jobs.gone[0]))); // not this process
  EXPECT_EQ(jobs.running.size(), 2u);
  EXPECT_EQ(readAll().gone.size(), 0u);
}

TEST_F(JobTest, JobsOfOtherMachines) {
  auto publisher = publish(makeState());
  constexpr int64_t kDay = 24 * 3600 * 1000;
  int64_t now = static_cast<int64_t>(time(nullptr)) * 1000;
  for (auto [id, age] : {std::pair(1, int64_t(0)), {2, kDay / 2}, {3, 2 * kDay}})
    forge(publisher->id(), id, {{128, "another-machine"}, {4608 + 8, bytesOf(now - age)}, {4608 + 56 + 4 * 48 + 8, bytesOf(now - age)}});
  Jobs jobs = readAll();
  EXPECT_EQ(jobs.running.size(), 1u);
  EXPECT_TRUE(jobs.gone.empty() && jobs.unreadable.empty());
  EXPECT_TRUE(llvm::sys::fs::exists(jobPath(1)) && llvm::sys::fs::exists(jobPath(2)));
  EXPECT_FALSE(llvm::sys::fs::exists(jobPath(3)));
}

TEST_F(JobTest, FilesThatAreNoJobs) {
  auto publisher = publish(makeState());
  std::string whole = read(jobPath(publisher->id()));
  forge(publisher->id(), 1, {{8, bytesOf<uint32_t>(2)}});
  forge(publisher->id(), 2, {{8, bytesOf<uint32_t>(0)}});
  forge(publisher->id(), 3, {{12, bytesOf<uint32_t>(5)}}); // more devices than there are
  forge(publisher->id(), 4, {{12, bytesOf<uint32_t>(0xffffffff)}});
  forge(publisher->id(), 5, {{0, "JUNK"}});
  forge(publisher->id(), 6, {{4608 + 48, bytesOf<uint64_t>(9)}, {4608 + 56 + 4 * 48 + 48, bytesOf<uint64_t>(9)}}); // no phase
  write(jobPath(7), whole);                                                                                        // another job's
  auto countUnreadable = [&](llvm::StringRef problem) {
    return llvm::count_if(readAll().unreadable, [&](llvm::StringRef sentence) { return sentence.contains(problem); });
  };
  EXPECT_EQ(countUnreadable(""), 7);
  EXPECT_EQ(countUnreadable("is of version 2, and this moai reads version 1"), 1);
  EXPECT_EQ(countUnreadable("its size is wrong"), 2);
  EXPECT_EQ(countUnreadable("it begins otherwise"), 1);
  EXPECT_EQ(countUnreadable("its bytes were changed"), 3);
  EXPECT_EQ(readAll().running.size(), 1u);
}

TEST_F(JobTest, AnyByteThatIsCutOffOrChanged) {
  auto publisher = publish(makeState(1));
  // An even counter would choose the other state, which is as good.
  std::string whole = read(jobPath(publisher->id()));
  publisher.reset();
  int64_t id = 0;
  std::memcpy(&id, whole.data() + 40, sizeof id);
  for (size_t size = 1; size < whole.size(); size += 37) {
    write(jobPath(id), whole.substr(0, size));
    Jobs jobs = readAll();
    ASSERT_EQ(jobs.unreadable.size(), 1u) << size;
    ASSERT_TRUE(jobs.running.empty() && jobs.gone.empty()) << size;
  }
  uint64_t counter = 0;
  std::memcpy(&counter, whole.data() + 24, sizeof counter);
  size_t state = 4608 + (counter % 2) * (56 + 48);
  auto changeByte = [&](size_t at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    write(jobPath(id), changed);
    Jobs jobs = readAll();
    ASSERT_EQ(jobs.unreadable.size(), 1u) << at;
    ASSERT_TRUE(jobs.running.empty() && jobs.gone.empty()) << at;
  };
  for (size_t at = 0; at < 512; ++at)
    if (at < 24 || at >= 32)
      changeByte(at);
  for (size_t at = state; at < state + 56 + 48; ++at)
    changeByte(at);
}

TEST_F(JobTest, NoFolderToPublishIn) {
  write(path("file"), "");
  setenv("XDG_STATE_HOME", path("file").c_str(), 1);
  auto publisher = JobPublisher::create(makeState(), [](JobState &) {});
  EXPECT_TRUE(absl::IsPermissionDenied(publisher.status()));
  EXPECT_THAT(messageOf(publisher), testing::AllOf(HasSubstr(path("file")), HasSubstr("set XDG_STATE_HOME")));
  EXPECT_TRUE(readAll().running.empty());
}

// As on a full disk: an error when the job starts, and no signal while it writes.
TEST_F(JobTest, NoRoomForTheState) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{}, small{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  auto publisher = JobPublisher::create(makeState(), [](JobState &) {});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(publisher.status()));
  EXPECT_THAT(messageOf(publisher), HasSubstr("File too large"));
  std::error_code error;
  EXPECT_EQ(llvm::sys::fs::directory_iterator(*userStateFolder() + "/jobs", error), llvm::sys::fs::directory_iterator());
}

TEST_F(JobTest, SwitchingWaitsForJobs) {
  auto publisher = publish(makeState());
  auto switched = switchAccelerator("2");
  EXPECT_TRUE(absl::IsFailedPrecondition(switched.status()));
  EXPECT_THAT(messageOf(switched), testing::AllOf(HasSubstr(absl::StrCat(publisher->id())), HasSubstr("moai-run gpt2.pt2 --steps=40"),
                                                  HasSubstr("moai-smi -r")));
  publisher.reset();
  EXPECT_TRUE(switchAccelerator("2").ok());
}

TEST(DescribeCommand, TheProgramIsAPlainName) {
  const char *words[] = {"/usr/local/bin/moai-run", "a/b.pt2", "--steps=3"};
  EXPECT_EQ(describeCommand(3, const_cast<char **>(words)), "moai-run a/b.pt2 --steps=3");
}

} // namespace
