#include "engine/simulator_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "engine/simulator_runner.h"
#include "sampling/sampler.h"

namespace rill::engine {

std::string SimulatedRequest::OnEvent(const TokenEvent& event) {
  if (event.request_id != id)
    return fmt::format("event of request {} came to {}", event.request_id, id);
  if (finals > 0) return fmt::format("request {}: an event after the final one", id);
  if (event.choice < 0 || event.choice >= request.n) {
    return fmt::format("request {}: choice {} of {}", id, event.choice, request.n);
  }
  SimulatedChoice& choice = choices[static_cast<size_t>(event.choice)];
  if (choice.finish != FinishReason::kNone) {
    return fmt::format("request {}: choice {}: an event after its end", id, event.choice);
  }
  if (!event.prompt_logprobs.empty()) {
    const bool early = std::all_of(choices.begin(), choices.end(),
                                   [](const SimulatedChoice& c) { return c.tokens.empty(); });
    if (!early || event.token_id >= 0 || event.finish_reason != FinishReason::kNone ||
        event.is_final || request.prompt_logprobs < 0 ||
        event.prompt_position != static_cast<int32_t>(prompt_logprobs.size()) + 1) {
      return fmt::format(
          "request {}: log-probabilities of the prompt at position {}, {} came before", id,
          event.prompt_position, prompt_logprobs.size());
    }
    prompt_logprobs.insert(prompt_logprobs.end(), event.prompt_logprobs.begin(),
                           event.prompt_logprobs.end());
    return {};
  }
  const bool only_prompt =
      request.sampling.max_tokens == 0 && event.finish_reason == FinishReason::kLength;
  if (event.token_id >= 0) {
    if (event.index != static_cast<int32_t>(choice.tokens.size())) {
      return fmt::format("request {}: choice {}: token {} came as index {}", id, event.choice,
                         choice.tokens.size(), event.index);
    }
    choice.tokens.push_back(event.token_id);
  } else if (!only_prompt && event.finish_reason != FinishReason::kCancelled &&
             event.finish_reason != FinishReason::kError) {
    return fmt::format("request {}: choice {}: neither token nor end", id, event.choice);
  }
  choice.finish = event.finish_reason;
  const bool all_ended = std::all_of(choices.begin(), choices.end(), [](const SimulatedChoice& c) {
    return c.finish != FinishReason::kNone;
  });
  if (all_ended != event.is_final) {
    return fmt::format("request {}: is_final is {}, all choices ended: {}", id, event.is_final,
                       all_ended);
  }
  if (event.is_final) {
    ++finals;
    seed = event.usage.seed;
    int32_t tokens = 0;
    for (const SimulatedChoice& c : choices) tokens += static_cast<int32_t>(c.tokens.size());
    if (event.usage.completion_tokens != tokens ||
        event.usage.prompt_tokens != static_cast<int32_t>(request.prompt_ids.size())) {
      return fmt::format("request {}: usage {} + {}, came {}", id, event.usage.prompt_tokens,
                         event.usage.completion_tokens, tokens);
    }
  }
  return {};
}

std::string SimulatedRequest::CheckChoice(int32_t choice, int32_t vocab_size) const {
  const SimulatedChoice& got = choices[static_cast<size_t>(choice)];
  std::vector<int32_t> end_ids = request.sampling.stop_ids;
  if (!request.sampling.ignore_eos) end_ids.insert(end_ids.end(), eos_ids.begin(), eos_ids.end());
  std::sort(end_ids.begin(), end_ids.end());
  sampling::Sampler sampler(std::make_shared<const sampling::RequestSampling>(
                                request.sampling, seed, end_ids, request.prompt_ids),
                            choice, nullptr);
  sampling::SamplerWorkspace workspace;
  std::vector<float> logits(static_cast<size_t>(vocab_size));
  uint64_t hash = TokenHash::Of(request.prompt_ids);
  FinishReason natural =
      request.sampling.max_tokens == 0 ? FinishReason::kLength : FinishReason::kNone;
  for (size_t i = 0; i < got.tokens.size(); ++i) {
    if (natural != FinishReason::kNone) return fmt::format("goes on after its end at token {}", i);
    HashLogits(hash, logits);
    const auto expected = sampler.Sample(logits, workspace);
    if (!expected.ok()) return expected.status().ToString();
    if (expected->token_id != got.tokens[i]) {
      return fmt::format("token {} is {}, alone it is {}", i, got.tokens[i], expected->token_id);
    }
    if (Status status = sampler.Accept(got.tokens[i]); !status.ok()) return status.ToString();
    hash = TokenHash::Next(hash, got.tokens[i]);
    if (std::binary_search(end_ids.begin(), end_ids.end(), got.tokens[i])) {
      natural = FinishReason::kStop;
    } else if (static_cast<int32_t>(i) + 1 == request.sampling.max_tokens) {
      natural = FinishReason::kLength;
    }
  }
  const bool has_cause = got.finish == FinishReason::kCancelled ? got.cancel_asked
                         : got.finish == FinishReason::kError   ? fault_planted || may_expire
                                                                : natural == got.finish;
  if (!has_cause) return fmt::format("ends with '{}' without cause", FinishReasonName(got.finish));
  return {};
}

std::string SimulatedRequest::CheckPrompt(int32_t vocab_size) const {
  if (request.prompt_logprobs < 0) return {};
  const bool computed = std::any_of(choices.begin(), choices.end(), [](const SimulatedChoice& c) {
    return !c.tokens.empty() || c.finish == FinishReason::kLength;
  });
  const size_t expected = request.prompt_ids.size() - 1;
  if (prompt_logprobs.size() > expected || (computed && prompt_logprobs.size() != expected)) {
    return fmt::format("{} of {} log-probabilities of the prompt", prompt_logprobs.size(),
                       expected);
  }
  sampling::SamplerWorkspace workspace;
  std::vector<float> logits(static_cast<size_t>(vocab_size));
  uint64_t hash = TokenHash::kStart;
  for (size_t i = 0; i < prompt_logprobs.size(); ++i) {
    hash = TokenHash::Next(hash, request.prompt_ids[i]);
    HashLogits(hash, logits);
    sampling::SampledToken want;
    want.token_id = request.prompt_ids[i + 1];
    sampling::ComputeLogprobs(logits, request.prompt_logprobs, workspace, want);
    const PromptLogprob& got = prompt_logprobs[i];
    bool equal = got.logprob == want.logprob && got.top_logprobs.size() == want.top_logprobs.size();
    for (size_t k = 0; equal && k < got.top_logprobs.size(); ++k) {
      equal = got.top_logprobs[k].token_id == want.top_logprobs[k].token_id &&
              got.top_logprobs[k].logprob == want.top_logprobs[k].logprob;
    }
    if (!equal) return fmt::format("log-probability of prompt position {} is not its own", i + 1);
  }
  return {};
}

std::string SimulatedRequest::Check(int32_t vocab_size) const {
  if (finals != 1) return fmt::format("request {}: {} final events", id, finals);
  if (std::string problem = CheckPrompt(vocab_size); !problem.empty()) {
    return fmt::format("request {}: {}", id, problem);
  }
  for (int32_t choice = 0; choice < request.n; ++choice) {
    std::string problem = CheckChoice(choice, vocab_size);
    if (!problem.empty()) return fmt::format("request {}: choice {}: {}", id, choice, problem);
  }
  return {};
}

}  // namespace rill::engine
