//===- DataSource.h - Samples to train on ----------------------------------===//
#ifndef MOAI_EXECUTE_DATASOURCE_H
#define MOAI_EXECUTE_DATASOURCE_H

#include "absl/status/statusor.h"
#include "moai/Execute/ModelInputs.h"
#include "moai/Execute/Tensor.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moai {

/// The inputs of one step, whole, by their names.
using Batch = std::map<std::string, std::shared_ptr<const Tensor>>;

/// How a file holds samples.
///  - Text: bytes, each a token, cut into samples one after the other; what is left over at the end is not used.
///  - Ids: decimal token ids, a sample on each line, separated by spaces, tabs or commas.
///  - Npy: NumPy's array of integers, of one dimension (cut as text is) or two (a sample in each row).
///  - Bin16, Bin32: unsigned ids of 16 or 32 bits, little-endian, cut as text is.
///  - Safetensors: every input under `input.NAME` or `NAME`, any number of samples along the batch.
enum class DataFormat { Text, Ids, Npy, Bin16, Bin32, Safetensors };

/// `text`, `ids`, `npy`, `bin16`, `bin32`, `safetensors`.
absl::StatusOr<DataFormat> parseDataFormat(llvm::StringRef text);
llvm::StringRef toString(DataFormat format);

/// A file of samples, mapped into memory and decoded as batches are asked for. Safe to read from several threads.
class DataSource {
public:
  virtual ~DataSource() = default;

  /// Opens a file for a model's inputs; without a format, by its name and content: `.npy`, `.safetensors`, `.bin` (32 bits if every
  /// number of so many is an id of the model's, 16 otherwise), ids if nothing but numbers is in it, text otherwise.
  /// From tokens, an input of use Tokens gets the sample's, Targets the same (or, if it takes the next token, those one further on, for
  /// which a sample then has one token more; in a line or row without it the last target is ignored), Mask ones, Positions 0, 1, 2, ...,
  /// Segments zeros. Of inputs of several lengths the longest says what a sample is, shorter ones get its beginning.
  /// One sentence that names the file, what was found and what was expected: NotFound; InvalidArgument for a file without a whole sample,
  /// an id outside of the model's vocabulary (with the sample and the place in it, from 0), lines of different lengths, a broken header, a
  /// tensor that is missing or of another shape or type, an input that tokens don't tell.
  static absl::StatusOr<std::unique_ptr<DataSource>> open(llvm::StringRef path, std::optional<DataFormat> format,
                                                          llvm::ArrayRef<ModelInput> inputs);
  /// The same of a file's bytes, which must outlive it; `path` is for its name and messages.
  static absl::StatusOr<std::unique_ptr<DataSource>> parse(llvm::StringRef bytes, llvm::StringRef path, std::optional<DataFormat> format,
                                                           llvm::ArrayRef<ModelInput> inputs);

  virtual int64_t numSamples() const = 0;
  /// `data.txt: 1,125 samples of 16 tokens (text, a byte a token)`.
  virtual std::string describe() const = 0;
  /// The same for the same samples (tokens in any format), another with near certainty for others: of what a checkpoint's place in the
  /// data is worth.
  virtual uint64_t fingerprint() const = 0;
  /// The inputs for these samples, in this order; the numbers are below numSamples(). Inputs that no sample extends are taken whole.
  virtual Batch read(llvm::ArrayRef<int64_t> samples) const = 0;
};

/// The order in which samples are visited: epoch after epoch, each sample once in each, shuffled anew for each by the seed or
/// one after the other. A place in it is one number, from 0.
class SampleOrder {
public:
  SampleOrder(int64_t numSamples, uint64_t seed, bool shuffle);
  /// The samples at the places [first, first + count). A pure function of the arguments; the permutation of the last epochs seen is kept.
  std::vector<int64_t> at(int64_t first, int64_t count);

private:
  const std::vector<int64_t> &permutationOf(int64_t epoch);

  int64_t numSamples;
  uint64_t seed;
  bool shuffle;
  int64_t keptEpoch = -1;
  std::vector<int64_t> kept;
};

} // namespace moai

#endif // MOAI_EXECUTE_DATASOURCE_H
