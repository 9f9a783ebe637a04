// MeasureQuality (rill/quality.h).
#include "rill/quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "base/thread_pool.h"
#include "base/utf8.h"
#include "io/check_tensors.h"
#include "llm/llm_impl.h"
#include "llm/requantize.h"
#include "llm/synthetic.h"
#include "llm/weight_warning.h"
#include "model/quant_config.h"
#include "model/weights.h"
#include "quant/kv_format.h"
#include "quant/quantize.h"

namespace rill {

// Opens models from memory (a friend of Llm) and compares their logits.
class QualityRun {
 public:
  // `file`: the tensors at `path`; must outlive this. `sampled`: what is known, and told, of their
  // numbers.
  QualityRun(const QualityOptions& options, std::vector<int32_t> ids, std::string path,
             const io::TensorDirectory& file, const io::TensorReport& sampled)
      : options_(options),
        ids_(std::move(ids)),
        path_(std::move(path)),
        file_(file),
        pool_(options.load.num_threads) {
    for (const io::TensorDefect& defect : sampled.defects) told_.insert(defect.name);
  }

  enum class Warnings { kNone, kOfFile, kOfF16 };

  // The model that Run looks at. What its load has to say of it is passed on, each text once: as
  // of the file, or as of the f16 weights that were made from it.
  Status Open(const io::ModelSource& source, const LoadOptions& load, Warnings warnings) {
    llm_.reset();  // its memory is needed for the next
    RILL_ASSIGN_OR_RETURN(llm_, Llm::OpenSource(source, load));
    if (warnings != Warnings::kNone && options_.on_warning) Warn(warnings == Warnings::kOfF16);
    const model::MatrixUse& use = llm_->impl_->model->matrix_use();
    const auto weights = static_cast<double>(std::max<int64_t>(use.weights, 1));
    const bool as_in_file = load.weights == "file";
    bits_per_weight_ =
        8.0 * static_cast<double>(as_in_file ? use.file_bytes : use.model_bytes) / weights;
    stored_.clear();
    if (!as_in_file) return OkStatus();
    for (const auto& [dtype, count] : use.formats) {
      stored_.emplace_back(DTypeName(dtype), static_cast<double>(count) / weights);
    }
    std::stable_sort(stored_.begin(), stored_.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    return OkStatus();
  }

  // Log-probabilities of every position of every window; the base keeps them, a variant is
  // compared with them. Positions that predict nothing (a window's last) count for KL as well.
  Status Run(std::string_view kv_dtype, bool is_base, QualityRow& row) {
    const auto start = std::chrono::steady_clock::now();
    Llm::Impl& impl = *llm_->impl_;
    const auto kv_format = quant::KvFormatFromName(kv_dtype);
    if (!kv_format) return InvalidArgument("kv_dtype: expected " + quant::KvFormatNames());
    impl.kv_dtype = *kv_format;
    RILL_ASSIGN_OR_RETURN(auto evaluator, impl.MakeEvaluator(options_.window));
    const auto width = static_cast<size_t>(evaluator->width());
    if (is_base) {
      width_ = width;
      base_.resize(ids_.size() * width);
      top_.resize(ids_.size());
    }
    std::vector<double> nll(ids_.size()), kl(ids_.size());
    std::vector<uint8_t> same(ids_.size());
    for (size_t begin = 0; begin < ids_.size(); begin += static_cast<size_t>(options_.window)) {
      const size_t size = std::min(ids_.size() - begin, static_cast<size_t>(options_.window));
      RILL_RETURN_IF_ERROR(
          evaluator->Run(std::span<const int32_t>(ids_).subspan(begin, size), 0,
                         [&](int64_t first, int64_t num_rows, const float* logits) {
                           pool_.ParallelFor(num_rows, 1, [&](int64_t r0, int64_t r1) {
                             std::vector<float> logp(width);
                             for (int64_t r = r0; r < r1; ++r) {
                               const size_t at = begin + static_cast<size_t>(first + r);
                               Compare(logits + static_cast<size_t>(r) * width, at, begin + size,
                                       is_base, logp, nll[at], kl[at], same[at]);
                             }
                           });
                           return OkStatus();
                         }));
    }
    double sum = 0;
    int64_t predicted = 0;
    for (size_t i = 0; i < ids_.size(); ++i) {
      if (!std::isfinite(nll[i]) || !std::isfinite(kl[i])) {
        return Internal(fmt::format("non-finite logits at token {}", i));
      }
      row.same_top += same[i];
      row.mean_kl += kl[i];
      row.max_kl = std::max(row.max_kl, kl[i]);
      if ((i + 1) % static_cast<size_t>(options_.window) == 0 || i + 1 == ids_.size()) continue;
      sum += nll[i];
      ++predicted;
    }
    const auto count = static_cast<double>(ids_.size());
    row.bits_per_weight = bits_per_weight_;
    row.stored = stored_;
    row.same_top /= count;
    row.mean_kl /= count;
    // Nearest rank.
    const auto rank = static_cast<std::ptrdiff_t>(std::ceil(0.99 * count)) - 1;
    std::nth_element(kl.begin(), kl.begin() + rank, kl.end());
    row.p99_kl = kl[static_cast<size_t>(rank)];
    row.perplexity = std::exp(sum / static_cast<double>(std::max<int64_t>(predicted, 1)));
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return OkStatus();
  }

 private:
  void Warn(bool of_f16) {
    // Of f16 weights the file is to blame only where it has a NaN or an Inf itself.
    std::vector<std::string> damaged, made;
    for (const std::string& name : llm_->impl_->model->damaged_tensors()) {
      if (told_.contains(name)) continue;
      (of_f16 && IsFiniteInFile(name) ? made : damaged).push_back(name);
    }
    for (const std::string& text : llm_->impl_->backend->Warnings()) {
      if (warned_.insert(text).second) {
        options_.on_warning((of_f16 ? "weights as f16: " : "") + text);
      }
    }
    for (const auto& text :
         {llm::NonFiniteWarning(path_, {}, damaged), llm::MadeNonFiniteWarning(path_, made)}) {
      if (text && warned_.insert(*text).second) options_.on_warning(*text);
    }
  }

  bool IsFiniteInFile(const std::string& name) const {
    const io::TensorEntry* entry = file_.Find(name);
    io::TensorDirectory one;
    return entry != nullptr && one.Add(*entry).ok() && io::CheckTensors(one).defects.empty();
  }

  void Compare(const float* logits, size_t at, size_t window_end, bool is_base,
               std::vector<float>& logp, double& nll, double& kl, uint8_t& same) {
    const size_t top = static_cast<size_t>(std::max_element(logits, logits + width_) - logits);
    const float largest = logits[top];
    double sum = 0;
    for (size_t i = 0; i < width_; ++i) sum += std::exp(logits[i] - largest);
    const auto log_sum = static_cast<float>(std::log(sum)) + largest;
    for (size_t i = 0; i < width_; ++i) logp[i] = logits[i] - log_sum;
    if (at + 1 < window_end) nll = -static_cast<double>(logp[static_cast<size_t>(ids_[at + 1])]);
    float* base = base_.data() + at * width_;
    if (is_base) {
      std::copy(logp.begin(), logp.end(), base);
      top_[at] = top;
    }
    same = top_[at] == top;
    double total = 0;
    for (size_t i = 0; i < width_; ++i) {
      // Rounding can make a sum of almost nothing negative; terms below e^-50 are nothing.
      if (base[i] > -50) total += static_cast<double>(std::exp(base[i])) * (base[i] - logp[i]);
    }
    kl = std::isnan(total) ? total : std::max(total, 0.0);
  }

  const QualityOptions& options_;
  const std::vector<int32_t> ids_;
  const std::string path_;
  const io::TensorDirectory& file_;
  ThreadPool pool_;
  std::unique_ptr<Llm> llm_;
  std::set<std::string> told_;    // tensors of the file with a NaN or an Inf
  std::set<std::string> warned_;  // texts
  double bits_per_weight_ = 0;
  std::vector<std::pair<std::string, double>> stored_;  // as in QualityRow
  size_t width_ = 0;
  std::vector<float> base_;  // [positions, width] log-probabilities
  std::vector<size_t> top_;  // [positions]
};

std::vector<std::string> QualityFormats() {
  std::vector<std::string> names = {"f16", "bf16", "w8a8", "w4g128"};
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (quant::CanQuantize(dtype) && Traits(dtype).gguf_type >= 0) {
      names.emplace_back(DTypeName(dtype));
    }
  }
  names.emplace_back("file");
  return names;
}

namespace {

Status CheckNames(const QualityOptions& options) {
  const auto check = [](const char* what, const std::vector<std::string>& names,
                        const std::vector<std::string>& known) {
    for (const std::string& name : names) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      std::string list;
      for (const std::string& one : known) list += " " + one;
      return InvalidArgument(std::string(what) + " '" + PrintableUtf8(name, 100) +
                             "': expected one of" + list);
    }
    return OkStatus();
  };
  std::vector<std::string> kv_formats;
  for (int i = 0; i < quant::kNumKvFormats; ++i) {
    kv_formats.emplace_back(quant::KvFormatName(static_cast<quant::KvFormat>(i)));
  }
  RILL_RETURN_IF_ERROR(check("format", options.formats, QualityFormats()));
  RILL_RETURN_IF_ERROR(check("activation mode", options.activations, {"f32", "q8"}));
  RILL_RETURN_IF_ERROR(check("KV format", options.kv_dtypes, kv_formats));
  return check("KV format", options.file_kv_dtypes, kv_formats);
}

}  // namespace

Result<QualityTable> MeasureQuality(const std::string& path, std::string_view text,
                                    const QualityOptions& options, const OnQualityRow& on_row) {
  RILL_RETURN_IF_ERROR(CheckNames(options));
  if (options.window < 2 || options.num_tokens < 2) {
    return InvalidArgument(fmt::format("window and tokens: expected at least 2, got {} and {}",
                                       options.window, options.num_tokens));
  }
  LoadOptions load = options.load;
  load.on_progress = nullptr;
  load.weights = "file";
  load.max_context = options.window;
  load.activations = "f32";
  load.kv_dtype = "f32";
  std::vector<int32_t> ids;
  int64_t vocab_size = 0;
  {
    LoadOptions text_only = load;
    text_only.text_only = true;
    RILL_ASSIGN_OR_RETURN(const auto llm, Llm::Open(path, text_only));
    RILL_ASSIGN_OR_RETURN(ids, llm->Tokenize(text, true, false));
    vocab_size = llm->info().vocab_size;
  }
  if (ids.size() < 2) return InvalidArgument("quality: the text has fewer than two tokens");
  if (ids.size() > static_cast<size_t>(options.num_tokens)) {
    ids.resize(static_cast<size_t>(options.num_tokens));
  }
  constexpr int64_t kMaxBytes = int64_t{2} << 30;
  if (static_cast<int64_t>(ids.size()) > kMaxBytes / 4 / std::max<int64_t>(vocab_size, 1)) {
    return ResourceExhausted(fmt::format("{} tokens of {} log-probabilities: at most 2 GiB, so {}",
                                         ids.size(), vocab_size, kMaxBytes / 4 / vocab_size));
  }
  io::OpenOptions open_options;
  open_options.use_mmap = load.use_mmap;
  RILL_ASSIGN_OR_RETURN(const io::ModelSource file, path.starts_with(llm::kSyntheticPrefix)
                                                        ? llm::MakeSynthetic(path)
                                                        : io::OpenModel(path, open_options));
  io::TensorReport sampled;
  if (options.on_warning && !load.check_tensors) {
    sampled = io::SampleTensors(file.tensors);
    if (const auto warning = llm::NonFiniteWarning(path, sampled, {})) {
      options.on_warning(*warning);
    }
  }
  // Of the file, once: not of what is made of it.
  if (load.check_tensors) {
    const io::TensorReport report = io::CheckTensors(file.tensors);
    if (!report.defects.empty()) {
      return InvalidArgument(PrintableUtf8(path) + ": " + report.Summary());
    }
    load.check_tensors = false;
  }
  // Codes are not weights: what they are put together as is read at load, not here.
  const bool packed = model::HasPackedTensors(file.tensors);
  std::vector<std::string> formats = options.formats;
  if (formats.empty()) formats = packed ? std::vector<std::string>{"file"} : QualityFormats();
  for (const std::string& format : formats) {
    if (!packed || format == "file") continue;
    return Unsupported(fmt::format(
        "{}: format '{}': the file's matrices are packed integers (AWQ, GPTQ), of which no other "
        "format is made; supported: file",
        PrintableUtf8(path), format));
  }
  io::ModelSource base = file;
  if (!packed) {
    RILL_ASSIGN_OR_RETURN(base, llm::Requantize(file, DType::kF16, load.num_threads));
  }
  QualityTable table;
  table.base_weights = packed ? "file" : "f16";
  table.model = path;
  table.num_tokens = static_cast<int64_t>(ids.size());
  table.num_positions = table.num_tokens;
  table.window = options.window;
  QualityRun run(options, std::move(ids), path, file.tensors, sampled);
  QualityRow base_row;
  using Warnings = QualityRun::Warnings;
  RILL_RETURN_IF_ERROR(run.Open(base, load, packed ? Warnings::kOfFile : Warnings::kOfF16));
  RILL_RETURN_IF_ERROR(run.Run(load.kv_dtype, true, base_row));
  table.base_perplexity = base_row.perplexity;

  const auto modes_of = [&](const std::string& format) {
    return format == "w8a8" ? std::vector<std::string>{"q8"} : options.activations;
  };
  const auto kv_dtypes_of = [&](const std::string& format) {
    std::vector<std::string> names = options.kv_dtypes;
    if (format == "file") {
      names.insert(names.end(), options.file_kv_dtypes.begin(), options.file_kv_dtypes.end());
    }
    return names;
  };
  int64_t total = 0;
  for (const std::string& format : formats) {
    total += static_cast<int64_t>(modes_of(format).size() * kv_dtypes_of(format).size());
  }
  for (const std::string& format : formats) {
    io::ModelSource made = base;
    Status status;
    load.weights = "file";
    if (format == "file") {
      made = file;
    } else if (format == "w8a8" || format == "w4g128") {
      load.weights = format;
    } else if (format != "f16") {
      auto encoded = llm::Requantize(base, *DTypeFromName(format), load.num_threads);
      status = encoded.status();
      if (encoded.ok()) made = std::move(encoded).value();
    }
    for (const std::string& activations : modes_of(format)) {
      load.activations = activations;
      const Warnings warnings = format == "file" ? Warnings::kOfFile : Warnings::kNone;
      const Status opened = status.ok() ? run.Open(made, load, warnings) : status;
      for (const std::string& kv_dtype : kv_dtypes_of(format)) {
        QualityRow row;
        row.format = format;
        row.activations = activations;
        row.kv_dtype = kv_dtype;
        const Status failed = opened.ok() ? run.Run(kv_dtype, false, row) : opened;
        if (!failed.ok()) row.error = failed.message();
        table.rows.push_back(row);
        if (on_row && !on_row(row, static_cast<int64_t>(table.rows.size()), total)) {
          return Cancelled("interrupted");
        }
      }
    }
  }
  return table;
}

}  // namespace rill
