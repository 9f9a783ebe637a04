// rill eval logits | perplexity | fingerprint: numbers to compare with other programs.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "arithmetic_text.h"
#include "command.h"
#include "npy_writer.h"
#include "progress.h"
#include "rill/model_store.h"
#include "rill/quality.h"

namespace rill::app {
namespace {

constexpr size_t kMaxInputBytes = 256u << 20;

struct EvalFlags {
  ModelFlags model;
  std::string tokens;
  std::string out;
  std::string text;
  int32_t window = 0;
  int32_t stride = 0;
  int32_t limit = 0;
  QualityOptions quality;
};

Result<std::vector<int32_t>> ReadIds(const std::string& path) {
  RILL_ASSIGN_OR_RETURN(const std::string text, ReadText(path, kMaxInputBytes));
  RILL_ASSIGN_OR_RETURN(const Json json, Json::Parse(text, path));
  RILL_ASSIGN_OR_RETURN(auto ids, TokenIds(json, path));
  if (ids.empty()) return InvalidArgument(path + ": no token ids");
  return ids;
}

void WarnBeyondTraining(const ModelInfo& info, int64_t num_tokens) {
  if (info.trained_context <= 0 || num_tokens <= info.trained_context) return;
  std::fprintf(stderr, "rill: warning: %lld tokens at once, but the model was trained for %d\n",
               static_cast<long long>(num_tokens), info.trained_context);
}

Status EvalLogits(EvalFlags& flags) {
  const bool to_stdout = flags.out == "-";
  if (to_stdout && flags.model.json) {
    return InvalidArgument("--out -: stdout gets the array, so --json has no place");
  }
  if (to_stdout && StdoutIsTerminal()) {
    return InvalidArgument("--out -: stdout is a terminal; name a file or a pipe for the array");
  }
  RILL_ASSIGN_OR_RETURN(const auto ids, ReadIds(flags.tokens));
  if (flags.model.options.max_context == 0) {
    flags.model.options.max_context = static_cast<int32_t>(ids.size());
  }
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  WarnBeyondTraining(llm->info(), static_cast<int64_t>(ids.size()));
  NpyWriter writer;
  RILL_RETURN_IF_ERROR(
      writer.Open(flags.out, {static_cast<int64_t>(ids.size()), llm->logits_width()}));
  InterruptScope interrupt;
  ProgressBar bar("logits", ProgressBar::Unit::kCount);
  int64_t num_bad = 0;
  RILL_RETURN_IF_ERROR(llm->EvalLogits(ids, [&](int64_t first, int64_t rows, const float* logits) {
    num_bad += std::count_if(logits, logits + rows * llm->logits_width(),
                             [](float logit) { return !std::isfinite(logit); });
    bar.Update(first + rows, static_cast<int64_t>(ids.size()));
    if (interrupt.interrupted()) return Cancelled("eval logits: interrupted");
    return writer.Append(logits, rows * llm->logits_width());
  }));
  RILL_RETURN_IF_ERROR(writer.Finish());
  bar.Clear();
  if (num_bad > 0) {
    std::fprintf(stderr, "rill: warning: %lld of %lld logits are NaN or Inf\n",
                 static_cast<long long>(num_bad),
                 static_cast<long long>(static_cast<int64_t>(ids.size()) * llm->logits_width()));
  }
  if (flags.model.json) {
    Json out;
    out.Set("out", flags.out);
    out.Set("shape",
            Json::Array{Json(static_cast<int64_t>(ids.size())), Json(llm->logits_width())});
    out.Set("non_finite", num_bad);
    PrintJson(out);
  } else if (!to_stdout) {
    WriteStdout(fmt::format("{}: [{}, {}] f32\n", flags.out, ids.size(), llm->logits_width()));
  }
  return OkStatus();
}

Status EvalPerplexity(EvalFlags& flags) {
  RILL_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text, kMaxInputBytes));
  RILL_RETURN_IF_ERROR(CheckUtf8(text, flags.text));
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  const int32_t window = flags.window > 0 ? flags.window : std::min(2048, llm->info().max_context);
  const int32_t stride = flags.stride > 0 ? flags.stride : window;
  WarnBeyondTraining(llm->info(), window);
  InterruptScope interrupt;
  ProgressBar bar("perplexity", ProgressBar::Unit::kCount);
  RILL_ASSIGN_OR_RETURN(const PerplexityResult result,
                        llm->EvalPerplexity(text, window, stride, [&](int64_t done, int64_t total) {
                          bar.Update(done, total);
                          return !interrupt.interrupted();
                        }));
  if (flags.model.json) {
    Json out;
    out.Set("perplexity", result.perplexity);
    out.Set("mean_nll", result.mean_nll);
    out.Set("num_tokens", Json(result.num_tokens));
    out.Set("num_predicted", Json(result.num_predicted));
    out.Set("window", window);
    out.Set("stride", stride);
    out.Set("seconds", result.seconds);
    PrintJson(out);
  } else {
    WriteStdout(fmt::format(
        "perplexity {:.6f}  ({} tokens, {} predicted, window {}, stride {}, {:.1f} s)\n",
        result.perplexity, result.num_tokens, result.num_predicted, window, stride,
        result.seconds));
  }
  return OkStatus();
}

Status EvalFingerprint(EvalFlags& flags) {
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  RILL_ASSIGN_OR_RETURN(const uint64_t hash, llm->Fingerprint());
  const std::string hex = fmt::format("{:016x}", hash);
  if (flags.model.json) {
    Json out;
    out.Set("fingerprint", hex);
    out.Set("num_tokens", std::min(llm->info().max_context, Llm::kFingerprintTokens));
    out.Set("weights", flags.model.options.weights);
    out.Set("activations", flags.model.options.activations);
    out.Set("kv_dtype", flags.model.options.kv_dtype);
    out.Set("backend", llm->info().backend);
    PrintJson(out);
  } else {
    // A shorter context has another prompt, so its hash compares with no other.
    const int32_t context = llm->info().max_context;
    WriteStdout(
        fmt::format("{}  {}{}\n", hex, ArithmeticText(flags.model.options, ", "),
                    context < Llm::kFingerprintTokens ? fmt::format(", {} tokens", context) : ""));
  }
  return OkStatus();
}

Json QualityJson(const QualityTable& table) {
  Json::Array rows;
  for (const QualityRow& row : table.rows) {
    Json entry;
    entry.Set("format", row.format);
    entry.Set("activations", row.activations);
    entry.Set("kv_dtype", row.kv_dtype);
    entry.Set("bits_per_weight", row.bits_per_weight);
    Json stored;
    for (const auto& [format, share] : row.stored) stored.Set(format, share);
    if (!row.stored.empty()) entry.Set("stored", std::move(stored));
    if (row.error.empty()) {
      entry.Set("perplexity", row.perplexity);
      entry.Set("mean_kl", row.mean_kl);
      entry.Set("p99_kl", row.p99_kl);
      entry.Set("max_kl", row.max_kl);
      entry.Set("same_top", row.same_top);
    } else {
      entry.Set("error", row.error);
    }
    entry.Set("seconds", row.seconds);
    rows.push_back(std::move(entry));
  }
  Json out;
  out.Set("model", table.model);
  out.Set("num_tokens", table.num_tokens);
  out.Set("window", table.window);
  out.Set("base_weights", table.base_weights);
  out.Set("base_perplexity", table.base_perplexity);
  out.Set("rows", std::move(rows));
  return out;
}

// A Markdown table, which docs/quality.md holds as it is.
std::string QualityText(const QualityRow& row, double base_perplexity) {
  if (!row.error.empty()) {
    return fmt::format("| {} | {} | {} | {} |\n", row.format, row.activations, row.kv_dtype,
                       row.error);
  }
  return fmt::format("| {} | {} | {} | {:.3f} | {:+.2f} % | {:.5f} | {:.4f} | {:.1f} |\n",
                     row.format, row.activations, row.kv_dtype, row.perplexity,
                     100 * (row.perplexity / base_perplexity - 1), row.mean_kl, row.p99_kl,
                     100 * row.same_top);
}

// What each format is, before the rows: "| q4_k | 5.41 | q5_0 80 %, q4_k 20 % |".
std::string FormatsText(const QualityTable& table) {
  std::string out = "| weights | bits/weight | matrices are stored as |\n|---|---:|---|\n";
  std::string last;
  for (const QualityRow& row : table.rows) {
    if (row.format == last || !row.error.empty()) continue;
    last = row.format;
    std::string stored;
    for (const auto& [format, share] : row.stored) {
      stored += fmt::format("{}{} {:.1f} %", stored.empty() ? "" : ", ", format, 100 * share);
    }
    if (stored.empty()) stored = "made at load, of layers' matrices alone";
    out += fmt::format("| {} | {:.2f} | {} |\n", row.format, row.bits_per_weight, stored);
  }
  return out + "\n";
}

Status EvalQuality(EvalFlags& flags) {
  RILL_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text, kMaxInputBytes));
  RILL_RETURN_IF_ERROR(CheckUtf8(text, flags.text));
  RILL_ASSIGN_OR_RETURN(const std::string path, ResolveModel(flags.model.model));
  flags.quality.load = flags.model.options;
  flags.quality.on_warning = [](const std::string& warning) {
    std::fprintf(stderr, "rill: warning: %s\n", ForTerminal(warning).c_str());
  };
  InterruptScope interrupt;
  ProgressBar bar("quality", ProgressBar::Unit::kCount);
  RILL_ASSIGN_OR_RETURN(const QualityTable table,
                        MeasureQuality(path, text, flags.quality,
                                       [&](const QualityRow&, int64_t done, int64_t total) {
                                         bar.Update(done, total);
                                         return !interrupt.interrupted();
                                       }));
  if (flags.model.json) {
    PrintJson(QualityJson(table));
    return OkStatus();
  }
  std::string out = fmt::format(
      "{} tokens in windows of {}; base: {} weights, f32 activations, f32 keys and values, "
      "perplexity {:.3f}\n\n",
      table.num_tokens, table.window, table.base_weights == "file" ? "the file's" : "f16",
      table.base_perplexity);
  out += FormatsText(table);
  out +=
      "| weights | activations | KV | perplexity | of base | mean KL | 99 % KL | "
      "same top % |\n|---|---|---|---:|---:|---:|---:|---:|\n";
  for (const QualityRow& row : table.rows) out += QualityText(row, table.base_perplexity);
  WriteStdout(out);
  return OkStatus();
}

}  // namespace

void AddEval(CLI::App& app, CommandContext& context) {
  CLI::App* eval = app.add_subcommand("eval", "Logits, perplexity, quality, fingerprint");
  eval->require_subcommand(1);
  eval->footer(
      "Examples:\n  rill eval logits smollm2 --tokens ids.json --out logits.npy\n"
      "  rill eval perplexity smollm2 --text wiki.test.raw\n"
      "  rill eval quality smollm2 --text wiki.test.raw --tokens 2048\n"
      "  rill eval fingerprint smollm2\n`rill eval COMMAND --help` says more of each.");

  auto add = [&](const char* name, const char* description, Status (*action)(EvalFlags&)) {
    auto flags = std::make_shared<EvalFlags>();
    CLI::App* command = eval->add_subcommand(name, description);
    flags->model.AddTo(*command);
    command->callback([flags, action, &context] {
      const Status status = action(*flags);
      if (!status.ok()) context.exit_code = ReportError(status, flags->model.json);
    });
    return std::pair(command, flags);
  };
  {
    auto [command, flags] =
        add("logits", "Logits of every position of a token sequence, as a NumPy file", EvalLogits);
    command->footer("Example:\n  rill eval logits smollm2 --tokens ids.json --out logits.npy");
    command->add_option("--tokens", flags->tokens, "JSON array of token ids ('-': stdin)")
        ->check(FileName())
        ->required();
    command->add_option("--out", flags->out, "X.npy: [num_tokens, vocab_size] f32 ('-': stdout)")
        ->check(FileName())
        ->required();
  }
  {
    auto [command, flags] =
        add("perplexity", "Sliding-window perplexity of a text", EvalPerplexity);
    command->footer(
        "Windows of --window tokens begin every --stride tokens; each token is predicted once.\n"
        "Example:\n  rill eval perplexity smollm2 --text wiki.test.raw --window 1024 --stride 512");
    command->add_option("--text", flags->text, "The text file ('-': stdin)")
        ->check(FileName())
        ->required();
    command->add_option("--window", flags->window, "Tokens per window (0: 2048 or the context)")
        ->check(CLI::Range(0, 1 << 24));
    command->add_option("--stride", flags->stride, "Tokens between windows (0: the window)")
        ->check(CLI::Range(0, 1 << 24));
  }
  {
    auto [command, flags] =
        add("quality", "What weight, activation and KV formats cost, as a table", EvalQuality);
    std::string formats;
    for (const std::string& name : QualityFormats()) formats += " " + name;
    command->footer(
        "Every variant against the model with f16 weights made from the file, f32 activations and\n"
        "f32 keys and values, at each position of the text. Formats:" +
        formats + "\nExample:\n  rill eval quality smollm2 --text wiki.test.raw --tokens 2048");
    // What the rows differ in, what follows from --window, and what is for models of a file: most
    // of these are made from it.
    for (const char* name :
         {"--weights", "--activations", "--kv-dtype", "--context", "--pack-cache"}) {
      command->remove_option(command->get_option(name));
    }
    command->add_option("--text", flags->text, "The text file ('-': stdin)")
        ->check(FileName())
        ->required();
    command->add_option("--tokens", flags->quality.num_tokens, "Of the text, from its start")
        ->check(CLI::Range(2, 1 << 20))
        ->capture_default_str();
    command->add_option("--window", flags->quality.window, "Tokens per window")
        ->check(CLI::Range(2, 1 << 20))
        ->capture_default_str();
    command
        ->add_option("--formats", flags->quality.formats,
                     "Weight formats (default: all; of AWQ and GPTQ checkpoints 'file' alone)")
        ->delimiter(',');
    command->add_option("--modes", flags->quality.activations, "Activation modes")
        ->delimiter(',')
        ->capture_default_str();
    command->add_option("--kv-formats", flags->quality.kv_dtypes, "KV formats")
        ->delimiter(',')
        ->capture_default_str();
    command
        ->add_option("--file-kv-formats", flags->quality.file_kv_dtypes,
                     "More KV formats, with the file's own weights")
        ->delimiter(',');
  }
  {
    CLI::App* command = add("fingerprint",
                            "64-bit hash of the logits of a fixed prompt: the same on every "
                            "machine, ISA and thread count",
                            EvalFingerprint)
                            .first;
    command->footer("Example:\n  rill eval fingerprint smollm2 --activations q8");
  }
}

}  // namespace rill::app
