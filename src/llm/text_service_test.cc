#include "llm/text_service.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <future>
#include <thread>

#include "backends/registry.h"
#include "base/failing_new.h"
#include "base/testing.h"
#include "engine/model_runner.h"
#include "io/model_source.h"
#include "model/model.h"

namespace rill::llm {
namespace {

// The model's steps, each at least so long.
class PacedRunner final : public engine::StepRunner {
 public:
  explicit PacedRunner(engine::StepRunner& runner) : runner_(runner) {}
  const engine::RunnerInfo& info() const override { return runner_.info(); }
  Status Run(const engine::StepPlan& plan, const engine::StepOutput& output) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(step_ms.load()));
    return runner_.Run(plan, output);
  }
  std::atomic<int> step_ms{0};

 private:
  engine::StepRunner& runner_;
};

// A service over stories260K: trained, so its greedy texts differ by prompt.
class TextServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RILL_SHARED_DATA_OR_SKIP(path, "models/stories260K/stories260K.gguf");
    auto source = io::OpenModel(path);
    ASSERT_TRUE(source.ok()) << source.status().ToString();
    backends::BackendOptions options;
    options.num_threads = 1;
    backend_ = std::move(backends::MakeBackend("cpu", options)).value();
    auto model = model::Model::Load(*source, *backend_, {.max_step_tokens = 64});
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    model_ = std::move(*model);
    auto runner = engine::ModelRunner::Create(
        *model_, *backend_, {.page_size = 16, .num_pages = 128, .max_step_tokens = 64});
    ASSERT_TRUE(runner.ok()) << runner.status().ToString();
    runner_ = std::move(*runner);
    auto tokenizer = text::LoadTokenizer(*source);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
    paced_ = std::make_unique<PacedRunner>(*runner_);
    auto engine = engine::Engine::Create({.eos_ids = {2}}, *paced_);
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    loop_ = std::make_unique<engine::EngineLoop>(std::move(*engine));
    tokenizer_ = std::move(*tokenizer);
    MakeService({.max_requests = 64});
  }

  void MakeService(const TextServiceOptions& options) {
    service_.reset();
    service_ = std::make_unique<TextService>(tokenizer_, nullptr, model_->config().max_context,
                                             *loop_, options);
  }

  struct Outcome {
    std::string text;
    FinishReason finish = FinishReason::kNone;
    std::string stop_string;
    Status error;
    int tokens = 0;
    int finals = 0;
  };

  // Handle and the outcome of choice 0, ready at the final event.
  std::pair<uint64_t, std::future<Outcome>> Start(TextRequest request) {
    auto outcome = std::make_shared<Outcome>();
    auto promise = std::make_shared<std::promise<Outcome>>();
    auto future = promise->get_future();
    auto handle = service_->Submit(std::move(request), [=](const TextEvent& event) {
      outcome->text += event.text;
      outcome->tokens += static_cast<int>(event.tokens.size());
      if (event.finish_reason != FinishReason::kNone) {
        outcome->finish = event.finish_reason;
        outcome->stop_string = event.stop_string;
        outcome->error = event.error;
      }
      if (event.is_final && ++outcome->finals == 1) promise->set_value(*outcome);
    });
    EXPECT_TRUE(handle.ok()) << handle.status().ToString();
    return {handle.ok() ? *handle : 0, std::move(future)};
  }

  static TextRequest Greedy(const std::string& prompt, int32_t max_tokens) {
    TextRequest request;
    request.prompt = prompt;
    request.sampling.temperature = 0;
    request.sampling.max_tokens = max_tokens;
    return request;
  }

  static std::shared_ptr<const text::StopStrings> Stop(std::vector<std::string> texts) {
    return std::make_shared<const text::StopStrings>(std::move(texts));
  }

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::unique_ptr<ops::Backend> backend_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<engine::ModelRunner> runner_;
  std::unique_ptr<PacedRunner> paced_;
  std::unique_ptr<engine::EngineLoop> loop_;
  std::unique_ptr<TextService> service_;  // before the loop in destruction
};

TEST_F(TextServiceTest, TogetherAndAlone_GiveTheSameTexts) {
  const std::vector<std::string> prompts = {"Once upon a time", "The dog",        "Lily and Tom",
                                            "One day",          "A big red ball", "She",
                                            "In the park",      "He saw"};
  std::vector<std::string> alone;
  for (const auto& prompt : prompts) alone.push_back(Start(Greedy(prompt, 40)).second.get().text);
  std::vector<std::future<Outcome>> together;
  for (const auto& prompt : prompts) together.push_back(Start(Greedy(prompt, 40)).second);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Outcome outcome = together[i].get();
    EXPECT_EQ(outcome.text, alone[i]);
    EXPECT_EQ(outcome.tokens, 40);
    EXPECT_EQ(outcome.finish, FinishReason::kLength);
  }
  EXPECT_NE(alone[0], alone[1]);
}

TEST_F(TextServiceTest, FirstWordOfAText_LosesItsSpace) {
  const auto tokens = [&](const std::string& prompt, const std::string& stop) {
    TextRequest request = Greedy(prompt, 4);
    request.sampling.logprobs = 0;
    request.stop = Stop({stop});
    auto out = std::make_shared<std::vector<TextToken>>();
    std::promise<void> done;
    EXPECT_TRUE(service_
                    ->Submit(std::move(request),
                             [&](const TextEvent& event) {
                               out->insert(out->end(), event.tokens.begin(), event.tokens.end());
                               if (event.is_final) done.set_value();
                             })
                    .ok());
    done.get_future().wait();
    return *out;
  };
  // Held back or not: "Once upon a time".
  for (const std::string stop : {"none", "Once upon a timz"}) {
    const std::vector<TextToken> begun = tokens("", stop);
    ASSERT_EQ(begun.size(), 4u);
    EXPECT_EQ(tokenizer_->TokenBytes(begun[0].token_id), " Once");
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(begun[i].loses_space, i == 0) << i;
  }
  for (const TextToken& token : tokens("Once upon", "none")) EXPECT_FALSE(token.loses_space);
}

TEST_F(TextServiceTest, StopString_EndsTheTextBeforeIt) {
  const std::string whole = Start(Greedy("Once upon a time", 60)).second.get().text;
  const size_t at = whole.find("there was");
  ASSERT_NE(at, std::string::npos) << whole;
  TextRequest request = Greedy("Once upon a time", 60);
  request.stop = Stop({"there was"});
  const Outcome outcome = Start(std::move(request)).second.get();
  EXPECT_EQ(outcome.text, whole.substr(0, at));
  EXPECT_EQ(outcome.finish, FinishReason::kStop);
  EXPECT_EQ(outcome.stop_string, "there was");
}

TEST_F(TextServiceTest, PromptHold_IsLetGoOnceTokenised) {
  paced_->step_ms = 5;
  auto hold = std::make_shared<const int>(0);
  const std::weak_ptr<const int> watch = hold;
  TextRequest request = Greedy("Once upon a time", 40);
  request.prompt_hold = std::move(hold);
  std::promise<bool> held_at_first;
  std::promise<void> end;
  auto handle = service_->Submit(std::move(request), [&](const TextEvent& event) {
    if (event.is_first) held_at_first.set_value(!watch.expired());
    if (event.is_final) end.set_value();
  });
  ASSERT_TRUE(handle.ok()) << handle.status().ToString();
  EXPECT_FALSE(held_at_first.get_future().get());
  end.get_future().get();
}

TEST_F(TextServiceTest, Cancel_InEveryStage_EndsOnceAndFreesEverything) {
  // 400 tokens of the tiny model are over in the time for which this thread may lose its CPU.
  paced_->step_ms = 5;
  for (int delay_us : {0, 50, 200, 1000, 5000}) {
    auto [handle, future] = Start(Greedy("Once upon a time", 400));
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    service_->Cancel(handle);
    EXPECT_EQ(future.get().finish, FinishReason::kCancelled);
  }
  for (int i = 0; i < 200 && service_->live_requests() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(service_->live_requests(), 0);
  EXPECT_EQ(loop_->stats().used_pages, 0);
}

// The engine loop counts the requests that are still being tokenised. One must be counted before a
// tokenise thread can see it: a quick thread would take it off first, and a count below zero ends
// the process. Requests that fail in the tokenise stage pass it fastest.
TEST_F(TextServiceTest, QuickTokeniseThreads_NeverOvertakeTheCountOfRequestsOnTheirWay) {
  MakeService({.tokenise_threads = 4, .max_requests = 64});
  constexpr int kThreads = 2, kEach = 40000;
  std::atomic<int> finals{0};
  std::vector<std::thread> submitters;
  for (int i = 0; i < kThreads; ++i) {
    submitters.emplace_back([&] {
      for (int sent = 0; sent < kEach;) {
        TextRequest request;
        request.prompt = std::vector<int32_t>{1};
        request.sampling.max_tokens = 1 << 20;  // more than any context: fails without the engine
        sent += service_->Submit(std::move(request),
                                 [&](const TextEvent& event) { finals += event.is_final ? 1 : 0; })
                        .ok()
                    ? 1
                    : 0;  // else full: again
      }
    });
  }
  for (std::thread& thread : submitters) thread.join();
  for (int i = 0; i < 4000 && service_->live_requests() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(finals, kThreads * kEach);
}

// One tenant's long prompts, all of them refused after the work, and another's short one: it has
// its turn after the prompt in work and perhaps one more.
TEST_F(TextServiceTest, FloodOfOneTenantInTheTokeniseStage_LeavesTheOtherItsTurn) {
  const size_t bytes = static_cast<size_t>(model_->config().max_context) * 16;
  std::string text;
  while (text.size() + 32 < bytes) text += "the dog ran to the big red ball ";
  // Until the thread was on hand for the whole flood: it may lose its processor.
  int64_t least = 1000;
  for (int round = 0; round < 5; ++round) {
    std::atomic<int64_t> of_flood{0}, before_late{-1};
    for (int i = 0; i < 60; ++i) {
      TextRequest request = Greedy(text, 1 << 20);
      request.tenant = "flood";
      ASSERT_TRUE(service_
                      ->Submit(std::move(request),
                               [&](const TextEvent& event) { of_flood += event.is_final ? 1 : 0; })
                      .ok());
    }
    TextRequest request = Greedy("One", 1 << 20);
    request.tenant = "late";
    ASSERT_TRUE(service_
                    ->Submit(std::move(request),
                             [&](const TextEvent& event) {
                               if (event.is_final) before_late = of_flood.load();
                             })
                    .ok());
    while (service_->live_requests() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(of_flood, 60);
    least = std::min(least, before_late.load());
  }
  EXPECT_LT(least, 30);
}

// A final event hands its place on: the one that ended is still counted, and others want it.
TEST_F(TextServiceTest, FinalEvent_PassesItsPlaceOn) {
  MakeService({.max_requests = 1});
  std::promise<bool> second;
  bool plain_refused = false;
  auto first = service_->Submit(Greedy("One", 2), [&](const TextEvent& event) {
    if (!event.is_final) return;
    TextRequest next = Greedy("Two", 2);
    plain_refused = !service_->TrySubmit(next, [](const TextEvent&) {}).ok();
    EXPECT_EQ(std::get<std::string>(next.prompt), "Two");  // left as it was
    auto taken = service_->TrySubmit(
        next,
        [&](const TextEvent& e) {
          if (e.is_final) second.set_value(e.finish_reason == FinishReason::kLength);
        },
        /*replaces_ended=*/true);
    if (!taken.ok()) second.set_value(false);
  });
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(second.get_future().get());
  EXPECT_TRUE(plain_refused);
}

// Threat I1: the Nth allocation of a stage's thread fails. Every request has its one end, nothing
// is left over, and the service goes on.
TEST_F(TextServiceTest, NoMemoryInAStage_EndsItsRequestsAndNoOther) {
  if (!rill::testing::kAllocationsFail) GTEST_SKIP() << "a sanitizer allocates";
  for (const char* thread : {"rill-tokenise", "rill-post"}) {
    int64_t first = 1;
    int rounds = 0, errors = 0;
    for (;; first += 1 + first / 15, ++rounds) {
      constexpr int kRequests = 4;
      std::array<std::atomic<int>, kRequests> finals{}, failed{};
      testing::FailAllocations(thread, first, rounds % 2 ? 1 : 10);
      for (int i = 0; i < kRequests; ++i) {
        TextRequest request = Greedy("Once upon a time there was", 8);
        request.tenant = "tenant";
        if (i == 1) request.stop = Stop({"Lily", "xyz"});
        if (i == 2) request.sampling.logprobs = 4;
        if (i == 3) request.prompt_logprobs = 2;
        const auto taken = service_->Submit(std::move(request), [&, i](const TextEvent& event) {
          if (event.finish_reason == FinishReason::kError) ++failed[i];
          if (event.is_final) ++finals[i];
        });
        ASSERT_TRUE(taken.ok());
      }
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (service_->live_requests() > 0 && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      const int64_t num_failed = testing::StopFailing();
      for (int i = 0; i < kRequests; ++i) {
        ASSERT_EQ(finals[i], 1) << thread << ", allocation " << first << ", request " << i;
        errors += failed[i] > 0 ? 1 : 0;
      }
      const Outcome after = Start(Greedy("Once upon a time", 4)).second.get();
      ASSERT_EQ(after.finish, FinishReason::kLength) << thread << ", allocation " << first;
      if (num_failed == 0) break;
    }
    EXPECT_GT(rounds, 10) << thread;
    EXPECT_GT(errors, rounds / 2) << thread;
  }
}

TEST_F(TextServiceTest, TimeIsCountedFromSubmit) {
  TextRequest slow = Greedy("Once upon a time", 400);
  paced_->step_ms = 5;
  slow.total_timeout_ms = 60;
  const Outcome outcome = Start(std::move(slow)).second.get();
  EXPECT_EQ(outcome.finish, FinishReason::kError);
  EXPECT_EQ(outcome.error.code(), StatusCode::kResourceExhausted);
  EXPECT_GT(outcome.tokens, 0);
}

TEST_F(TextServiceTest, WhatCannotFit_IsAnErrorWithTheNumbers) {
  TextRequest request = Greedy("Once upon a time", 100000);
  const Outcome outcome = Start(std::move(request)).second.get();
  EXPECT_EQ(outcome.finish, FinishReason::kError);
  const std::string limit =
      "maximum context length is " + std::to_string(model_->config().max_context) + " tokens";
  EXPECT_NE(outcome.error.message().find(limit), std::string::npos) << outcome.error.message();
}

}  // namespace
}  // namespace rill::llm
