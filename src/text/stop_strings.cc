#include "text/stop_strings.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"

namespace rill::text {

StopStrings::StopStrings(std::vector<std::string> texts) {
  for (std::string& text : texts) {
    if (text.empty()) continue;
    CHECK(text.size() <= std::numeric_limits<uint32_t>::max()) << text.size();
    Pattern pattern;
    pattern.fallback.assign(text.size(), 0);
    uint32_t border = 0;
    for (size_t i = 1; i < text.size(); ++i) {
      while (border > 0 && text[i] != text[border]) border = pattern.fallback[border - 1];
      if (text[i] == text[border]) ++border;
      pattern.fallback[i] = border;
    }
    pattern.text = std::move(text);
    patterns_.push_back(std::move(pattern));
  }
}

int64_t StopStrings::memory_bytes() const {
  size_t bytes = sizeof(*this);
  for (const Pattern& pattern : patterns_) {
    bytes += sizeof(pattern) + pattern.text.capacity() +
             pattern.fallback.capacity() * sizeof(pattern.fallback[0]);
  }
  return static_cast<int64_t>(bytes);
}

StopStringMatcher::StopStringMatcher(std::shared_ptr<const StopStrings> strings)
    : strings_(std::move(strings)) {
  if (strings_) states_.assign(strings_->patterns_.size(), 0);
}

std::string StopStringMatcher::Push(std::string_view piece) {
  if (stopped()) return {};
  if (states_.empty()) return std::string(piece);
  const std::vector<StopStrings::Pattern>& patterns = strings_->patterns_;
  held_ += piece;
  const size_t begin = held_.size() - piece.size();
  for (size_t i = begin; i < held_.size(); ++i) {
    for (size_t k = 0; k < patterns.size(); ++k) {
      const StopStrings::Pattern& pattern = patterns[k];
      uint32_t& state = states_[k];
      while (state > 0 && held_[i] != pattern.text[state]) state = pattern.fallback[state - 1];
      if (held_[i] == pattern.text[state]) ++state;
      if (state == pattern.text.size() &&
          (!matched_ || pattern.text.size() > matched_->text.size())) {
        matched_ = &pattern;
      }
    }
    if (matched_) {
      std::string out = held_.substr(0, i + 1 - matched_->text.size());
      held_ = {};
      return out;
    }
  }
  const size_t keep = *std::max_element(states_.begin(), states_.end());
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

std::string StopStringMatcher::Finish() {
  return stopped() ? std::string() : std::exchange(held_, {});
}

std::string_view StopStringMatcher::matched() const {
  return matched_ ? std::string_view(matched_->text) : std::string_view();
}

}  // namespace rill::text
