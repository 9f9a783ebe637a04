#include "sampling/validate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace rill::sampling {
namespace {

std::string Message(const SamplingParams& params) {
  return ValidateSampling(params, 100).message();
}

TEST(Validate, EachField_IsRefusedWithFieldRangeAndValue) {
  EXPECT_EQ(Message({}), "");
  EXPECT_EQ(Message({.temperature = -1.0f}), "temperature: expected a number in [0, 100], got -1");
  EXPECT_EQ(Message({.temperature = NAN}), "temperature: expected a number in [0, 100], got nan");
  EXPECT_EQ(Message({.temperature = INFINITY}),
            "temperature: expected a number in [0, 100], got inf");
  EXPECT_EQ(Message({.top_k = -1}), "top_k: expected 0 (off) or more, got -1");
  EXPECT_EQ(Message({.top_p = 0.0f}), "top_p: expected a number in (0, 1], got 0");
  EXPECT_EQ(Message({.top_p = 1.5f}), "top_p: expected a number in (0, 1], got 1.5");
  EXPECT_EQ(Message({.min_p = NAN}), "min_p: expected a number in [0, 1], got nan");
  EXPECT_EQ(Message({.typical_p = 0.0f}), "typical_p: expected a number in (0, 1], got 0");
  EXPECT_EQ(Message({.repetition_penalty = 0.0f}),
            "repetition_penalty: expected a number in [0.01, 100], got 0");
  EXPECT_EQ(Message({.presence_penalty = 3.0f}),
            "presence_penalty: expected a number in [-2, 2], got 3");
  EXPECT_EQ(Message({.frequency_penalty = -3.0f}),
            "frequency_penalty: expected a number in [-2, 2], got -3");
  EXPECT_EQ(Message({.logit_bias = {{100, 1.0f}}}),
            "logit_bias: expected token ids in [0, 100), got 100");
  EXPECT_EQ(Message({.logit_bias = {{-1, 1.0f}}}),
            "logit_bias: expected token ids in [0, 100), got -1");
  EXPECT_EQ(Message({.logit_bias = {{7, NAN}}}),
            "logit_bias: token 7: expected a number in [-100, 100], got nan");
  EXPECT_EQ(Message({.logit_bias = {{7, 1.0f}, {3, 1.0f}, {7, 2.0f}}}),
            "logit_bias: token 7 is given twice");
  EXPECT_EQ(Message({.logit_bias = std::vector<LogitBias>(5000)}),
            "logit_bias: expected at most 4096 entries, got 5000");
  EXPECT_EQ(Message({.logprobs = 65}), "logprobs: expected -1 (none) or 0 to 64, got 65");
  EXPECT_EQ(Message({.max_tokens = -1}), "max_tokens: expected 0 or more, got -1");
  EXPECT_EQ(Message({.max_tokens = 5, .min_tokens = 6}),
            "min_tokens: expected 0 to max_tokens = 5, got 6");
  EXPECT_EQ(Message({.stop_ids = {100}}), "stop_ids: expected token ids in [0, 100), got 100");
  EXPECT_EQ(Message({.stop_ids = std::vector<int32_t>(300)}),
            "stop_ids: expected at most 256 entries, got 300");
}

TEST(Validate, EdgesOfTheRanges_AreAllowed) {
  EXPECT_EQ(Message({.temperature = 100.0f,
                     .top_k = std::numeric_limits<int32_t>::max(),
                     .top_p = 1e-30f,
                     .min_p = 1.0f,
                     .typical_p = 1.0f,
                     .repetition_penalty = 100.0f,
                     .presence_penalty = -2.0f,
                     .frequency_penalty = 2.0f,
                     .logit_bias = {{99, -100.0f}},
                     .logprobs = 64,
                     .max_tokens = std::numeric_limits<int32_t>::max()}),
            "");
}

}  // namespace
}  // namespace rill::sampling
