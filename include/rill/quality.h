// What a weight format, an activation mode and a KV format cost in quality, on a real model and
// text. The base is the model with f16 weights (made from the file's, whatever they are), f32
// activations and f32 keys and values; every variant is compared with it at every position. Of AWQ
// and GPTQ checkpoints the base is the file's own weights, and no format is made from them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rill/llm.h"
#include "rill/status.h"

namespace rill {

struct QualityOptions {
  // "f16" and formats that Rill encodes ("q4_0", …), made from the base; "file": the file's own
  // weights; "w8a8", "w4g128": what `--weights` makes of the base at load ("w8a8" has int8
  // activations whatever `activations` says, and one row for both). Empty: all that the model may
  // have.
  std::vector<std::string> formats;
  std::vector<std::string> activations = {"f32", "q8"};
  std::vector<std::string> kv_dtypes = {"f32", "f16", "bf16", "int8", "int4"};
  std::vector<std::string> file_kv_dtypes;  // more of them, for "file" alone
  // Tokens of the text, in windows of `window` that do not overlap. The base's logits are kept:
  // num_tokens * vocab_size * 4 bytes, at most 2 GiB.
  int32_t num_tokens = 2048;
  int32_t window = 512;
  // Threads, backend, page size and such. Its weights, activations, kv_dtype and max_context are
  // not read: the variants and `window` say them.
  LoadOptions load;
  // What a load would warn of, each text once; from the calling thread.
  std::function<void(const std::string& warning)> on_warning;
};

struct QualityRow {
  std::string format, activations, kv_dtype;
  double bits_per_weight = 0;  // of all matrices and tables: as the format stores them
  // What the matrices are stored as, each with its share of their weights, largest first: rows that
  // are no multiple of 256 get another format than a K-quant (llm/requantize.h). Empty for "w8a8"
  // and "w4g128", which --weights makes of the matrices of layers alone.
  std::vector<std::pair<std::string, double>> stored;
  double perplexity = 0;
  double mean_kl = 0, p99_kl = 0, max_kl = 0;  // KL(base || variant) in nats per position
  double same_top = 0;                         // share of positions with the base's top token
  double seconds = 0;
  std::string error;  // why there are no numbers
};

struct QualityTable {
  std::string model;
  int64_t num_tokens = 0, num_positions = 0;
  int32_t window = 0;
  std::string base_weights;  // "f16" or "file"
  double base_perplexity = 0;
  std::vector<QualityRow> rows;
};

// Formats that QualityOptions takes, the base first.
std::vector<std::string> QualityFormats();

// on_row: after each variant; false cancels. Errors: as Llm::Open; kInvalidArgument for an unknown
// name (before anything is loaded) or a text of fewer than two tokens; kUnsupported for a format
// other than "file" of an AWQ or GPTQ checkpoint. A variant that fails has its
// row's error instead.
using OnQualityRow = std::function<bool(const QualityRow& row, int64_t done, int64_t total)>;
Result<QualityTable> MeasureQuality(const std::string& path, std::string_view text,
                                    const QualityOptions& options, const OnQualityRow& on_row);

}  // namespace rill
