// The engine on the CPU backend: bits do not depend on company, chunking, pages or threads.
#include <gtest/gtest.h>

#include "backends/registry.h"
#include "base/testing.h"
#include "engine/bitwise_test_util.h"

namespace rill::engine {
namespace {

using testing::BitwiseOutput;
using testing::BitwiseRequest;
using testing::BitwiseSetup;

void ExpectBitwiseOnCpu(const std::string& path, const BitwiseRequest& shape,
                        const std::vector<BitwiseSetup>& setups) {
  const auto source = io::OpenModel(path);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  BitwiseOutput one_thread;
  for (int num_threads : {1, 2, 3}) {
    auto backend = backends::MakeBackend("cpu", {.num_threads = num_threads, .cpu_isa = ""});
    if (backend.status().code() == StatusCode::kNotFound) {
      GTEST_SKIP() << "skipped: " << backend.status().message();
    }
    ASSERT_TRUE(backend.ok()) << backend.status().ToString();
    if (num_threads == 2) testing::ExpectBitwiseEverywhere(*source, **backend, shape, setups);
    const auto output =
        testing::RunBitwise(*source, **backend, {.what = "17 others", .company = 17}, shape);
    ASSERT_TRUE(output.ok()) << output.status().ToString();
    if (num_threads == 1) {
      one_thread = *output;
    } else {
      EXPECT_EQ(testing::FirstDifference(one_thread, *output), "") << num_threads << " threads";
    }
  }
}

TEST(EngineBitwise, Stories260K) {
  RILL_SHARED_DATA_OR_SKIP(path, "models/stories260K/stories260K.gguf");
  ExpectBitwiseOnCpu(path, {}, testing::AllBitwiseSetups());
}

TEST(EngineBitwise, Llama2TinyRandom) {
  RILL_SHARED_DATA_OR_SKIP(path, "models/tiny-random-gguf/llama-2-tiny-random.gguf");
  ExpectBitwiseOnCpu(path, {}, testing::AllBitwiseSetups());
}

TEST(EngineBitwise, SmolLm2) {
  const std::string path = rill::testing::SmolLm2();
  if (path.empty()) GTEST_SKIP() << "skipped: no SmolLM2 model file";
  ExpectBitwiseOnCpu(path, {.prompt_tokens = 40, .max_tokens = 4, .n = 2},
                     {{.what = "alone"},
                      {.what = "chunks of 9", .max_step_tokens = 9},
                      {.what = "17 others, pages of 16", .page_size = 16, .company = 17}});
}

void ExpectCachedPrefixOnCpu(const std::string& path, const std::vector<BitwiseSetup>& setups) {
  const auto source = io::OpenModel(path);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  auto backend = backends::MakeBackend("cpu", {.num_threads = 2, .cpu_isa = ""});
  if (backend.status().code() == StatusCode::kNotFound) {
    GTEST_SKIP() << "skipped: " << backend.status().message();
  }
  ASSERT_TRUE(backend.ok()) << backend.status().ToString();
  testing::ExpectCachedPrefixBitwise(*source, **backend, setups);
}

TEST(EngineBitwise, CachedPrefix_Stories260K) {
  RILL_SHARED_DATA_OR_SKIP(path, "models/stories260K/stories260K.gguf");
  ExpectCachedPrefixOnCpu(path, testing::CachedPrefixSetups());
}

TEST(EngineBitwise, CachedPrefix_SmolLm2) {
  const std::string path = rill::testing::SmolLm2();
  if (path.empty()) GTEST_SKIP() << "skipped: no SmolLM2 model file";
  ExpectCachedPrefixOnCpu(path, {{.what = "pages of 16, 5 others", .page_size = 16, .company = 5}});
}

}  // namespace
}  // namespace rill::engine
