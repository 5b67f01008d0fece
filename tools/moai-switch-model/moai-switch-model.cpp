//===- moai-switch-model.cpp - Chooses the accelerator that scripts use ----===//
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "moai/Accelerator/CurrentAccelerator.h"
#include "moai/Support/CommandLine.h"
#include "moai/Support/Terminal.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdlib>
#include <iostream>

using namespace moai;
namespace cl = llvm::cl;

namespace {

cl::OptionCategory category("Options");
cl::opt<std::string> wanted(cl::Positional, cl::desc("[NAME]"), cl::cat(category));
cl::opt<bool> listThem("list", cl::desc("Print the current accelerator and the flavors, and ask nothing"), cl::cat(category));
cl::opt<bool> asJson("json", cl::desc("The same as JSON"), cl::cat(category));

const char *const kOverview =
    "moai-switch-model: shows and chooses the MoAI Accelerator that scripts use.\n\n"
    "  moai-switch-model                   # lists the flavors and asks\n"
    "  moai-switch-model 4xLarge.2048GB    # a flavor's name, short name or number\n"
    "  moai-switch-model mi300x:8          # any device and count that moai-plan --list-accelerators prints, or a .json file\n\n"
    "The choice is kept in the user's configuration folder. MOAI_ACCELERATOR and the --accelerator of a command go first.\n"
    "Exit codes: 0 done, 1 the accelerator can't be switched, 2 wrong usage.\n";

const char *environment() {
  const char *value = std::getenv("MOAI_ACCELERATOR");
  return value ? value : "";
}

} // namespace

static void printFlavors(llvm::raw_ostream &out) {
  auto chosen = chosenAccelerator();
  std::vector<std::string> flavors = listFlavors();
  for (size_t i = 0; i < flavors.size(); ++i) {
    bool isChosen = chosen.ok() && chosen->spec == flavors[i];
    if (isChosen && mayColor())
      out << "\033[1m";
    out << i + 1 << ". " << flavors[i] << (isChosen ? "  *" : "");
    if (isChosen && mayColor())
      out << "\033[0m";
    out << "\n";
  }
  out << "\n";
}

static void printOverride(llvm::raw_ostream &out) {
  if (*environment())
    out << "MOAI_ACCELERATOR=" << environment() << " is set, which scripts use whatever is chosen here.\n";
}

static void printSwitched(llvm::raw_ostream &out, const CurrentAccelerator &chosen) {
  out << "The MoAI Accelerator model is successfully switched to  \"" << chosen.spec << "\".\n";
}

static absl::Status printList(llvm::raw_ostream &out) {
  auto current = currentAccelerator();
  if (!current.ok())
    return current.status();
  if (auto chosen = chosenAccelerator(); !chosen.ok())
    return chosen.status();
  out << "Current MoAI Accelerator: " << current->spec << "\n";
  printOverride(out);
  out << "\n";
  printFlavors(out);
  return absl::OkStatus();
}

static absl::Status printJSON(llvm::raw_ostream &out) {
  auto current = currentAccelerator();
  if (!current.ok())
    return current.status();
  auto chosen = chosenAccelerator();
  if (!chosen.ok())
    return chosen.status();
  llvm::json::Array flavors;
  for (const std::string &name : listFlavors()) {
    Accelerator flavor = *resolveAccelerator(name);
    flavors.push_back(llvm::json::Object{{"number", flavors.size() + 1},
                                         {"name", name},
                                         {"num_devices", flavor.numDevices},
                                         {"num_nodes", flavor.numNodes()},
                                         {"bytes", flavor.numDevices * flavor.device.memoryBytes},
                                         {"chosen", name == chosen->spec}});
  }
  llvm::json::Value all = llvm::json::Object{{"current", current->spec},
                                             {"from_environment", current->isFromEnvironment},
                                             {"chosen", chosen->spec},
                                             {"flavors", std::move(flavors)}};
  out << llvm::formatv("{0:2}", all) << "\n";
  return absl::OkStatus();
}

// Asks until there is nothing more to choose. Returns what is wrong with a choice that can't be kept.
static absl::Status ask(llvm::raw_ostream &out) {
  size_t count = listFlavors().size();
  for (std::string line;;) {
    out << "Selection (1-" << count << ", q, Q): ";
    out.flush();
    if (!std::getline(std::cin, line)) {
      out << "\n";
      return absl::OkStatus();
    }
    llvm::StringRef selection = llvm::StringRef(line).trim();
    if (selection.equals_insensitive("q"))
      return absl::OkStatus();
    size_t number;
    if (selection.getAsInteger(10, number) || number < 1 || number > count) {
      out << (selection.empty() ? "Nothing was selected" : absl::StrCat("\"", selection.str(), "\" is no selection"))
          << ": expected a number from 1 to " << count << ", or q to quit.\n";
      continue;
    }
    auto chosen = switchAccelerator(selection);
    if (absl::IsFailedPrecondition(chosen.status())) {
      out << "Not switched: " << std::string(chosen.status().message()) << ".\n";
      continue;
    }
    if (!chosen.ok())
      return chosen.status();
    printSwitched(out, *chosen);
    printOverride(out);
    out << "\n";
    printFlavors(out);
  }
}

// Returns what is wrong.
static absl::Status run(llvm::raw_ostream &out) {
  if (wanted.getNumOccurrences()) {
    auto chosen = switchAccelerator(wanted);
    if (!chosen.ok())
      return chosen.status();
    if (!asJson) {
      printSwitched(out, *chosen);
      printOverride(out);
    }
  }
  if (asJson)
    return printJSON(out);
  if (listThem || !wanted.getNumOccurrences())
    if (absl::Status status = printList(out); !status.ok())
      return status;
  return listThem || wanted.getNumOccurrences() ? absl::OkStatus() : ask(out);
}

int main(int argc, char **argv) {
  cl::HideUnrelatedOptions(category);
  if (!parseCommandLine(argc, argv, "moai-switch-model", kOverview))
    return kUsageError;
  // Files that are being written are removed first.
  llvm::sys::SetInterruptFunction([] { std::_Exit(130); });
  if (absl::Status status = run(llvm::outs()); !status.ok()) {
    llvm::outs().flush();
    return failInput(status);
  }
  finish();
}
