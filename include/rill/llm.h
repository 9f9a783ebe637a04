// Llm: a model with its tokenizer, chat template and engine. The whole library behind one class.
//
//   auto llm = rill::Llm::Open("model.gguf", {});
//   auto prompt = (*llm)->RenderChat({.messages = ...});
//   auto answer = (*llm)->Generate(prompt->token_ids, {}, [](std::string_view piece) { ... });
//
// Threads: Generate, EvalLogits, EvalPerplexity and Fingerprint belong to one thread at a time; all
// other calls are const and thread-safe. Nothing here throws or prints.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rill/hardware.h"
#include "rill/json.h"
#include "rill/sampling.h"
#include "rill/status.h"

namespace rill {

namespace llm {
class ServingModel;  // llm/serving_model.h
}
namespace io {
struct ModelSource;  // io/model_source.h
}

// How far a long piece of work is: 0 <= done <= total. Called often, from the thread of the call.
using OnProgress = std::function<void(int64_t done, int64_t total)>;

struct LoadOptions {
  int num_threads = 0;          // <= 0: every CPU this process may use
  std::string backend = "cpu";  // "cpu" or "reference" (slow and obvious, for comparison)
  std::string cpu_isa;          // "": the best present; part of speed only, never of the result
  // "f32" or "q8": part of the arithmetic. f32 until a measured table says otherwise: on SmolLM2
  // Q4_1 q8 decodes twice as fast, but gives another top token at one position in forty.
  std::string activations = "f32";
  // "file": as the file has them. "w8a8": matrices of layers to int8 per row, their activations to
  // int8 per token whatever `activations` says; "w4g128": to 4 bits in groups of 128. Both made at
  // load from f32, f16 or bf16; embeddings, lm_head and routers stay as they are.
  std::string weights = "file";
  // "f32", "f16", "bf16", "int8", "int4": part of the arithmetic. int8: 10 bits an
  // element at a KL of 3e-4 against f32 on SmolLM2 (docs/performance.md).
  std::string kv_dtype = "int8";
  int32_t max_context = 0;        // positions; 0: what the model was trained for, at most 32768
  int32_t page_size = 64;         // KV positions per page, multiple of 16
  int32_t max_step_tokens = 512;  // prefill chunk: rows of the largest step
  int32_t max_sequences = 8;      // sequences at once
  bool use_mmap = true;
  // Keep the weights as the backend packed them in a file beside the model, or in the cache folder
  // where that cannot be written, for the next load (docs/models.md). Part of speed only.
  bool pack_cache = false;
  bool check_tensors = false;  // refuse NaN and Inf weights
  bool text_only = false;      // tokenizer and chat template, no weights
  bool plan_only = false;      // the same, and config, shapes and memory plan for Inspect
  OnProgress on_progress;      // may be null; bytes of the file's matrices, as they are made ready
};

struct ModelInfo {
  std::string path;
  std::string format;  // "gguf" or "huggingface"
  std::string family;  // "llama", "qwen2", …
  std::string name;
  std::string backend;  // "cpu: avx2, 2 threads"
  int32_t num_layers = 0, hidden_size = 0, num_heads = 0, num_kv_heads = 0, vocab_size = 0;
  int32_t max_context = 0;  // positions this load allows
  int32_t trained_context = 0;
  int64_t num_parameters = 0;
  bool is_encoder = false;
  bool has_tokenizer = false;
  bool has_chat_template = false;
  // The model brings a template that cannot be used, and why: RenderChat gives the same error.
  // Empty when it has one that works, or none.
  std::string chat_template_error;
  double load_s = 0;  // wall time of Open
  // With LoadOptions::pack_cache: the file that was read, or that was written; both empty where
  // neither could be, and `warnings` says why.
  std::string pack_cache_read, pack_cache_written;
  int64_t pack_cache_bytes = 0;
  // What a user should be told: NaN or Inf weights, a CPU that only has slow kernels.
  std::vector<std::string> warnings;
};

struct ChatInput {
  Json messages;   // [{"role": …, "content": …}, …]
  Json tools;      // array or null
  Json documents;  // array or null
  Json extra;      // object or null: further template variables, trusted like the template
  // The same from a request: their text never becomes control tokens.
  Json untrusted_extra;
  bool add_generation_prompt = true;
};

struct RenderedPrompt {
  std::string text;                // as the template wrote it
  std::vector<int32_t> token_ids;  // control tokens only where the template itself wrote them
};

struct GenerateOptions {
  // max_tokens is cut to what fits the context after the prompt; 0: all that fits.
  SamplingParams sampling;
  std::vector<std::string> stop;  // stop strings; the text ends before the first of them
  // The answer goes on the prompt's text (no chat template between): a first token that begins a
  // word keeps its space, which SentencePiece would drop at the start of a text.
  bool continues_prompt = false;
  bool show_special = false;  // write control tokens into the text
  OnProgress on_prompt;       // may be null; prompt tokens that are computed, after each step
};

struct GenerateStats {
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  double first_token_s = 0;  // from the call to the first output token
  double prefill_s = 0;      // the same, less queueing: prompt tokens / prefill_s = rate
  double decode_s = 0;       // from the first to the last output token
  double prompt_tokens_per_s = 0;
  double decode_tokens_per_s = 0;  // (output_tokens - 1) / decode_s
  int64_t resident_bytes = 0;      // of the process, now
};

struct GenerateResult {
  std::vector<int32_t> output_ids;  // with the stop token, when one ended it
  std::string text;                 // without stop token and stop string
  std::string finish_reason;        // "stop", "length" or "cancelled"
  std::string stop_string;          // the one that matched, or empty
  GenerateStats stats;
};

struct PerplexityResult {
  double perplexity = 0;   // exp(mean negative log-likelihood)
  double mean_nll = 0;     // nats per predicted token
  int64_t num_tokens = 0;  // of the text
  int64_t num_predicted = 0;
  double seconds = 0;
};

// What this machine can do at most with the backend, kernels and threads of `load`, as
// Llm::MeasureCeilings, without a model.
Result<Ceilings> MeasureCeilings(const LoadOptions& load, const CeilingOptions& options = {});

class Llm {
 public:
  // `path`: a GGUF file, a Hugging Face folder, or a .safetensors/.bin file that io/ knows.
  static Result<std::unique_ptr<Llm>> Open(const std::string& path, const LoadOptions& options);
  ~Llm();

  const ModelInfo& info() const;

  // Errors: kFailedPrecondition when the model brings no tokenizer (or a broken one), and why.
  Result<std::vector<int32_t>> Tokenize(std::string_view text, bool add_special,
                                        bool parse_special) const;
  Result<std::string> Detokenize(std::span<const int32_t> token_ids, bool skip_special) const;
  // The vocabulary's own text of one id, for listings.
  std::string TokenText(int32_t token_id) const;
  Result<RenderedPrompt> RenderChat(const ChatInput& input) const;

  // Runs the prompt and streams the answer. `on_text` gets whole UTF-8 characters; the pieces
  // joined are result.text. `cancel` (may be null) ends the generation within one step.
  using OnText = std::function<void(std::string_view piece)>;
  Result<GenerateResult> Generate(std::span<const int32_t> prompt_ids,
                                  const GenerateOptions& options, const OnText& on_text,
                                  const std::atomic<bool>* cancel = nullptr);

  // Logits of every position, in order: on_rows(first_row, num_rows, logits), logits
  // [num_rows, vocab_size] f32 (hidden states for an encoder). An error of on_rows ends the call.
  using OnRows = std::function<Status(int64_t first_row, int64_t num_rows, const float* logits)>;
  Status EvalLogits(std::span<const int32_t> token_ids, const OnRows& on_rows);
  // Floats per row that EvalLogits gives.
  int64_t logits_width() const;

  // Sliding-window perplexity as transformers' documentation defines it: windows of `window`
  // tokens begin every `stride` tokens; each token is predicted once, in the first window that has
  // it, with what precedes it there. on_position(done, total) in tokens; false cancels.
  using OnPosition = std::function<bool(int64_t done, int64_t total)>;
  Result<PerplexityResult> EvalPerplexity(std::string_view text, int32_t window, int32_t stride,
                                          const OnPosition& on_position);

  // Tokens of the fixed prompt of Fingerprint; a context that is shorter cuts it.
  static constexpr int32_t kFingerprintTokens = 48;
  // Hash of the logits' bits of a fixed prompt: equal on every machine, ISA and thread count for
  // the same file, weights, activations and KV dtype. kFailedPrecondition: a logit is NaN or Inf.
  Result<uint64_t> Fingerprint();

  // Everything that `rill inspect` prints: config, tensors by type, memory plan for `context`
  // positions (0: max_context), kernels, metadata. Reads every weight to check it; on_progress (may
  // be null) in bytes of that.
  Json Inspect(int32_t context, const OnProgress& on_progress = nullptr) const;

  // What this machine can do at most, for a "% of limit" (rill/hardware.h). Takes half a second on
  // all threads: before serving, not between steps.
  Result<Ceilings> MeasureCeilings(const CeilingOptions& options = {});

 private:
  friend class Benchmark;   // rill/bench.h
  friend class QualityRun;  // rill/quality.h
  friend class llm::ServingModel;
  Llm();
  static Result<std::unique_ptr<Llm>> OpenSource(const io::ModelSource& source,
                                                 const LoadOptions& options);
  static Result<std::unique_ptr<Llm>> OpenOrNoMemory(const std::string& path,
                                                     const io::ModelSource* source,
                                                     const LoadOptions& options);
  static Result<std::unique_ptr<Llm>> OpenFrom(const std::string& path,
                                               const io::ModelSource* source,
                                               const LoadOptions& options);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// For a program's main(): when a mapped model file is truncated or its disk fails, one line on
// stderr names the file and the process exits with 74. (The kernel reports it with SIGBUS in the
// middle of a computation; without this call that kills the process without a word.)
void ExitOnMappingFault();

// Operators of the standard with the kernels of every backend: what `rill ops` prints.
Json DescribeOps();
// Version, compiler, CPU and ISA found: what `rill --version --json` prints.
Json DescribeBuild();

}  // namespace rill
