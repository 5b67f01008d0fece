//===- TestJob.cpp - A job that only says that it runs ---------------------===//
#include "moai/Accelerator/Job.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>
#include <limits>
#include <unistd.h>

using namespace moai;

// moai-test-job '{"command": "moai-run a.pt2", "accelerator": "Large.256GB", "devices": [{"bytes": 1048576, ...}], ...}'
static JobState readState(const llvm::json::Object &object) {
  auto integer = [](const llvm::json::Object &from, const char *key, int64_t otherwise) {
    return from.getInteger(key).value_or(otherwise);
  };
  JobState state;
  state.command = object.getString("command").value_or("moai-run gpt2.pt2").str();
  state.accelerator = object.getString("accelerator").value_or("xLarge.512GB").str();
  state.bytesPerDevice = integer(object, "bytes_per_device", int64_t(65520) << 20);
  state.phase = JobPhase::Training;
  state.isSimulated = object.getBoolean("simulated").value_or(false);
  state.step = integer(object, "step", 0);
  state.numSteps = integer(object, "num_steps", 0);
  state.loss = object.getNumber("loss").value_or(std::numeric_limits<double>::quiet_NaN());
  state.utilization = object.getNumber("utilization").value_or(0);
  for (const llvm::json::Value &value : *object.getArray("devices")) {
    const llvm::json::Object &device = *value.getAsObject();
    state.devices.push_back({integer(device, "node", 0), integer(device, "stage", -1), integer(device, "replica", -1),
                             integer(device, "bytes", 0), integer(device, "peak", 0), device.getNumber("utilization").value_or(0)});
  }
  return state;
}

// Runs until it is asked to stop, or with "stubborn" until it is killed; for a minute at most.
int main(int argc, char **argv) {
  llvm::json::Value value = llvm::cantFail(llvm::json::parse(argv[1]));
  const llvm::json::Object &object = *value.getAsObject();
  sigset_t stop;
  sigemptyset(&stop);
  if (!object.getBoolean("stubborn").value_or(false))
    sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGALRM);
  sigprocmask(SIG_BLOCK, &stop, nullptr);
  if (object.getBoolean("stubborn").value_or(false))
    std::signal(SIGTERM, SIG_IGN);
  auto publisher = JobPublisher::create(readState(object), [](JobState &) {});
  if (!publisher.ok()) {
    llvm::errs() << std::string(publisher.status().message()) << "\n";
    return 1;
  }
  llvm::outs() << (*publisher)->id() << "\n";
  llvm::outs().flush();
  alarm(60);
  int signal = 0;
  sigwait(&stop, &signal);
  return 0;
}
