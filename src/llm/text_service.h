// TextService: many text requests at once, in three stages on their own threads:
//
//   caller -> [tokenise pool] -> engine thread (EngineLoop) -> [post-process thread] -> caller
//
// tokenise: chat template, token ids; tenants take turns by the time it takes. engine: one forward
// for all. post-process: text joined from ids, stop strings, log-probabilities as text. The queues
// are bounded by requests: at most max_requests live at once, each with at most one entry in the
// tokenise queue and with events that its own max_tokens bounds; the engine never waits for text
// work.
//
// Threads: Submit and Cancel from any thread. Events of one request come in order, on the
// post-process thread (errors of the tokenise stage too); the callback must not block.
// Every accepted request gets exactly one event with is_final, which is its last; also when memory
// runs out in a stage: its error is then kUnavailable, and the others go on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/fair_turns.h"
#include "engine/engine_loop.h"
#include "llm/chat_templates.h"
#include "llm/text_stream.h"
#include "rill/llm.h"
#include "rill/request.h"
#include "text/tokenizer.h"

namespace rill::llm {

// A conversation, a text to continue, or ids.
using TextPrompt = std::variant<ChatInput, std::string, std::vector<int32_t>>;

struct TextRequest {
  TextPrompt prompt;
  // BOS and the like around a text prompt, or around what the template of a conversation wrote.
  bool add_special = true;
  bool parse_special = false;  // control tokens written in a text prompt become their ids
  // Let go together with the prompt, once it is tokenised: what counts a prompt's memory.
  std::shared_ptr<const void> prompt_hold;
  // Of a conversation: the answer goes on the last message instead of beginning one.
  bool continue_final_message = false;
  SamplingParams sampling;  // max_tokens -1: all that fits the context; 0: the prompt alone
  int32_t n = 1;
  int32_t priority = 0;
  // Null: none. Not looked for in the first sampling.min_tokens tokens. Shared by all choices, and
  // by requests that are copies: one may have a mebibyte of them.
  std::shared_ptr<const text::StopStrings> stop;
  bool include_stop_string = false;  // the text ends with what ended it: string, id or end token
  bool skip_special = true;          // control tokens leave no text
  bool want_prompt_ids = false;
  // -1: none. n >= 0: the log-probability of each prompt token and of the n most likely there.
  int32_t prompt_logprobs = -1;
  std::string tenant, cache_salt, length_class;  // as in GenerateRequest
  double weight = 1;                             // as in GenerateRequest
  // From Submit, the tokenise stage included; 0: the engine's. As in GenerateRequest.
  int64_t queue_timeout_ms = 0, total_timeout_ms = 0;
};

struct TextToken {
  int32_t token_id = -1;
  float logprob = 0.0f;
  std::vector<TokenLogprob> top;  // most likely first, when asked for
  // Its space is left out, as some tokenizers do with the first word of a text. Known of an
  // answer's tokens with log-probabilities.
  bool loses_space = false;
};

struct TextEvent {
  int32_t choice = 0;
  std::string text;               // whole UTF-8 characters, may be empty
  std::vector<TextToken> tokens;  // whose text has come with this event or is held back
  FinishReason finish_reason = FinishReason::kNone;
  std::string stop_string;  // with kStop: the stop string that matched, or empty
  // With kStop: the id of sampling.stop_ids that ended it, else -1. The tokenizer's own end is not
  // one of them, unless ignore_eos.
  int32_t stop_id = -1;
  bool is_first = false;  // the request's first event with a token
  int32_t prompt_tokens = 0;
  // With is_first, or with the end when there is no token; when asked for.
  std::shared_ptr<const std::vector<int32_t>> prompt_ids;
  // One entry per prompt token, the first without a value. Moved out by who takes it.
  std::shared_ptr<const std::vector<TextToken>> prompt_logprobs;
  bool is_final = false;  // the request's last event
  // With is_final. completion_tokens counts what the events told: a token that the engine computed
  // after a stop string is not in it.
  Usage usage;
  Status error;  // with kError
};

using TextCallback = std::function<void(const TextEvent&)>;

struct TextServiceOptions {
  int32_t tokenise_threads = 1;
  int32_t max_requests = 1024;  // live at once, in any stage; more are refused with kUnavailable
  // A tenant that has more than max_running of them (what the engine computes at once) holds places
  // of the queue with the others, and of those at most this share, in (0, 1]; fewer the more of
  // them others hold. No tenant (""): all of them.
  int32_t max_running = 0;
  double tenant_share = 1;
};

// Seconds of work of each stage since the start (reference-systems: time shares per phase).
struct StageTimes {
  double tokenise_s = 0;    // chat template and tokenizer
  double detokenise_s = 0;  // text joined from ids, stop strings
  double callback_s = 0;    // inside the callers' callbacks: JSON, handing over to the transport
};

class TextService {
 public:
  // All references must outlive the service. `max_context`: positions of one sequence.
  TextService(std::shared_ptr<const text::Tokenizer> tokenizer,
              std::shared_ptr<const ChatTemplates> chat_templates, int32_t max_context,
              engine::EngineLoop& loop, const TextServiceOptions& options);
  ~TextService();  // cancels what is left; every request still gets its final event
  TextService(const TextService&) = delete;
  TextService& operator=(const TextService&) = delete;

  // Errors come as an event, but for kUnavailable (full, the tenant's share is, or shutting down)
  // which is returned.
  Result<uint64_t> Submit(TextRequest request, TextCallback callback);
  // The same; a refused request is left as it was. `replaces_ended`: called from within the final
  // event of another request, whose place it gets however many others want it.
  Result<uint64_t> TrySubmit(TextRequest& request, TextCallback callback,
                             bool replaces_ended = false);
  void Cancel(uint64_t handle);
  void CancelAll();
  // The ids that Submit would hand to the engine. Thread-safe; the work is done here.
  // Errors: kResourceExhausted for what cannot fit, the template's.
  Result<std::vector<int32_t>> Tokenise(const TextRequest& request) const;

  int32_t max_requests() const { return options_.max_requests; }
  int32_t live_requests() const;
  StageTimes stage_times() const;

 private:
  struct Live;
  struct Post {
    std::shared_ptr<Live> live;
    TokenEvent event;
  };

  void TokeniseMain();
  void PostMain();
  void StartGeneration(const std::shared_ptr<Live>& live);
  // On the engine's thread: keeps an event of the step; hands on what the step emitted.
  void Emit(const std::shared_ptr<Live>& live, const TokenEvent& event) noexcept;
  void PushEmitted() noexcept;
  // These two: mutex_ is held.
  void PushPost(Post& post) noexcept;  // moves it
  void LoseEvent(const std::shared_ptr<Live>& live, bool is_final) noexcept;
  void HandlePost(Post& post);
  void Deliver(Post& post);
  // The end of a request whose events did not find memory on their way.
  void EndWithoutMemory(Live& live);
  void Forget(const Live& live);
  void Erase(const Live& live);  // mutex_ is held
  void CancelChoice(Live& live, int32_t choice);
  engine::ArrivalLoad LoadOf(const TextRequest& request) const;
  // Why no request of this tenant is taken now; mutex_ is held.
  Status Refusal(const std::string& tenant, bool replaces_ended) const;
  void FailRequest(const std::shared_ptr<Live>& live, Status error);

  const std::shared_ptr<const text::Tokenizer> tokenizer_;
  const std::shared_ptr<const ChatTemplates> chat_templates_;
  const int32_t max_context_;
  engine::EngineLoop& loop_;
  const TextServiceOptions options_;

  std::atomic<uint64_t> next_handle_{1};
  std::atomic<int64_t> tokenise_ns_{0}, post_ns_{0}, callback_ns_{0};

  std::vector<Post> emitted_;  // by the step that runs; the engine's thread alone uses it

  mutable std::mutex mutex_;  // guards the members below
  std::condition_variable tokenise_wake_, post_wake_, idle_;
  bool stop_ = false;
  bool post_sleeps_ = false;                          // only then does an event cost a system call
  FairTurns tokenise_turns_;                          // handles of requests_
  std::unordered_map<std::string, int32_t> live_of_;  // by tenant, but for ""
  std::deque<Post> post_queue_;
  std::shared_ptr<Live> without_memory_;  // a list by Live::next: their final events did not fit
  std::unordered_map<uint64_t, std::shared_ptr<Live>> requests_;

  std::vector<std::thread> threads_;
};

}  // namespace rill::llm
