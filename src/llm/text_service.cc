#include "llm/text_service.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <optional>
#include <utility>

#include "llm/continued_chat.h"

namespace rill::llm {
namespace {

// Of the strings in it.
size_t TextBytes(const Json& json) {
  size_t bytes = json.is_string() ? json.string_value().size() : 0;
  if (json.is_array()) {
    for (const Json& item : json.array()) bytes += TextBytes(item);
  } else if (json.is_object()) {
    for (const auto& [key, value] : json.object()) bytes += TextBytes(value);
  }
  return bytes;
}

using Clock = std::chrono::steady_clock;

// Adds the life of this object to a counter.
class StageTimer {
 public:
  explicit StageTimer(std::atomic<int64_t>& total_ns) : total_ns_(total_ns) {}
  ~StageTimer() {
    total_ns_.fetch_add(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count(),
        std::memory_order_relaxed);
  }

 private:
  std::atomic<int64_t>& total_ns_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace

// One request on its way. `request` is read by the tokenise stage only until the generation
// starts, and has lost its prompt by then; the choices belong to the post-process thread.
struct TextService::Live {
  uint64_t handle = 0;
  Clock::time_point submitted;
  TextRequest request;
  TextCallback callback;
  engine::ArrivalLoad load;   // told to the loop until the engine has it
  int32_t prompt_tokens = 0;  // set before the generation starts

  // Guarded by TextService::mutex_.
  bool cancelled = false;
  RequestId engine_id = 0;               // 0: not handed to the engine yet
  std::vector<int32_t> ended_early;      // choices to cancel as soon as engine_id is known
  std::atomic<bool> lost_events{false};  // memory ran out: only the end is still told, as an error
  std::shared_ptr<Live> next;            // in without_memory_

  struct Choice {
    std::unique_ptr<TextStream> stream;
    std::vector<int32_t> lead;  // tokens that are shown, until has_text
    bool has_text = false;      // of a token that is no control token
    bool ended = false;         // its finish event was sent
  };
  std::vector<Choice> choices;
  std::vector<int32_t> context;                             // the prompt's end that answers go on
  std::shared_ptr<const std::vector<int32_t>> prompt_ids;   // when asked for
  std::shared_ptr<std::vector<TextToken>> prompt_logprobs;  // when asked for
  bool told_prompt = false;                                 // both were handed out
  bool had_token = false;
  int32_t completion_tokens = 0;

  // Whether `id`, the next token of `choice`, loses its space. Not seen in the text: a stop string
  // may hold it back.
  bool LosesSpace(const text::Tokenizer& tokenizer, Choice& choice, int32_t id) const {
    constexpr size_t kMaxLead = 64;  // each costs a decoding of all before it
    const bool is_special = tokenizer.IsSpecial(id);
    if (choice.has_text || (is_special && request.skip_special)) return false;
    bool loses = false;
    if (!is_special) {
      const std::string bytes = tokenizer.TokenBytes(id);
      if (bytes.starts_with(' ')) {
        const text::DecodeOptions options{.skip_special = request.skip_special};
        std::vector<int32_t> ids = context;
        ids.insert(ids.end(), choice.lead.begin(), choice.lead.end());
        const size_t before = tokenizer.Decode(ids, options).size();
        ids.push_back(id);
        loses = tokenizer.Decode(ids, options).size() < before + bytes.size();
      }
      choice.has_text = bytes.size() > (loses ? 1 : 0) || choice.lead.size() >= kMaxLead;
    }
    if (choice.has_text) {
      choice.lead = {};
    } else {
      choice.lead.push_back(id);
    }
    return loses;
  }

  // Whether `id`, which ended a choice, did so as one of the request's own (vLLM's order: the
  // tokenizer's end goes first).
  bool IsStopId(int32_t id, std::optional<int32_t> eos_id) const {
    if (id == eos_id && !request.sampling.ignore_eos) return false;
    const std::vector<int32_t>& ids = request.sampling.stop_ids;
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }
};

TextService::TextService(std::shared_ptr<const text::Tokenizer> tokenizer,
                         std::shared_ptr<const ChatTemplates> chat_templates, int32_t max_context,
                         engine::EngineLoop& loop, const TextServiceOptions& options)
    : tokenizer_(std::move(tokenizer)),
      chat_templates_(std::move(chat_templates)),
      max_context_(max_context),
      loop_(loop),
      options_(options) {
  // Named, so that profilers show what text work costs.
  try {
    for (int32_t i = 0; i < std::max(1, options_.tokenise_threads); ++i) {
      threads_.emplace_back([this] { TokeniseMain(); });
      pthread_setname_np(threads_.back().native_handle(), "rill-tokenise");
    }
    threads_.emplace_back([this] { PostMain(); });
  } catch (...) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    tokenise_wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    throw;
  }
  pthread_setname_np(threads_.back().native_handle(), "rill-post");
  loop_.SetAfterEvents([this] { PushEmitted(); });
}

TextService::~TextService() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  CancelAll();
  tokenise_wake_.notify_all();
  {
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, [this] { return requests_.empty(); });
  }
  loop_.SetAfterEvents(nullptr);
  post_wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

StageTimes TextService::stage_times() const {
  return {static_cast<double>(tokenise_ns_.load(std::memory_order_relaxed)) * 1e-9,
          static_cast<double>(post_ns_.load(std::memory_order_relaxed)) * 1e-9,
          static_cast<double>(callback_ns_.load(std::memory_order_relaxed)) * 1e-9};
}

int32_t TextService::live_requests() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int32_t>(requests_.size());
}

Result<uint64_t> TextService::Submit(TextRequest request, TextCallback callback) {
  return TrySubmit(request, std::move(callback));
}

// With F places free, a tenant may hold E of the queue's while E (1 - share) < share F. Alone it
// comes to `share` of them, since E + F is all; where k tenants want as many as they get, each
// comes to share / (1 + (k - 1) share) of them, and something is always left for one more. (The
// dynamic thresholds of Choudhury and Hahne, 1998, for buffers that queues share.)
Status TextService::Refusal(const std::string& tenant, bool replaces_ended) const {
  if (stop_) return Unavailable("the service is shutting down");
  // The request that has just ended is counted until its callback returns.
  const int32_t ended = replaces_ended ? 1 : 0;
  const int32_t live = static_cast<int32_t>(requests_.size()) - ended;
  if (live >= options_.max_requests) {
    return Unavailable(
        fmt::format("{} requests are in flight, the limit is {}", live, options_.max_requests));
  }
  const auto found = live_of_.find(tenant);
  if (found == live_of_.end()) return OkStatus();
  const int32_t held = found->second - ended - options_.max_running;
  const double share = options_.tenant_share;
  if (held < 0 || held * (1 - share) < share * (options_.max_requests - live)) return OkStatus();
  return Unavailable(
      fmt::format("{} requests of this API key are in flight, its share of the queue; other keys "
                  "have places",
                  found->second - ended));
}

engine::ArrivalLoad TextService::LoadOf(const TextRequest& request) const {
  // Four bytes of text a token, which is what waits need to be right within a factor of two.
  double prompt_tokens = 0;
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&request.prompt)) {
    prompt_tokens = static_cast<double>(ids->size());
  } else if (const auto* text = std::get_if<std::string>(&request.prompt)) {
    prompt_tokens = static_cast<double>(text->size()) / 4;
  } else {
    prompt_tokens =
        static_cast<double>(TextBytes(std::get<ChatInput>(request.prompt).messages)) / 4;
  }
  prompt_tokens = std::min(prompt_tokens, static_cast<double>(max_context_));
  int32_t max_tokens = request.sampling.max_tokens;
  if (max_tokens < 0) max_tokens = max_context_ - static_cast<int32_t>(prompt_tokens);
  return loop_.LoadOf(request.tenant, request.length_class, std::min(max_tokens, max_context_),
                      request.n, prompt_tokens);
}

Result<uint64_t> TextService::TrySubmit(TextRequest& request, TextCallback callback,
                                        bool replaces_ended) {
  auto live = std::make_shared<Live>();
  live->submitted = Clock::now();
  live->callback = std::move(callback);
  live->load = LoadOf(request);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    RILL_RETURN_IF_ERROR(Refusal(request.tenant, replaces_ended));
    live->request = std::move(request);
    live->handle = next_handle_.fetch_add(1, std::memory_order_relaxed);
    try {
      requests_.emplace(live->handle, live);
      if (!live->request.tenant.empty()) ++live_of_[live->request.tenant];
      tokenise_turns_.Push(live->request.tenant, {0, live->handle});
    } catch (const std::bad_alloc&) {
      Erase(*live);
      request = std::move(live->request);
      return Unavailable("out of memory");
    }
    // Until StartGeneration has handed it on; a tokenise thread sees it when mutex_ is free.
    loop_.BeginUpstream(live->load);
  }
  tokenise_wake_.notify_one();
  return live->handle;
}

void TextService::Cancel(uint64_t handle) {
  RequestId engine_id = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto it = requests_.find(handle);
    if (it == requests_.end()) return;
    it->second->cancelled = true;
    engine_id = it->second->engine_id;
  }
  // Without an engine id the tokenise stage sees the mark and ends the request itself.
  if (engine_id != 0) loop_.Cancel(engine_id);
}

void TextService::CancelAll() {
  std::vector<uint64_t> handles;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [handle, live] : requests_) handles.push_back(handle);
  }
  for (uint64_t handle : handles) Cancel(handle);
}

void TextService::TokeniseMain() {
  while (true) {
    std::shared_ptr<Live> live;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      tokenise_wake_.wait(lock, [this] { return stop_ || !tokenise_turns_.empty(); });
      if (tokenise_turns_.empty()) return;
      live = requests_.at(tokenise_turns_.Next());
      tokenise_turns_.Serve(live->request.tenant, {0, live->handle});
    }
    const Clock::time_point begin = Clock::now();
    try {
      StartGeneration(live);
    } catch (const std::bad_alloc&) {
      FailRequest(live, {StatusCode::kUnavailable, "out of memory"});
    }
    loop_.EndUpstream(live->load);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    std::lock_guard<std::mutex> lock(mutex_);
    tokenise_turns_.Charge(live->request.tenant, seconds / live->request.weight);
  }
}

Result<std::vector<int32_t>> TextService::Tokenise(const TextRequest& request) const {
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&request.prompt)) return *ids;
  // A token is at most 16 bytes of what fits; checked before any work on a huge text.
  const auto max_bytes = static_cast<size_t>(max_context_) * 16;
  auto check_size = [&](size_t bytes) -> Status {
    if (bytes <= max_bytes) return OkStatus();
    return ResourceExhausted(
        fmt::format("This model's maximum context length is {} tokens. However, your prompt has {} "
                    "bytes, which "
                    "cannot fit.",
                    max_context_, bytes));
  };
  if (const auto* text = std::get_if<std::string>(&request.prompt)) {
    RILL_RETURN_IF_ERROR(check_size(text->size()));
    std::vector<int32_t> ids = tokenizer_->Encode(
        *text, {.add_special = request.add_special, .parse_special = request.parse_special});
    // An empty prompt means the start of a text (OpenAI: as if it were <|endoftext|>).
    if (ids.empty()) {
      const std::optional<int32_t> start =
          tokenizer_->bos_id() ? tokenizer_->bos_id() : tokenizer_->eos_id();
      if (start) ids.push_back(*start);
    }
    return ids;
  }
  if (!chat_templates_) return FailedPrecondition("the model has no chat template");
  const auto& chat = std::get<ChatInput>(request.prompt);
  const RenderChat render = [this](const ChatInput& input) {
    return chat_templates_->Render(input);
  };
  RILL_ASSIGN_OR_RETURN(const text::MarkedText marked, request.continue_final_message
                                                           ? RenderContinued(chat, render)
                                                           : render(chat));
  RILL_RETURN_IF_ERROR(check_size(marked.text.size()));
  return tokenizer_->Encode(marked, request.add_special);
}

void TextService::StartGeneration(const std::shared_ptr<Live>& live) {
  GenerateRequest generate;
  {
    StageTimer timer(tokenise_ns_);
    auto ids = Tokenise(live->request);
    if (!ids.ok()) return FailRequest(live, ids.status());
    generate.prompt_ids = std::move(ids).value();
  }
  // A chat's answer begins a text; any other goes on the prompt's, so that the first word keeps
  // its space.
  const bool begins_text = std::holds_alternative<ChatInput>(live->request.prompt) &&
                           !live->request.continue_final_message;
  // Nobody reads it again, and a parsed conversation takes many times its bytes.
  live->request.prompt = std::string();
  live->request.prompt_hold.reset();
  const auto prompt_size = static_cast<int64_t>(generate.prompt_ids.size());
  live->prompt_tokens = static_cast<int32_t>(prompt_size);
  generate.n = live->request.n;
  generate.priority = live->request.priority;
  generate.prompt_logprobs = live->request.prompt_logprobs;
  generate.tenant = live->request.tenant;
  generate.weight = live->request.weight;
  // What is left of it; the engine ends those that have nothing left at its next step.
  const auto left = [&](int64_t timeout_ms) {
    const auto waited =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - live->submitted);
    return timeout_ms > 0 ? std::max<int64_t>(1, timeout_ms - waited.count()) : 0;
  };
  generate.queue_timeout_ms = left(live->request.queue_timeout_ms);
  generate.total_timeout_ms = left(live->request.total_timeout_ms);
  generate.cache_salt = live->request.cache_salt;
  generate.length_class = live->request.length_class;
  generate.sampling = live->request.sampling;
  int32_t& max_tokens = generate.sampling.max_tokens;
  const int64_t room = max_context_ - prompt_size;
  const int32_t asked = max_tokens < 0 ? 1 : max_tokens;
  if (asked > room) {
    return FailRequest(
        live,
        ResourceExhausted(fmt::format(
            "This model's maximum context length is {} tokens. However, you requested {} tokens "
            "({} in the messages, {} in the completion).",
            max_context_, prompt_size + asked, prompt_size, asked)));
  }
  if (max_tokens < 0) max_tokens = static_cast<int32_t>(room);

  if (live->request.want_prompt_ids) {
    live->prompt_ids = std::make_shared<const std::vector<int32_t>>(generate.prompt_ids);
  }
  if (live->request.prompt_logprobs >= 0) {
    live->prompt_logprobs = std::make_shared<std::vector<TextToken>>();
    for (const int32_t id : generate.prompt_ids) live->prompt_logprobs->push_back({id, 0.0f, {}});
  }
  // What a token's text depends on reaches back one character: the last ids are enough.
  if (!begins_text) {
    const auto& ids = generate.prompt_ids;
    live->context.assign(ids.end() - static_cast<ptrdiff_t>(std::min<size_t>(ids.size(), 8)),
                         ids.end());
  }
  for (int32_t i = 0; i < std::max(1, live->request.n); ++i) {
    Live::Choice choice;
    choice.stream =
        std::make_unique<TextStream>(tokenizer_, live->request.stop, !live->request.skip_special,
                                     live->request.sampling.min_tokens);
    for (const int32_t id : live->context) choice.stream->Skip(id);
    live->choices.push_back(std::move(choice));
  }
  auto submitted = loop_.Submit(std::move(generate),
                                [this, live](const TokenEvent& event) { Emit(live, event); });
  if (!submitted.ok()) return FailRequest(live, submitted.status());
  // Events may have come already; what they asked for in the meantime is done now.
  std::vector<int32_t> cancel;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    live->engine_id = *submitted;
    cancel = std::move(live->ended_early);
    if (live->cancelled) cancel = {-1};
  }
  try {
    for (int32_t choice : cancel) loop_.Cancel(*submitted, choice);
  } catch (const std::bad_alloc&) {
    // It runs to its end then. (It is the engine's now: nothing may leave this function.)
  }
}

void TextService::FailRequest(const std::shared_ptr<Live>& live, Status error) {
  TokenEvent event;
  event.finish_reason = FinishReason::kError;
  event.is_final = true;
  event.error = std::move(error);
  event.usage.prompt_tokens = live->prompt_tokens;
  Post post{live, std::move(event)};
  const std::lock_guard<std::mutex> lock(mutex_);
  PushPost(post);
}

void TextService::Emit(const std::shared_ptr<Live>& live, const TokenEvent& event) noexcept {
  try {
    emitted_.push_back({live, event});
  } catch (const std::bad_alloc&) {
    const std::lock_guard<std::mutex> lock(mutex_);
    LoseEvent(live, event.is_final);
  }
}

void TextService::PushEmitted() noexcept {
  if (emitted_.empty()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Post& post : emitted_) PushPost(post);
  emitted_.clear();
}

// mutex_ is held. Its live is told of its end without the queue, which takes no memory.
void TextService::LoseEvent(const std::shared_ptr<Live>& live, bool is_final) noexcept {
  live->lost_events = true;
  if (!is_final) return;
  live->next = std::move(without_memory_);
  without_memory_ = live;
  if (std::exchange(post_sleeps_, false)) post_wake_.notify_one();
}

// post_queue_ needs no bound of its own. A request keeps its place among max_requests until its
// last event is worked off (Deliver calls Forget then), and has at most one event for each of its n
// times max_tokens tokens, and its end: a post-process thread that falls behind makes Submit
// refuse, and the engine does not wait for it.
void TextService::PushPost(Post& post) noexcept {
  try {
    post_queue_.push_back(std::move(post));
  } catch (const std::bad_alloc&) {
    LoseEvent(post.live, post.event.is_final);  // the place was asked for first: it is still whole
  }
  // Under the lock: once the last event is worked off, this object may go, and a thread of the
  // engine must not be on its way to post_wake_ then.
  if (std::exchange(post_sleeps_, false)) post_wake_.notify_one();
}

void TextService::CancelChoice(Live& live, int32_t choice) {
  RequestId engine_id = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    engine_id = live.engine_id;
    if (engine_id == 0) live.ended_early.push_back(choice);
  }
  if (engine_id != 0) loop_.Cancel(engine_id, choice);
}

void TextService::PostMain() {
  std::deque<Post> batch;
  while (true) {
    std::shared_ptr<Live> without_memory;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      while (post_queue_.empty() && !without_memory_ && !(stop_ && requests_.empty())) {
        post_sleeps_ = true;
        post_wake_.wait(lock);
      }
      post_sleeps_ = false;
      if (post_queue_.empty() && !without_memory_) return;
      batch.swap(post_queue_);
      without_memory.swap(without_memory_);
    }
    for (Post& post : batch) HandlePost(post);
    batch.clear();
    while (without_memory) {
      EndWithoutMemory(*without_memory);
      without_memory = std::move(without_memory->next);
    }
  }
}

void TextService::HandlePost(Post& post) {
  Live& live = *post.live;
  const bool is_final = post.event.is_final;
  try {
    if (!live.lost_events) Deliver(post);
  } catch (const std::bad_alloc&) {
    live.lost_events = true;
  }
  if (!is_final) return;
  if (live.lost_events) return EndWithoutMemory(live);
  Forget(live);
}

void TextService::EndWithoutMemory(Live& live) {
  try {
    TextEvent out;
    out.prompt_tokens = live.prompt_tokens;
    out.is_final = true;
    out.finish_reason = FinishReason::kError;
    out.error = {StatusCode::kUnavailable, "out of memory"};  // so short that it takes none
    live.callback(out);
  } catch (const std::bad_alloc&) {
    // The callback's own ending, when it is destroyed, is all that is left.
  }
  Forget(live);
}

void TextService::Deliver(Post& post) {
  Live& live = *post.live;
  TokenEvent& event = post.event;
  TextEvent out;
  bool send = false;
  {
    StageTimer timer(post_ns_);
    out.choice = event.choice;
    out.prompt_tokens = live.prompt_tokens;
    out.is_final = event.is_final;
    out.usage = event.usage;
    out.error = std::move(event.error);
    out.finish_reason = event.finish_reason;
    for (size_t i = 0; i < event.prompt_logprobs.size() && live.prompt_logprobs; ++i) {
      const size_t position = static_cast<size_t>(event.prompt_position) + i;
      if (position >= live.prompt_logprobs->size()) break;
      TextToken& token = (*live.prompt_logprobs)[position];
      token.logprob = event.prompt_logprobs[i].logprob;
      token.top = std::move(event.prompt_logprobs[i].top_logprobs);
    }
    if (!live.told_prompt && (event.token_id >= 0 || event.finish_reason != FinishReason::kNone)) {
      live.told_prompt = true;
      out.prompt_ids = live.prompt_ids;
      out.prompt_logprobs = std::move(live.prompt_logprobs);
    }
    const auto index = static_cast<size_t>(event.choice);
    Live::Choice* choice = index < live.choices.size() ? &live.choices[index] : nullptr;
    send = event.is_final || !choice;
    if (choice && !choice->ended) {
      if (event.token_id >= 0) {
        ++live.completion_tokens;
        out.is_first = !live.had_token;
        live.had_token = true;
        out.tokens.push_back({event.token_id, event.logprob, std::move(event.top_logprobs)});
        if (live.request.sampling.logprobs >= 0) {
          out.tokens.back().loses_space = live.LosesSpace(*tokenizer_, *choice, event.token_id);
        }
        // The token that ended the choice leaves no text, unless it is asked for.
        const bool is_end = event.finish_reason == FinishReason::kStop;
        if (!is_end || live.request.include_stop_string) {
          out.text = choice->stream->Push(event.token_id);
        }
        if (is_end && live.IsStopId(event.token_id, tokenizer_->eos_id())) {
          out.stop_id = event.token_id;
        }
        send = true;
      }
      if (choice->stream->stopped()) {
        out.stop_id = -1;
        out.finish_reason = FinishReason::kStop;
        out.stop_string = choice->stream->stop_string();
        if (live.request.include_stop_string) out.text += out.stop_string;
      } else if (out.finish_reason != FinishReason::kNone) {
        out.text += choice->stream->Finish();
      }
      if (out.finish_reason != FinishReason::kNone) {
        choice->ended = true;
        send = true;
        // A stop string ends the choice here; the engine learns of it and sends its own end, which
        // is dropped below unless it is the request's last event.
        if (event.finish_reason == FinishReason::kNone) CancelChoice(live, event.choice);
      }
    } else if (choice) {
      out.finish_reason = FinishReason::kNone;  // this choice has had its end
      out.error = OkStatus();
    }
    out.usage.completion_tokens = live.completion_tokens;
  }
  if (send) {
    StageTimer timer(callback_ns_);
    live.callback(out);
  }
}

void TextService::Erase(const Live& live) {
  if (requests_.erase(live.handle) == 0) return;
  const auto of_tenant = live_of_.find(live.request.tenant);
  if (of_tenant != live_of_.end() && --of_tenant->second == 0) live_of_.erase(of_tenant);
}

void TextService::Forget(const Live& live) {
  bool now_idle = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Erase(live);
    now_idle = requests_.empty();
  }
  if (now_idle) idle_.notify_all();
}

}  // namespace rill::llm
