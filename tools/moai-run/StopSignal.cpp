//===- StopSignal.cpp - Ctrl-C between steps -------------------------------===//
#include "StopSignal.h"
#include <atomic>
#include <csignal>

static std::atomic<int> received{0};

static void note(int number) {
  received = number;
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

void moai::catchStopSignals() {
  std::signal(SIGINT, note);
  std::signal(SIGTERM, note);
}

int moai::receivedStopSignal() { return received; }
