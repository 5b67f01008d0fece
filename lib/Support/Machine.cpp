//===- Machine.cpp - What this machine has ----------------------------------===//
#include "moai/Support/Machine.h"
#include <unistd.h>

double moai::mainMemoryBytes() { return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)); }
