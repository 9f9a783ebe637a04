#include "text/stop_strings.h"

#include <algorithm>

namespace rill::text {

StopStringMatcher::StopStringMatcher(std::vector<std::string> stop_strings) {
  for (std::string& text : stop_strings) {
    if (text.empty()) continue;
    Pattern pattern;
    pattern.fallback.assign(text.size(), 0);
    for (size_t i = 1, border = 0; i < text.size(); ++i) {
      while (border > 0 && text[i] != text[border]) border = pattern.fallback[border - 1];
      if (text[i] == text[border]) ++border;
      pattern.fallback[i] = border;
    }
    pattern.text = std::move(text);
    patterns_.push_back(std::move(pattern));
  }
}

std::string StopStringMatcher::Push(std::string_view piece) {
  if (stopped_) return {};
  if (patterns_.empty()) return std::string(piece);
  held_ += piece;
  const size_t begin = held_.size() - piece.size();
  for (size_t i = begin; i < held_.size(); ++i) {
    const Pattern* found = nullptr;
    for (Pattern& pattern : patterns_) {
      while (pattern.state > 0 && held_[i] != pattern.text[pattern.state]) {
        pattern.state = pattern.fallback[pattern.state - 1];
      }
      if (held_[i] == pattern.text[pattern.state]) ++pattern.state;
      if (pattern.state == pattern.text.size() &&
          (!found || pattern.text.size() > found->text.size())) {
        found = &pattern;
      }
    }
    if (found) {
      stopped_ = true;
      matched_ = found->text;
      std::string out = held_.substr(0, i + 1 - found->text.size());
      held_.clear();
      return out;
    }
  }
  size_t keep = 0;
  for (const Pattern& pattern : patterns_) keep = std::max(keep, pattern.state);
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

std::string StopStringMatcher::Finish() {
  std::string out = std::move(held_);
  held_.clear();
  return stopped_ ? std::string() : out;
}

}  // namespace rill::text
