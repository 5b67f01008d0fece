//===- LossPlot.cpp - A picture of losses ----------------------------------===//
#include "LossPlot.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "moai/Support/File.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include <optional>

using namespace moai;

absl::Status moai::checkPlotter() {
  if (llvm::sys::findProgramByName("gnuplot"))
    return absl::OkStatus();
  return absl::NotFoundError("--plot draws with gnuplot, which is not installed; install the package gnuplot-nox, or write --metrics");
}

static std::string dataBlock(const char *name, const LossCurve &curve) {
  std::string text = absl::StrCat("$", name, " << END\n");
  for (auto [step, loss] : curve)
    absl::StrAppendFormat(&text, "%.17g %.17g\n", step, loss);
  return text + "END\n";
}

static std::string scriptFor(const LossCurve &losses, const LossCurve &evaluations) {
  std::string script =
      absl::StrCat(dataBlock("losses", losses), dataBlock("evaluations", evaluations),
                   "set terminal svg size 800,450 dynamic font 'sans-serif,12' background rgb 'white'\n"
                   "set xlabel 'step'\nset ylabel 'loss'\nset grid lc rgb '#dddddd'\nset border 3\nset tics nomirror out\n");
  // A range of one point is none; gnuplot warns of it.
  if (losses.size() == 1)
    absl::StrAppendFormat(&script, "set xrange [%.17g:%.17g]\nset yrange [%.17g:%.17g]\n", losses[0].first - 1, losses[0].first + 1,
                          losses[0].second - 1, losses[0].second + 1);
  absl::StrAppend(&script, "plot $losses using 1:2 with ", losses.size() == 1 ? "points" : "lines",
                  " lw 2 lc rgb '#2166ac' title 'training'");
  if (!evaluations.empty())
    absl::StrAppend(&script, ", $evaluations using 1:2 with linespoints lw 2 pt 7 ps 0.5 lc rgb '#b2182b' title 'evaluation'");
  return script + "\n";
}

absl::Status moai::drawLosses(const std::string &path, const LossCurve &losses, const LossCurve &evaluations) {
  if (absl::Status status = checkPlotter(); !status.ok())
    return status;
  if (losses.empty())
    return absl::OkStatus();
  llvm::SmallString<128> script, picture, errors;
  for (auto [ending, file] : {std::pair("gnuplot", &script), {"svg", &picture}, {"txt", &errors}})
    if (std::error_code error = llvm::sys::fs::createTemporaryFile("moai-plot", ending, *file))
      return absl::PermissionDeniedError(absl::StrCat(path, ": can't be drawn (", error.message(), ")"));
  llvm::FileRemover removeScript(script), removePicture(picture), removeErrors(errors);
  if (absl::Status status = writeFile(script, scriptFor(losses, evaluations)); !status.ok())
    return status;
  std::optional<llvm::StringRef> streams[] = {llvm::StringRef(""), llvm::StringRef(picture), llvm::StringRef(errors)};
  int code = llvm::sys::ExecuteAndWait(*llvm::sys::findProgramByName("gnuplot"), {"gnuplot", script}, std::nullopt, streams);
  auto drawn = llvm::MemoryBuffer::getFile(picture);
  if (code != 0 || !drawn)
    return absl::InternalError(absl::StrCat(path, ": can't be drawn (gnuplot ended with ", code, ")"));
  return writeFile(path, (*drawn)->getBuffer());
}
