// For tests: one request on a real model in any company, chunking and page size, with every bit of
// its logits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/model_runner.h"
#include "io/model_source.h"
#include "sampling/row_passes.h"

namespace rill::engine::testing {

// Keeps the logits of one request on their way.
class LogitTap : public StepRunner {
 public:
  LogitTap(StepRunner& inner, RequestId target) : inner_(inner), target_(target) {}
  const RunnerInfo& info() const override { return inner_.info(); }
  void Scrub(std::span<const int32_t> pages) override { inner_.Scrub(pages); }
  Status Run(const StepPlan& plan, const StepOutput& output) override {
    // As it is asked for, and again with every row: what is known of rows that are not written is
    // what they hold. (A step that runs twice writes the same keys and values.)
    Status status = inner_.Run(plan, output);
    const std::vector<ops::BestLogit> best(output.best.begin(), output.best.end());
    StepPlan whole = plan;
    std::fill(whole.wanted.begin(), whole.wanted.end(), 1);
    if (status.ok()) status = inner_.Run(whole, output);
    std::copy(best.begin(), best.end(), output.best.begin());
    const MutableTensorView& logits = output.logits;
    for (size_t r = 0; status.ok() && r < best.size(); ++r) {
      if (best[r].token_id < 0) continue;
      ++num_best;
      const std::span row(logits.Row<float>(static_cast<int64_t>(r)),
                          static_cast<size_t>(info().vocab_size));
      EXPECT_EQ(best[r].token_id, sampling::ArgMax(row));
      EXPECT_EQ(std::memcmp(&best[r].logit, &row[static_cast<size_t>(best[r].token_id)], 4), 0);
    }
    largest_batch = std::max(largest_batch, plan.num_seqs());
    for (const PlannedSequence& planned : plan.sequences) {
      if (planned.request_id != target_ || planned.logit_row < 0) continue;
      const float* row = logits.Row<float>(planned.logit_row);
      rows[planned.choice].emplace_back(row, row + info().vocab_size);
    }
    return status;
  }
  std::map<int32_t, std::vector<std::vector<float>>> rows;  // choice -> rows in order
  int32_t largest_batch = 0;
  int64_t num_best = 0;  // rows that were not written

 private:
  StepRunner& inner_;
  RequestId target_;
};

struct BitwiseSetup {
  std::string what;
  quant::KvFormat kv_dtype = quant::KvFormat::kF16;
  int32_t page_size = 64;
  int32_t max_step_tokens = 256;
  int32_t company = 0;  // other requests beside the one that counts
  bool scrub = false;   // the KV memory is full of what is not a number wherever nobody has written
};

struct BitwiseOutput {
  std::map<int32_t, std::vector<int32_t>> tokens;
  std::map<int32_t, std::vector<std::vector<float>>> logits;
};

struct BitwiseRequest {
  int32_t prompt_tokens = 70;
  int32_t max_tokens = 12;
  int32_t n = 2;
};

// Token ids that look like nothing.
inline std::vector<int32_t> SomePrompt(int32_t count, uint32_t seed, int32_t vocab_size) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  uint32_t state = seed * 2654435761u + 1;
  for (int32_t& id : ids) {
    state = state * 1664525u + 1013904223u;
    id = static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab_size));
  }
  return ids;
}

inline Result<BitwiseOutput> RunBitwise(const io::ModelSource& source, ops::Backend& backend,
                                        const BitwiseSetup& setup, const BitwiseRequest& shape) {
  model::ModelOptions model_options;
  model_options.max_step_tokens = setup.max_step_tokens;
  auto model = model::Model::Load(source, backend, model_options);
  if (!model.ok()) return model.status();
  ModelRunnerOptions runner_options;
  runner_options.kv_dtype = setup.kv_dtype;
  runner_options.page_size = setup.page_size;
  runner_options.num_pages =
      static_cast<int32_t>(PagesForContexts(shape.n + setup.company, 192, setup.page_size));
  runner_options.max_step_tokens = setup.max_step_tokens;
  runner_options.scrub = setup.scrub;
  auto runner = ModelRunner::Create(**model, backend, runner_options);
  if (!runner.ok()) return runner.status();
  if (setup.scrub) {
    std::vector<int32_t> pages(static_cast<size_t>(runner_options.num_pages));
    std::iota(pages.begin(), pages.end(), 0);
    (*runner)->Scrub(pages);
  }
  const int32_t vocab_size = (*runner)->info().vocab_size;
  const RequestId target = static_cast<RequestId>(setup.company / 2 + 1);
  LogitTap tap(**runner, target);
  EngineOptions options;
  // A step holds at least one row for each choice.
  options.max_choices = std::min(setup.max_step_tokens, 64);
  auto engine = Engine::Create(options, tap);
  if (!engine.ok()) return engine.status();
  BitwiseOutput output;
  for (int32_t i = 0; i <= setup.company; ++i) {
    GenerateRequest request;
    EventCallback callback;
    if (static_cast<RequestId>(i + 1) == target) {
      request.prompt_ids = SomePrompt(shape.prompt_tokens, 99, vocab_size);
      request.n = shape.n;
      request.sampling.max_tokens = shape.max_tokens;
      request.sampling.seed = 7;
      callback = [&](const TokenEvent& event) {
        if (event.token_id >= 0) output.tokens[event.choice].push_back(event.token_id);
        EXPECT_TRUE(event.error.ok()) << event.error.ToString();
      };
    } else {
      request.prompt_ids = SomePrompt(3 + i * 5 % 29, static_cast<uint32_t>(i), vocab_size);
      request.sampling.max_tokens = 2 + i * 7 % 13;
      request.sampling.temperature = i % 3 == 0 ? 1.0f : 0.0f;
    }
    request.sampling.ignore_eos = true;
    const auto id = (*engine)->Submit(std::move(request), std::move(callback));
    if (!id.ok()) return id.status();
    // Some of the company is already under way.
    if (i == setup.company / 4) {
      if (Status status = (*engine)->Step(); !status.ok()) return status;
    }
  }
  while ((*engine)->HasWork()) {
    if (Status status = (*engine)->Step(); !status.ok()) return status;
  }
  if (setup.company > 1) {
    EXPECT_GT(tap.num_best, 0) << setup.what;
  }
  if (setup.company > 0 && setup.max_step_tokens > setup.company) {
    EXPECT_GT(tap.largest_batch, setup.company / 2) << setup.what;
  }
  output.logits = std::move(tap.rows);
  return output;
}

// The first difference in bits, or an empty string.
inline std::string FirstDifference(const BitwiseOutput& a, const BitwiseOutput& b) {
  if (a.logits.size() != b.logits.size()) return "numbers of choices differ";
  for (const auto& [choice, rows] : a.logits) {
    const auto& others = b.logits.at(choice);
    if (rows.size() != others.size()) return "numbers of rows differ";
    for (size_t i = 0; i < rows.size(); ++i) {
      for (size_t t = 0; t < rows[i].size(); ++t) {
        if (std::memcmp(&rows[i][t], &others[i][t], sizeof(float)) != 0) {
          return "choice " + std::to_string(choice) + ", row " + std::to_string(i) + ", token " +
                 std::to_string(t) + ": " + std::to_string(rows[i][t]) + " and " +
                 std::to_string(others[i][t]);
        }
      }
    }
  }
  return a.tokens == b.tokens ? "" : "tokens differ";
}

// Alone = in company = any chunking = any page size, bit for bit.
inline void ExpectBitwiseEverywhere(const io::ModelSource& source, ops::Backend& backend,
                                    const BitwiseRequest& shape,
                                    const std::vector<BitwiseSetup>& setups) {
  std::map<quant::KvFormat, BitwiseOutput> alone;
  for (const BitwiseSetup& setup : setups) {
    auto output = RunBitwise(source, backend, setup, shape);
    ASSERT_TRUE(output.ok()) << setup.what << ": " << output.status().ToString();
    ASSERT_EQ(output->tokens.size(), static_cast<size_t>(shape.n)) << setup.what;
    ASSERT_EQ(output->tokens[0].size(), static_cast<size_t>(shape.max_tokens)) << setup.what;
    const auto [first, inserted] = alone.emplace(setup.kv_dtype, *output);
    if (!inserted) {
      EXPECT_EQ(FirstDifference(first->second, *output), "") << setup.what;
    }
  }
}

// A conversation of two turns: its second turn finds the first one's pages, the prompt's (computed
// in chunks) and the answer's (computed token by token), and gives the bits that it gives without.
inline void ExpectCachedPrefixBitwise(const io::ModelSource& source, ops::Backend& backend,
                                      const std::vector<BitwiseSetup>& setups) {
  for (const BitwiseSetup& setup : setups) {
    model::ModelOptions model_options;
    model_options.max_step_tokens = setup.max_step_tokens;
    auto model = model::Model::Load(source, backend, model_options);
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    ModelRunnerOptions runner_options;
    runner_options.kv_dtype = setup.kv_dtype;
    runner_options.page_size = setup.page_size;
    runner_options.num_pages =
        static_cast<int32_t>(PagesForContexts(3 + setup.company, 192, setup.page_size));
    runner_options.max_step_tokens = setup.max_step_tokens;
    std::map<bool, std::map<int32_t, std::vector<std::vector<float>>>> logits;
    std::map<bool, int32_t> cached_tokens;
    for (const bool cache : {false, true}) {
      auto runner = ModelRunner::Create(**model, backend, runner_options);
      ASSERT_TRUE(runner.ok()) << runner.status().ToString();
      const int32_t vocab_size = (*runner)->info().vocab_size;
      LogitTap tap(**runner, static_cast<RequestId>(setup.company + 2));
      auto engine = Engine::Create({.prefix_cache = cache}, tap);
      ASSERT_TRUE(engine.ok()) << engine.status().ToString();
      GenerateRequest request;
      request.prompt_ids = SomePrompt(50, 99, vocab_size);
      request.sampling.max_tokens = 20;
      request.sampling.seed = 7;
      request.sampling.ignore_eos = true;
      std::vector<int32_t> text = request.prompt_ids;
      ASSERT_TRUE((*engine)
                      ->Submit(request,
                               [&text](const TokenEvent& event) {
                                 if (event.token_id >= 0) text.push_back(event.token_id);
                               })
                      .ok());
      while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
      for (int32_t i = 0; i < setup.company; ++i) {
        GenerateRequest other;
        other.prompt_ids = SomePrompt(3 + i * 5 % 29, static_cast<uint32_t>(i), vocab_size);
        other.sampling.max_tokens = 2 + i * 7 % 13;
        ASSERT_TRUE((*engine)->Submit(std::move(other), nullptr).ok());
      }
      request.prompt_ids = text;
      request.prompt_ids.push_back(3);
      request.sampling.max_tokens = 6;
      request.n = 2;
      ASSERT_TRUE((*engine)
                      ->Submit(request,
                               [&, cache](const TokenEvent& event) {
                                 EXPECT_TRUE(event.error.ok()) << event.error.ToString();
                                 if (event.is_final)
                                   cached_tokens[cache] = event.usage.cached_tokens;
                               })
                      .ok());
      while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
      logits[cache] = std::move(tap.rows);
    }
    EXPECT_EQ(cached_tokens[false], 0) << setup.what;
    EXPECT_EQ(cached_tokens[true], 69 / setup.page_size * setup.page_size) << setup.what;
    ASSERT_EQ(logits[true].size(), 2u) << setup.what;
    BitwiseOutput with, without;
    with.logits = std::move(logits[true]);
    without.logits = std::move(logits[false]);
    EXPECT_EQ(FirstDifference(with, without), "") << setup.what;
  }
}

inline std::vector<BitwiseSetup> CachedPrefixSetups() {
  return {{.what = "pages of 16", .page_size = 16},
          {.what = "pages of 64", .page_size = 64},
          {.what = "pages of 16, chunks of 13, 11 others",
           .page_size = 16,
           .max_step_tokens = 13,
           .company = 11},
          {.what = "f32, pages of 32", .kv_dtype = quant::KvFormat::kF32, .page_size = 32}};
}

inline std::vector<BitwiseSetup> AllBitwiseSetups() {
  using quant::KvFormat;
  return {
      {.what = "alone"},
      {.what = "17 others", .company = 17},
      {.what = "chunks of 2", .max_step_tokens = 2},
      {.what = "chunks of 16", .max_step_tokens = 16},
      {.what = "17 others, chunks of 23", .max_step_tokens = 23, .company = 17},
      {.what = "pages of 16", .page_size = 16},
      {.what = "pages of 32, 17 others", .page_size = 32, .company = 17},
      {.what = "pages of 128, chunks of 33", .page_size = 128, .max_step_tokens = 33},
      {.what = "scrubbed", .scrub = true},
      {.what = "scrubbed, pages of 16, chunks of 23, 17 others",
       .page_size = 16,
       .max_step_tokens = 23,
       .company = 17,
       .scrub = true},
      {.what = "f32 alone", .kv_dtype = KvFormat::kF32},
      {.what = "f32, scrubbed, 17 others",
       .kv_dtype = KvFormat::kF32,
       .company = 17,
       .scrub = true},
      {.what = "f32, pages of 16, chunks of 7, 17 others",
       .kv_dtype = KvFormat::kF32,
       .page_size = 16,
       .max_step_tokens = 7,
       .company = 17},
      {.what = "bf16 alone", .kv_dtype = KvFormat::kBF16},
      {.what = "bf16, pages of 32, chunks of 19",
       .kv_dtype = KvFormat::kBF16,
       .page_size = 32,
       .max_step_tokens = 19},
      {.what = "int8 alone", .kv_dtype = KvFormat::kInt8},
      {.what = "int8, scrubbed, pages of 32, 17 others",
       .kv_dtype = KvFormat::kInt8,
       .page_size = 32,
       .company = 17,
       .scrub = true},
      {.what = "int8, chunks of 23, 17 others",
       .kv_dtype = KvFormat::kInt8,
       .max_step_tokens = 23,
       .company = 17},
      {.what = "int8, pages of 16, chunks of 7",
       .kv_dtype = KvFormat::kInt8,
       .page_size = 16,
       .max_step_tokens = 7},
      {.what = "int4 alone", .kv_dtype = KvFormat::kInt4},
      {.what = "int4, chunks of 23, 17 others",
       .kv_dtype = KvFormat::kInt4,
       .max_step_tokens = 23,
       .company = 17},
      {.what = "int4, pages of 128, chunks of 3",
       .kv_dtype = KvFormat::kInt4,
       .page_size = 128,
       .max_step_tokens = 3},
  };
}

}  // namespace rill::engine::testing
