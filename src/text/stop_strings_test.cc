#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace rill::text {
namespace {

struct Expected {
  std::string text;
  std::string matched;
};

// The definition, tried at every end position.
Expected BruteForce(const std::string& text, const std::vector<std::string>& stop) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string* best = nullptr;
    for (const std::string& s : stop) {
      if (s.empty() || s.size() > end || text.compare(end - s.size(), s.size(), s) != 0) continue;
      if (!best || s.size() > best->size()) best = &s;
    }
    if (best) return {text.substr(0, end - best->size()), *best};
  }
  return {text, ""};
}

TEST(StopStrings, RandomTextsInRandomPieces_EqualBruteForce) {
  std::mt19937 random(7);
  auto word = [&](size_t most) {
    std::string out(random() % (most + 1), 'a');
    for (char& c : out) c = static_cast<char>('a' + random() % 2);
    return out;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stop;
    for (size_t i = random() % 4; i > 0; --i) stop.push_back(word(6));
    const std::string text = word(30);
    StopStringMatcher matcher(std::make_shared<const StopStrings>(stop));
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random() % 4;
      out += matcher.Push(std::string_view(text).substr(at, size));
      at += size;
      // What is out is never taken back, and is never part of the stop string.
      ASSERT_TRUE(BruteForce(text, stop).text.starts_with(out));
    }
    out += matcher.Finish();
    const Expected expected = BruteForce(text, stop);
    ASSERT_EQ(out, expected.text) << text;
    ASSERT_EQ(matcher.matched(), expected.matched) << text;
    ASSERT_EQ(matcher.stopped(), !expected.matched.empty());
  }
}

TEST(StopStrings, SixteenLongStringsOverALongText_TakeLinearTime) {
  std::vector<std::string> stop(16, std::string(10000, 'a') + "b");
  StopStringMatcher matcher(std::make_shared<const StopStrings>(stop));
  const std::string text(1 << 20, 'a');
  size_t out = 0;
  for (size_t at = 0; at < text.size(); at += 4) {
    out += matcher.Push(std::string_view(text).substr(at, 4)).size();
  }
  EXPECT_EQ(out, text.size() - 10000);
  EXPECT_EQ(matcher.Finish().size(), 10000u);
}

}  // namespace
}  // namespace rill::text
