// For the engine's tests: small requests, and a callback that checks the order of events.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/simulator_runner.h"
#include "sampling/row_passes.h"

namespace rill::engine::testing {

inline RunnerInfo SmallRunner() {
  RunnerInfo info;
  info.vocab_size = 61;
  info.max_context = 256;
  info.page_size = 4;
  info.num_pages = 64;
  info.max_step_tokens = 16;
  info.max_step_rows = 16;
  return info;
}

inline GenerateRequest Greedy(std::vector<int32_t> prompt_ids, int32_t max_tokens) {
  GenerateRequest request;
  request.prompt_ids = std::move(prompt_ids);
  request.sampling.temperature = 0.0f;
  request.sampling.max_tokens = max_tokens;
  return request;
}

// What greedy decoding must give, without engine, pages or steps.
inline std::vector<int32_t> GreedyChain(std::vector<int32_t> ids, int32_t count,
                                        int32_t vocab_size) {
  std::vector<int32_t> output;
  std::vector<float> logits(static_cast<size_t>(vocab_size));
  for (int32_t i = 0; i < count; ++i) {
    HashLogits(TokenHash::Of(ids), logits);
    output.push_back(static_cast<int32_t>(sampling::ArgMax(logits)));
    ids.push_back(output.back());
  }
  return output;
}

// Keeps what one request gave; fails the test when the order of events is broken.
struct Recorder {
  std::map<int32_t, std::vector<int32_t>> tokens;
  std::map<int32_t, FinishReason> finish;
  std::vector<TokenEvent> events;
  int finals = 0;
  Usage usage;
  Status error;

  EventCallback Callback() {
    return [this](const TokenEvent& event) {
      EXPECT_EQ(finals, 0) << "an event after the final one";
      EXPECT_FALSE(finish.contains(event.choice)) << "an event after the choice's end";
      if (event.token_id >= 0) {
        EXPECT_EQ(event.index, static_cast<int32_t>(tokens[event.choice].size()));
        tokens[event.choice].push_back(event.token_id);
      }
      if (event.finish_reason != FinishReason::kNone) finish[event.choice] = event.finish_reason;
      if (event.is_final) {
        ++finals;
        usage = event.usage;
        error = event.error;
      }
      events.push_back(event);
    };
  }
};

}  // namespace rill::engine::testing
