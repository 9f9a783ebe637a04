#include "server/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "server/openai/api_error.h"

namespace rill::server {
namespace {

// Prompts of one request in the text service at once. Enough for any batch size that pays.
// No more than half of what the service takes: a batch is to leave room for others.
constexpr int32_t kWindow = 128;
// Answers that are written (about a millisecond) where their last token arrives.
constexpr int64_t kWriteHereBytes = 256 << 10;
// Names, index and finish reason of a choice, as written.
constexpr int64_t kChoiceBytes = 128;
// Text of one event of a stream, as JSON. Some clients look at what arrives piece by piece and lose
// a space where one ends: all that holds text is to be in the first 16 KiB.
constexpr int64_t kEventTextBytes = 8 << 10;

double Seconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

std::vector<Header> StreamHeaders() {
  return {{"content-type", "text/event-stream; charset=utf-8"},
          {"cache-control", "no-cache"},
          {"x-accel-buffering", "no"}};
}

}  // namespace

void Generation::Start(ServerState& state, GenerationJob job) {
  auto generation = std::make_shared<Generation>(state, std::move(job));
  const std::string* given = generation->job_.http->FindHeader("x-request-id");
  if (given && *given == generation->job_.http->request_id) {
    if (!state.active_ids.Insert(generation->job_.http->tenant, *given)) {
      const ApiError error =
          openai::BadRequest("duplicate_request_id", "x-request-id",
                             "A request with this x-request-id is under way. Give each request "
                             "its own, or none.");
      generation->job_.responder->Send(error.http_status, {{"content-type", "application/json"}},
                                       error.Body());
      return;
    }
    generation->client_id_ = *given;
  }
  generation->job_.responder->OnGone(
      [weak = std::weak_ptr<Generation>(generation), held = generation->held_] {
        if (auto self = weak.lock()) self->OnGone();
      });
  if (!generation->HoldKnownPart()) return;
  if (generation->job_.stream) {
    generation->job_.responder->UseBudget(generation->held_);
    generation->job_.responder->StartStreamAfter(
        std::chrono::milliseconds(state.options.limits.stream_head_ms), 200, StreamHeaders());
  }
  generation->SubmitMore();
}

Generation::Generation(ServerState& state, GenerationJob job)
    : state_(state),
      job_(std::move(job)),
      held_(std::make_shared<AnswerBudget::Hold>(state.answers)),
      parts_held_(state.answers),
      window_(
          static_cast<size_t>(std::clamp(job_.model->llm->text().max_requests() / 2, 1, kWindow))) {
}

Generation::~Generation() {
  ReleaseId();
}

void Generation::ReleaseId() {
  if (!client_id_.empty()) state_.active_ids.Erase(job_.http->tenant, client_id_);
  client_id_.clear();
}

int64_t Generation::BytesOfParts() const {
  const size_t choices_of =
      job_.stream ? std::min(window_, job_.prompts.size()) : job_.prompts.size();
  const auto of_choices = static_cast<int64_t>(choices_of * sizeof(Choice)) * job_.request.n;
  return static_cast<int64_t>(job_.prompts.size() * (sizeof(Prompt) + sizeof(llm::TextPrompt))) +
         of_choices;
}

int64_t Generation::BytesOfTokens(int64_t tokens, int64_t alternatives) const {
  return tokens * (1 + alternatives) * AnswerBudget::kTokenBytes;
}

bool Generation::Hold(int64_t bytes) {
  return Take(*held_, bytes);
}

bool Generation::Take(AnswerBudget::Hold& hold, int64_t bytes) {
  if (done_) return false;
  const AnswerBudget::Verdict verdict = hold.Grow(bytes);
  if (verdict == AnswerBudget::Verdict::kFits) return true;
  const bool is_busy = verdict == AnswerBudget::Verdict::kBusy;
  if (is_busy) job_.model->metrics.refused_overloaded.fetch_add(1, std::memory_order_relaxed);
  Fail(AnswerError(verdict), is_busy ? "overloaded" : "answer_too_large");
  return false;
}

// Of each choice: the text of a prompt that is echoed, and of prompts that are token ids the ids
// and their log-probabilities; the latter are held when they come.
bool Generation::HoldKnownPart() {
  const std::lock_guard lock(mutex_);
  const llm::TextRequest& request = job_.request;
  const int64_t stop_bytes = request.stop ? request.stop->memory_bytes() : 0;
  if (!Take(parts_held_, BytesOfParts() + stop_bytes)) return false;
  prompts_.resize(job_.prompts.size());
  int64_t bytes = 0, later = 0;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    const llm::TextPrompt& text_prompt = job_.prompts[i];
    Prompt& prompt = prompts_[i];
    prompt.part.echo = job_.echo;
    prompt.part.wants_prompt_logprobs = job_.wants_prompt_logprobs;
    int64_t one = job_.stream ? 0 : kChoiceBytes;
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&text_prompt)) {
      const auto num_ids = static_cast<int64_t>(ids->size());
      if (request.want_prompt_ids && !job_.stream) one += num_ids * AnswerBudget::kIdBytes;
      prompt.ids_are_held = true;
      if (request.prompt_logprobs >= 0) {
        later += copies() * BytesOfTokens(num_ids, request.prompt_logprobs);
      }
      if (job_.echo) {
        auto decoded = job_.model->llm->llm().Detokenize(*ids, /*skip_special=*/false);
        if (decoded.ok()) prompt.part.echo_text = std::move(*decoded);
      }
    } else if (const auto* text = std::get_if<std::string>(&text_prompt); text && job_.echo) {
      prompt.part.echo_text = *text;
    }
    if (job_.echo) one += openai::JsonStringBytes(prompt.part.echo_text);
    bytes += copies() * one;
    if (bytes + later > AnswerBudget::kMaxAnswerBytes) return Hold(bytes + later);
  }
  return Hold(bytes);
}

void Generation::SubmitMore(bool replaces_ended) {
  std::unique_lock lock(mutex_);
  if (submitting_) return;  // the caller below goes on
  submitting_ = true;
  llm::TextService& text = job_.model->llm->text();
  while (!done_ && next_prompt_ < prompts_.size() && in_flight_ < window_) {
    const size_t index = next_prompt_++;
    ++in_flight_;
    Prompt& prompt = prompts_[index];
    prompt.submitted = Clock::now();
    prompt.choices.resize(static_cast<size_t>(job_.request.n));
    llm::TextRequest request = TakeRequest(index);
    // Not under the lock: the first event may come before TrySubmit returns.
    lock.unlock();
    const Result<uint64_t> handle = text.TrySubmit(
        request,
        [self = shared_from_this(), index](const llm::TextEvent& event) {
          self->OnEvent(index, event);
        },
        std::exchange(replaces_ended, false));
    lock.lock();
    if (handle.ok()) {
      prompt.handle = *handle;
      if (done_) text.Cancel(*handle);
      continue;
    }
    --in_flight_;
    if (in_flight_ > 0) {
      // Others have filled the queue: the next end of a prompt of this batch makes a place.
      job_.prompts[index] = std::move(request.prompt);
      job_.request.prompt_hold = std::move(request.prompt_hold);
      --next_prompt_;
      break;
    }
    Refuse(ErrorOf(handle.status()));
  }
  submitting_ = false;
}

llm::TextRequest Generation::TakeRequest(size_t index) {
  llm::TextRequest request = job_.request;
  request.prompt = std::move(job_.prompts[index]);
  if (index + 1 == job_.prompts.size()) job_.request.prompt_hold.reset();
  // The request waits until its first prompt runs; the others wait for their siblings too.
  if (index == 0) {
    request.queue_timeout_ms = static_cast<int64_t>(state_.options.queue_timeout_s * 1000);
  }
  if (state_.options.total_timeout_s > 0) {
    const double left_s = state_.options.total_timeout_s - Seconds(Clock::now() - started_);
    request.total_timeout_ms = std::max<int64_t>(1, static_cast<int64_t>(left_s * 1000));
  }
  return request;
}

ApiError Generation::ErrorOf(const Status& status) const {
  ApiError error = openai::RequestError(status, job_.http->request_id);
  // Between the look-up of its model and here the model was unloaded: trying again is no use,
  // unless any name has a model.
  const std::string& id = job_.model->id;
  if (error.http_status == 503 && !state_.options.any_model_name &&
      state_.registry.Find(id) != job_.model) {
    error = openai::ModelNotFound(id);
  }
  return error;
}

void Generation::Refuse(const ApiError& error) {
  const bool overloaded = error.http_status == 503;
  if (overloaded) {
    job_.model->metrics.refused_overloaded.fetch_add(1, std::memory_order_relaxed);
  }
  Fail(error, overloaded ? "overloaded" : "error");
}

void Generation::OnGone() {
  const std::lock_guard lock(mutex_);
  if (done_) return;
  done_ = true;
  ReleaseId();
  CancelAll();
  RecordEnd("client_gone");
}

void Generation::CancelAll() {
  for (const Prompt& prompt : prompts_) {
    if (prompt.handle != 0 && !prompt.ended) job_.model->llm->text().Cancel(prompt.handle);
  }
}

// Runs on the service's threads: what does not fit into memory ends this request alone.
void Generation::OnEvent(size_t index, const llm::TextEvent& event) {
  try {
    HandleEvent(index, event);
  } catch (const std::bad_alloc&) {
    const std::lock_guard lock(mutex_);
    prompts_[index].part = {};
    for (Choice& choice : prompts_[index].choices) choice.text = {};
    Fail(MakeError(503, "server_overloaded", "No memory for this answer. Try again later."),
         "out_of_memory");
  }
}

void Generation::HandleEvent(size_t index, const llm::TextEvent& event) {
  bool more = false;
  {
    const std::lock_guard lock(mutex_);
    Prompt& prompt = prompts_[index];
    ModelMetrics& metrics = job_.model->metrics;
    if (event.prompt_tokens > 0 && prompt.prompt_tokens == 0) {
      prompt.prompt_tokens = event.prompt_tokens;
      usage_.prompt_tokens += event.prompt_tokens;
    }
    if (event.prompt_ids && !done_) {
      const auto num_ids = static_cast<int64_t>(event.prompt_ids->size());
      const bool counts = !job_.stream && !std::exchange(prompt.ids_are_held, true);
      if (!counts || Hold(copies() * num_ids * AnswerBudget::kIdBytes)) {
        prompt.part.ids = event.prompt_ids;
      }
    }
    if (event.prompt_logprobs && !event.prompt_logprobs->empty() && !done_) {
      const auto& logprobs = *event.prompt_logprobs;
      const auto alternatives = static_cast<int64_t>(logprobs.back().top.size());
      if (Hold(copies() * BytesOfTokens(static_cast<int64_t>(logprobs.size()), alternatives))) {
        prompt.part.logprobs = logprobs;
      }
    }
    if (event.is_final) queue_ms_ = std::max(queue_ms_, event.usage.queue_ms);
    const bool failed = event.finish_reason == FinishReason::kError ||
                        event.finish_reason == FinishReason::kCancelled;
    if (event.finish_reason == FinishReason::kStop) {
      metrics.finished_stop.fetch_add(1, std::memory_order_relaxed);
    } else if (event.finish_reason == FinishReason::kLength) {
      metrics.finished_length.fetch_add(1, std::memory_order_relaxed);
    } else if (event.finish_reason == FinishReason::kCancelled) {
      metrics.finished_abort.fetch_add(1, std::memory_order_relaxed);
    } else if (failed && (prompt.has_first_token ||
                          openai::RequestError(event.error, "").http_status == 500)) {
      // Else the prompt was refused (it does not fit, its time in the queue is over): no choice of
      // it began.
      metrics.finished_error.fetch_add(1, std::memory_order_relaxed);
    }
    if (failed && !done_) {
      if (event.finish_reason == FinishReason::kCancelled) {
        // Nobody here asked for it: the model is being unloaded, or the server stops.
        metrics.refused_draining.fetch_add(1, std::memory_order_relaxed);
        Fail(MakeError(503, "draining", "The server stops or unloads the model. Try again."),
             "draining");
      } else {
        ApiError error = ErrorOf(event.error);
        if (error.http_status == 400 && !error.param) {
          // All the request's own fields were checked before, but for the one whose limit, without
          // max_tokens, is what the prompt leaves of the context.
          const bool is_min_tokens = event.error.message().starts_with("min_tokens:");
          error.param = is_min_tokens ? "min_tokens" : job_.param;
        }
        if (error.http_status >= 500 && state_.log) {
          state_.log->Write(LogLine("error", "generation")
                                .Add("request_id", job_.http->request_id)
                                .Add("message", event.error.message()));
        }
        Refuse(error);
      }
    }
    if (!done_ && event.choice >= 0 && static_cast<size_t>(event.choice) < prompt.choices.size()) {
      Choice& choice = prompt.choices[static_cast<size_t>(event.choice)];
      TakeTokens(prompt, choice, event);
      if (done_) {
        // What does not fit is not kept.
      } else if (job_.stream) {
        SendPiece(index, event.choice, event.finish_reason != FinishReason::kNone);
      }
    }
    if (event.is_final) {
      prompt.ended = true;
      --in_flight_;
      ++num_ended_;
      EndPrompt(prompt, event);
      if (index == 0) first_finish_ = prompt.choices[0].text.finish;
      if (job_.stream) {
        prompt.choices = {};
        prompt.part = {};
      }
      if (!done_ && num_ended_ == prompts_.size()) {
        if (job_.stream) {
          EndStream();
        } else {
          SendWhole();
        }
      }
      more = !done_ && next_prompt_ < prompts_.size();
    }
  }
  if (more) SubmitMore(/*replaces_ended=*/true);
}

void Generation::TakeTokens(Prompt& prompt, Choice& choice, const llm::TextEvent& event) {
  ModelMetrics& metrics = job_.model->metrics;
  if (!event.tokens.empty()) {
    const Clock::time_point now = Clock::now();
    if (!prompt.has_first_token) {
      prompt.has_first_token = true;
      prompt.first_token = now;
      const double ttft = Seconds(now - job_.http->received);
      metrics.time_to_first_token.Observe(ttft);
      if (first_token_ms_ == 0) first_token_ms_ = ttft * 1e3;
    }
    if (choice.num_tokens > 0)
      metrics.inter_token_latency.Observe(Seconds(now - choice.last_token));
    choice.last_token = now;
    const auto count = static_cast<int32_t>(event.tokens.size());
    choice.num_tokens += count;
    metrics.generation_tokens_total.fetch_add(static_cast<uint64_t>(count),
                                              std::memory_order_relaxed);
  }
  if (event.finish_reason != FinishReason::kNone) {
    choice.ended = true;
    choice.text.finish = event.finish_reason;
    choice.text.stop_string = event.stop_string;
    choice.text.stop_id = event.stop_id;
  }
  usage_.completion_tokens += static_cast<int64_t>(event.tokens.size());
  for (const llm::TextToken& token : event.tokens) choice.sum_logprob += token.logprob;
  if (!job_.stream) {
    int64_t bytes = openai::JsonStringBytes(event.text);
    if (!event.stop_string.empty()) bytes += openai::JsonStringBytes(event.stop_string);
    for (const llm::TextToken& token : event.tokens) {
      bytes += BytesOfTokens(1, static_cast<int64_t>(token.top.size()));
    }
    if (!Hold(bytes)) return;
  }
  choice.text.text += event.text;
  choice.text.tokens.insert(choice.text.tokens.end(), event.tokens.begin(), event.tokens.end());
}

void Generation::SendPiece(size_t index, int32_t choice_index, bool is_end) {
  Prompt& prompt = prompts_[index];
  Choice& choice = prompt.choices[static_cast<size_t>(choice_index)];
  const auto answer_index = static_cast<int32_t>(index) * job_.n + choice_index;
  if (!streaming_) {
    streaming_ = true;
    job_.responder->StartStream(200, StreamHeaders());
  }
  // An event for each token, as in vLLM: one whose text is held back (half a character, what may
  // start a stop string) has empty text, and its text comes with a later one. Clients time tokens
  // by events: without these, 2 % of a chat's gaps were of two steps (SmolLM2 on ShareGPT).
  if (!choice.text.tokens.empty() || !choice.text.text.empty() || !choice.is_sent) {
    if (!choice.is_sent && job_.echo) choice.text.text.insert(0, prompt.part.echo_text);
    const auto write = [&](const openai::ChoiceText& piece) {
      Write(job_.writer->Delta(answer_index, piece, !choice.is_sent,
                               choice.is_sent ? nullptr : &prompt.part, usage_));
      choice.is_sent = true;
    };
    // An echo, or what was held back for long: the tokens go with the last of it.
    std::string_view rest = choice.text.text;
    while (!done_ && static_cast<int64_t>(rest.size()) * 6 + 2 > kEventTextBytes) {
      const size_t size = openai::BytesThatFit(rest, kEventTextBytes);
      if (size == rest.size()) break;
      openai::ChoiceText piece;
      piece.text = rest.substr(0, size);
      write(piece);
      rest.remove_prefix(size);
    }
    choice.text.text.erase(0, choice.text.text.size() - rest.size());
    write(choice.text);
    choice.text.text.clear();
    choice.text.tokens.clear();
  }
  if (is_end) Write(job_.writer->Finish(answer_index, choice.text, usage_));
}

void Generation::Write(std::string event) {
  if (done_) return;
  if (job_.responder->Write(std::move(event))) return;
  done_ = true;
  ReleaseId();
  CancelAll();
  RecordEnd("client_gone");
}

void Generation::Fail(const ApiError& error, std::string_view reason) {
  if (done_) return;
  done_ = true;
  ReleaseId();
  CancelAll();
  if (job_.stream && job_.responder->HasStartedStream()) {
    // An error after 200: an event of its own, and no [DONE].
    job_.responder->Write("data: " + error.Body() + "\n\n");
    job_.responder->End();
  } else {
    std::vector<Header> headers = {{"content-type", "application/json"}};
    if (error.http_status == 503) {
      // What the plan says: when a request that comes then would find a place.
      const double wait_s = job_.model->llm->stats().estimated_wait_ms * 1e-3;
      headers.push_back(
          {"retry-after", fmt::format("{:.0f}", std::clamp(std::ceil(wait_s), 1.0, 600.0))});
    }
    job_.responder->Send(error.http_status, std::move(headers), error.Body());
  }
  RecordEnd(reason);
}

void Generation::EndPrompt(Prompt& prompt, const llm::TextEvent& event) {
  ModelMetrics& metrics = job_.model->metrics;
  // Without a token a prompt was computed when that was all there was to do (max_tokens 0).
  const bool failed = event.finish_reason == FinishReason::kError ||
                      event.finish_reason == FinishReason::kCancelled;
  if (failed && !prompt.has_first_token) return;
  metrics.prompt_tokens_total.fetch_add(static_cast<uint64_t>(prompt.prompt_tokens),
                                        std::memory_order_relaxed);
  metrics.cached_tokens_total.fetch_add(static_cast<uint64_t>(event.usage.cached_tokens),
                                        std::memory_order_relaxed);
  usage_.cached_tokens += event.usage.cached_tokens;
  metrics.n.Observe(job_.request.n);
  if (const int32_t limit = job_.request.sampling.max_tokens; limit >= 0) {
    metrics.max_tokens.Observe(limit);
  }
  const Clock::time_point now = Clock::now();
  const double queue_s = event.usage.queue_ms * 1e-3;
  const double prefill_ms =
      prompt.has_first_token ? event.usage.first_token_ms : event.usage.total_ms;
  const double prefill_s = std::max(0.0, prefill_ms * 1e-3 - queue_s);
  const double decode_s = prompt.has_first_token ? Seconds(now - prompt.first_token) : 0;
  int32_t tokens = 0;
  for (const Choice& choice : prompt.choices) tokens += choice.num_tokens;
  metrics.e2e_latency.Observe(Seconds(now - job_.http->received));
  metrics.queue_time.Observe(queue_s);
  metrics.prefill_time.Observe(prefill_s);
  metrics.decode_time.Observe(decode_s);
  metrics.inference_time.Observe(prefill_s + decode_s);
  metrics.prompt_tokens.Observe(prompt.prompt_tokens);
  metrics.generation_tokens.Observe(tokens);
  const int32_t per_choice = tokens / static_cast<int32_t>(prompt.choices.size());
  if (per_choice > 1) metrics.request_time_per_output_token.Observe(decode_s / (per_choice - 1));
}

void Generation::SendWhole() {
  std::vector<openai::ChoiceText> choices;
  std::vector<openai::PromptPart> parts;
  for (Prompt& prompt : prompts_) {
    // best_of: the n with the highest log-probability per token, best first.
    if (prompt.choices.size() > static_cast<size_t>(job_.n)) {
      std::stable_sort(prompt.choices.begin(), prompt.choices.end(),
                       [](const Choice& a, const Choice& b) {
                         return a.sum_logprob * std::max(1, b.num_tokens) >
                                b.sum_logprob * std::max(1, a.num_tokens);
                       });
      prompt.choices.resize(static_cast<size_t>(job_.n));
    }
    for (Choice& choice : prompt.choices) choices.push_back(std::move(choice.text));
    parts.push_back(std::move(prompt.part));
  }
  if (!choices.empty()) finish_ = FinishReasonName(choices[0].finish);
  done_ = true;
  struct Answer {
    std::vector<openai::ChoiceText> choices;
    std::vector<openai::PromptPart> parts;
  };
  // Shared, because a task is copied.
  const auto answer = std::make_shared<const Answer>(Answer{std::move(choices), std::move(parts)});
  const auto write = [self = shared_from_this(), answer] {
    std::string body = self->job_.writer->Whole(answer->choices, answer->parts, self->usage_);
    {
      const std::lock_guard lock(self->mutex_);
      self->ReleaseId();
    }
    self->job_.responder->Send(200, {{"content-type", "application/json"}}, std::move(body));
    const std::lock_guard lock(self->mutex_);
    self->RecordEnd("ok");
  };
  // A long answer takes seconds to write. This thread has the tokens of all other requests to
  // hand on, and who closes the connection waits for mutex_. (What may wait for a worker is bounded
  // by the answers' budget.)
  if (held_->bytes() < kWriteHereBytes) return write();
  const bool queued = state_.workers.Run({.tenant = job_.http->tenant,
                                          .weight = job_.http->weight,
                                          .bytes = held_->bytes(),
                                          .is_bounded_elsewhere = true},
                                         write);
  if (queued) return;
  done_ = false;
  Fail(MakeError(503, "server_overloaded", "No memory for this answer. Try again later."),
       "out_of_memory");
}

void Generation::EndStream() {
  finish_ = FinishReasonName(first_finish_);
  if (job_.include_usage) Write(job_.writer->UsageChunk(usage_));
  Write(openai::AnswerWriter::Done());
  if (done_) return;
  done_ = true;
  ReleaseId();
  job_.responder->End();
  RecordEnd("ok");
}

void Generation::RecordEnd(std::string_view outcome) {
  if (!state_.log || !state_.log->wants_requests()) return;
  LogLine line("info", "generation");
  line.Add("request_id", job_.http->request_id)
      .Add("model", job_.model->id)
      .Add("outcome", outcome);
  if (!job_.http->tenant.empty()) line.Add("tenant", job_.http->tenant);
  if (!job_.http->trace_id.empty()) line.Add("trace_id", job_.http->trace_id);
  if (!job_.http->objective.empty()) line.Add("objective", job_.http->objective);
  line.Add("stream", static_cast<int64_t>(job_.stream))
      .Add("prompts", static_cast<int64_t>(job_.prompts.size()))
      .Add("prompt_tokens", usage_.prompt_tokens)
      .Add("completion_tokens", usage_.completion_tokens)
      .Add("cached_tokens", usage_.cached_tokens);
  if (!finish_.empty()) line.Add("finish_reason", finish_);
  line.Add("queue_ms", queue_ms_)
      .Add("first_token_ms", first_token_ms_)
      .Add("total_ms", Seconds(Clock::now() - job_.http->received) * 1e3);
  state_.log->Write(line);
}

}  // namespace rill::server
