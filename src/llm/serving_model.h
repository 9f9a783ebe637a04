// ServingModel: a loaded model with its engine on a thread of its own and the text service in
// front of it. What a server holds one of per model.
//
// Threads: all const methods and text() from any thread. Destruction cancels what is left, so it
// must not happen on a thread of the text service itself (a callback).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine_loop.h"
#include "engine/model_runner.h"
#include "llm/text_service.h"
#include "rill/llm.h"
#include "rill/request.h"

namespace rill::llm {

struct ServingOptions {
  LoadOptions load;          // load.max_sequences: choices that run at once
  int64_t kv_bytes = 0;      // KV memory; never less than one whole context takes
  bool preallocate = false;  // KV memory is resident at once, not as it is first used
  bool scrub_kv = false;     // ModelRunnerOptions::scrub
  // Most that weights, activations and KV memory may take together: KV memory shrinks to one
  // context at least. Weights in memory may be more than ServingPlan says from the file.
  std::optional<int64_t> memory_bytes;
  int32_t max_waiting = 1024;  // requests in the engine's queue, and never fewer than text's
  double itl_target_ms = 0;    // EngineOptions'
  bool predict_lengths = true;
  // Of requests without a seed; absent: from std::random_device, so that no two starts and no two
  // replicas answer the same.
  std::optional<uint64_t> seed;
  TextServiceOptions text;
};

// What a load would take, from shapes alone. Bytes.
struct ServingPlan {
  std::string path;
  std::string family;
  int32_t max_context = 0;
  int64_t weight_bytes = 0;  // as they lie in the file, and what is rearranged in memory
  int64_t activation_bytes = 0;
  int64_t kv_token_bytes = 0;  // one position of one sequence
};

class ServingModel {
 public:
  // Reads and checks the file, allocates nothing. `path` as for Llm::Open.
  static Result<ServingPlan> Plan(const std::string& path, const LoadOptions& options);
  // Errors: Llm::Open's; kUnsupported for an encoder or a model without a tokenizer;
  // kResourceExhausted, with the sums, for one that needs more than options.memory_bytes.
  static Result<std::unique_ptr<ServingModel>> Load(const std::string& path,
                                                    const ServingOptions& options);
  ~ServingModel();

  const ModelInfo& info() const { return llm_->info(); }
  TextService& text() { return *text_; }
  EngineStats stats() const { return loop_->stats(); }
  // For how long the step that runs now has been running; 0 between steps. Takes no lock.
  double current_step_ms() const { return loop_->current_step_ms(); }
  // Choices of all requests that can run at once.
  int32_t max_choices() const { return max_choices_; }
  // Refuses new requests and lets those under way end.
  void Drain() { loop_->Stop(true); }

  const Llm& llm() const { return *llm_; }
  std::string TokenBytes(int32_t id) const { return tokenizer_->TokenBytes(id); }
  std::string Decode(std::span<const int32_t> ids) const { return tokenizer_->Decode(ids); }
  bool IsSpecial(int32_t id) const { return tokenizer_->IsSpecial(id); }
  std::optional<int32_t> bos_id() const { return tokenizer_->bos_id(); }
  std::optional<int32_t> eos_id() const { return tokenizer_->eos_id(); }
  // Jinja source, empty when the model has none; of several, that of a chat without tools.
  const std::string& chat_template_source() const { return template_source_; }
  // Everything that a chat can be rendered with.
  const std::string& all_chat_template_sources() const { return all_template_sources_; }
  const std::string& kind_of_tokenizer() const { return tokenizer_kind_; }

  // Of the logits' bits of a fixed prompt (Llm::Fingerprint): equal on every machine.
  uint64_t fingerprint() const { return fingerprint_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  int64_t activation_bytes() const { return activation_bytes_; }
  int64_t kv_bytes() const { return kv_bytes_; }
  int64_t kv_token_bytes() const { return kv_token_bytes_; }
  int32_t page_size() const { return page_size_; }

 private:
  ServingModel() = default;

  // In order of construction; destroyed in reverse.
  std::unique_ptr<Llm> llm_;
  std::unique_ptr<engine::ModelRunner> runner_;
  std::unique_ptr<engine::EngineLoop> loop_;
  std::unique_ptr<TextService> text_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::string template_source_, all_template_sources_, tokenizer_kind_;
  uint64_t fingerprint_ = 0;
  int64_t weight_bytes_ = 0, activation_bytes_ = 0, kv_bytes_ = 0, kv_token_bytes_ = 0;
  int32_t page_size_ = 0, max_choices_ = 0;
};

}  // namespace rill::llm
