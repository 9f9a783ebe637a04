// What the simulator knows of one request: what was asked, what came, what may have caused it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "rill/request.h"

namespace rill::engine {

struct SimulatedChoice {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  bool cancel_asked = false;
};

struct SimulatedRequest {
  GenerateRequest request;
  std::vector<int32_t> eos_ids;
  RequestId id = 0;
  int64_t submitted_step = 0;
  std::chrono::steady_clock::time_point submitted_at;
  std::vector<SimulatedChoice> choices;
  std::vector<PromptLogprob> prompt_logprobs;  // of positions 1, 2, …
  bool may_expire = false;                     // its time was up
  bool fault_planted = false;
  int finals = 0;
  uint64_t seed = 0;  // from the final event

  // Records one event; a sentence when it breaks the order of events.
  std::string OnEvent(const TokenEvent& event);
  // After the final event: a sentence when an output is not the serial chain, or an end has no
  // cause.
  std::string Check(int32_t vocab_size) const;

 private:
  std::string CheckPrompt(int32_t vocab_size) const;
  std::string CheckChoice(int32_t choice, int32_t vocab_size) const;
};

}  // namespace rill::engine
