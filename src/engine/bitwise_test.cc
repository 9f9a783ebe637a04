// The engine on the reference backend: bits do not depend on company, chunking or pages.
#include <gtest/gtest.h>

#include "base/testing.h"
#include "engine/bitwise_test_util.h"

namespace rill::engine {
namespace {

void ExpectBitwiseOnReference(const std::string& path) {
  const auto source = io::OpenModel(path);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  const auto backend = ops::MakeReferenceBackend();
  testing::ExpectBitwiseEverywhere(*source, *backend, {}, testing::AllBitwiseSetups());
}

TEST(Bitwise, ReferenceBackend_Stories260K) {
  RILL_SHARED_DATA_OR_SKIP(path, "models/stories260K/stories260K.gguf");
  ExpectBitwiseOnReference(path);
}

TEST(Bitwise, ReferenceBackend_CachedPrefix) {
  RILL_SHARED_DATA_OR_SKIP(path, "models/stories260K/stories260K.gguf");
  const auto source = io::OpenModel(path);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  const auto backend = ops::MakeReferenceBackend();
  testing::ExpectCachedPrefixBitwise(*source, *backend, testing::CachedPrefixSetups());
}

}  // namespace
}  // namespace rill::engine
