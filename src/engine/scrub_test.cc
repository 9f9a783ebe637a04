// With scrubbing, what a request computed is nowhere in the KV memory once it has ended.
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string_view>

#include "base/testing.h"
#include "engine/bitwise_test_util.h"

namespace rill::engine {
namespace {

using testing::SomePrompt;

constexpr size_t kLine = 32;
constexpr uint32_t kCanary = 99;  // its seed
constexpr int32_t kPages = 40;

std::set<std::string> LinesOf(std::span<const std::byte> bytes) {
  std::set<std::string> lines;
  for (size_t at = 0; at + kLine <= bytes.size(); at += kLine) {
    lines.emplace(reinterpret_cast<const char*>(&bytes[at]), kLine);
  }
  // Of memory that nobody has written, and that was scrubbed.
  lines.erase(std::string(kLine, '\0'));
  lines.erase(std::string(kLine, '\xFF'));
  return lines;
}

class ScrubTest : public ::testing::Test {
 protected:
  // How many of the canary's lines are still in the memory when it, and when all, have ended.
  struct Found {
    size_t lines = 0, after_canary = 0, at_end = 0;
  };
  // What the others write is the same bits without the canary; some of it is what the canary
  // writes too, as values of the first layer, which follow from a token alone.
  Found Run(const std::string& path, bool scrub, bool prefix_cache, quant::KvFormat format) {
    std::set<std::string> of_others;
    Compute(path, false, false, format, false, &of_others);
    return Compute(path, scrub, prefix_cache, format, true, &of_others);
  }

  // A canary of 70 + 2 times 20 tokens among others; without it, the lines of those.
  Found Compute(const std::string& path, bool scrub, bool prefix_cache, quant::KvFormat format,
                bool with_canary, std::set<std::string>* of_others) {
    const auto source = io::OpenModel(path);
    EXPECT_TRUE(source.ok()) << source.status().ToString();
    const auto backend = ops::MakeReferenceBackend();
    auto model = model::Model::Load(*source, *backend, model::ModelOptions{.max_step_tokens = 64});
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    ModelRunnerOptions runner_options;
    runner_options.kv_dtype = format;
    runner_options.page_size = 16;
    runner_options.num_pages = kPages;
    runner_options.max_step_tokens = 64;
    runner_options.scrub = scrub;
    auto runner = ModelRunner::Create(**model, *backend, runner_options);
    EXPECT_TRUE(runner.ok()) << runner.status().ToString();
    EngineOptions options;
    options.prefix_cache = prefix_cache;
    auto engine = Engine::Create(options, **runner);
    EXPECT_TRUE(engine.ok()) << engine.status().ToString();
    const int32_t vocab_size = (*runner)->info().vocab_size;
    const auto submit = [&](int32_t prompt, uint32_t seed, int32_t max_tokens,
                            EventCallback event) {
      GenerateRequest request;
      request.prompt_ids = SomePrompt(prompt, seed, vocab_size);
      request.sampling.max_tokens = max_tokens;
      request.sampling.ignore_eos = true;
      request.sampling.seed = seed;
      request.n = seed == kCanary ? 2 : 1;
      const auto id = (*engine)->Submit(std::move(request), std::move(event));
      EXPECT_TRUE(id.ok()) << id.status().ToString();
      return id.ok() ? *id : RequestId{};
    };
    bool ended = !with_canary;
    RequestId canary = 0;
    if (with_canary) {
      canary = submit(70, kCanary, 20,
                      [&](const TokenEvent& event) { ended = ended || event.is_final; });
    }
    for (uint32_t i = 0; i < 3; ++i) submit(20, i, 60, nullptr);

    const std::span<const std::byte> memory = (*runner)->kv_memory();
    const size_t page_bytes = memory.size() / kPages;
    std::set<std::string> lines;
    const auto note = [&] {
      const StepPlan& plan = (*engine)->last_plan();
      for (size_t s = 0; s < plan.sequences.size(); ++s) {
        if (plan.sequences[s].request_id != canary) continue;
        // Full pages: what is in one does not change any more.
        for (int32_t p = 0; (p + 1) * 16 <= plan.kv_lens[s]; ++p) {
          const int32_t page =
              plan.page_table[s * static_cast<size_t>(plan.max_pages) + static_cast<size_t>(p)];
          lines.merge(LinesOf(memory.subspan(static_cast<size_t>(page) * page_bytes, page_bytes)));
        }
      }
      for (const std::string& line : *of_others) lines.erase(line);
    };
    const auto count = [&] {
      const std::set<std::string> all = LinesOf(memory);
      return static_cast<size_t>(std::count_if(
          lines.begin(), lines.end(), [&](const std::string& line) { return all.contains(line); }));
    };
    if (!with_canary) {
      while ((*engine)->HasWork()) EXPECT_TRUE((*engine)->Step().ok());
      *of_others = LinesOf(memory);
      return {};
    }
    // The step that ends it frees its pages: they are noted while it runs.
    for (int step = 0; step < 12; ++step) {
      EXPECT_TRUE((*engine)->Step().ok());
      note();
    }
    EXPECT_FALSE(ended);
    Found found{.lines = lines.size()};
    while (!ended) EXPECT_TRUE((*engine)->Step().ok());
    EXPECT_TRUE((*engine)->HasWork());
    found.after_canary = count();
    while ((*engine)->HasWork()) EXPECT_TRUE((*engine)->Step().ok());
    found.at_end = count();
    return found;
  }
};

TEST_F(ScrubTest, Canary_IsNowhereOnceItHasEnded) {
  RILL_SHARED_DATA_OR_SKIP(path, "models/stories260K/stories260K.gguf");
  for (quant::KvFormat format :
       {quant::KvFormat::kF32, quant::KvFormat::kF16, quant::KvFormat::kInt8}) {
    const Found found = Run(path, true, false, format);
    EXPECT_GT(found.lines, 200u);
    EXPECT_EQ(found.after_canary, 0u);
    EXPECT_EQ(found.at_end, 0u);
  }
}

TEST_F(ScrubTest, WithoutScrubbing_TheSearchFindsTheCanary) {
  RILL_SHARED_DATA_OR_SKIP(path, "models/stories260K/stories260K.gguf");
  const Found found = Run(path, false, false, quant::KvFormat::kF16);
  EXPECT_GT(found.after_canary, found.lines / 2);
}

TEST_F(ScrubTest, CachedPrefix_Stays) {
  RILL_SHARED_DATA_OR_SKIP(path, "models/stories260K/stories260K.gguf");
  const Found found = Run(path, true, true, quant::KvFormat::kF16);
  EXPECT_GT(found.at_end, found.lines / 2);
}

}  // namespace
}  // namespace rill::engine
