#include "text/pretokenizer.h"

#include <algorithm>

#include "text/byte_alphabet.h"
#include "text/reference_classes.h"
#include "text/rune_scan.h"
#include "text/unicode_category.h"

namespace rill::text {
namespace {

using Range = std::pair<size_t, size_t>;

struct Segment {
  size_t begin;
  size_t end;
  bool is_match;
};

bool InClass(const PreTokenizerStep& step, char32_t rune) {
  switch (step.rune_class) {
    case PreTokenizerStep::RuneClass::kWhiteSpace: return IsWhiteSpace(rune);
    case PreTokenizerStep::RuneClass::kPunctuation: return IsReferencePunctuation(rune);
    case PreTokenizerStep::RuneClass::kNumber:  // the library's table has those of Unicode 17, too
      return (CategoryMask(rune) & kMaskN) != 0 || (rune >= 0x11DE0 && rune <= 0x11DE9) ||
             (rune >= 0x16FF4 && rune <= 0x16FF6);
    case PreTokenizerStep::RuneClass::kDelimiter: return rune == step.delimiter;
  }
  return false;
}

// The whole of `piece` as matches and what is between them; offsets relative to `base`.
void FindMatches(const PatternMatcher& matcher, std::string_view piece, std::vector<Segment>& out) {
  size_t done = 0;
  size_t from = 0;
  size_t begin = 0;
  size_t end = 0;
  while (from <= piece.size() && matcher.Find(piece, from, begin, end)) {
    if (begin > done) out.push_back({done, begin, false});
    out.push_back({begin, end, true});
    done = end;
    if (end > begin) {
      from = end;
    } else {
      if (end >= piece.size()) break;
      from = end + ScanRune(piece, end).size;
    }
  }
  if (done < piece.size()) out.push_back({done, piece.size(), false});
}

void FindRunes(const PreTokenizerStep& step, std::string_view piece, std::vector<Segment>& out) {
  size_t done = 0;
  for (size_t pos = 0; pos < piece.size();) {
    const ScannedRune r = ScanRune(piece, pos);
    if (InClass(step, r.rune)) {
      if (pos > done) out.push_back({done, pos, false});
      out.push_back({pos, pos + r.size, true});
      done = pos + r.size;
    }
    pos += r.size;
  }
  if (done < piece.size()) out.push_back({done, piece.size(), false});
}

void ApplyBehavior(const std::vector<Segment>& segments, SplitBehavior behavior, size_t base,
                   std::vector<Range>& out) {
  const size_t first = out.size();
  const auto push = [&](size_t begin, size_t end) { out.push_back({base + begin, base + end}); };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Segment& s : segments) push(s.begin, s.end);
      break;
    case SplitBehavior::kRemoved:
      for (const Segment& s : segments) {
        if (!s.is_match) push(s.begin, s.end);
      }
      break;
    case SplitBehavior::kContiguous:
      for (size_t i = 0; i < segments.size(); ++i) {
        if (i > 0 && segments[i].is_match == segments[i - 1].is_match) {
          out.back().second = base + segments[i].end;
        } else {
          push(segments[i].begin, segments[i].end);
        }
      }
      break;
    case SplitBehavior::kMergedWithPrevious: {
      bool previous_match = false;
      for (const Segment& s : segments) {
        if (s.is_match && !previous_match && out.size() > first) {
          out.back().second = base + s.end;
        } else {
          push(s.begin, s.end);
        }
        previous_match = s.is_match;
      }
      break;
    }
    case SplitBehavior::kMergedWithNext: {
      bool previous_match = false;
      for (size_t i = segments.size(); i-- > 0;) {
        const Segment& s = segments[i];
        if (s.is_match && !previous_match && out.size() > first) {
          out.back().first = base + s.begin;
        } else {
          push(s.begin, s.end);
        }
        previous_match = s.is_match;
      }
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
      break;
    }
  }
  // Empty matches only mark borders.
  out.erase(std::remove_if(out.begin() + static_cast<std::ptrdiff_t>(first), out.end(),
                           [](const Range& r) { return r.first == r.second; }),
            out.end());
}

void SplitPiece(const PreTokenizerStep& step, std::string_view piece, size_t base,
                std::vector<Segment>& segments, std::vector<Range>& out) {
  segments.clear();
  if (step.kind == PreTokenizerStep::Kind::kSplitRunes) {
    FindRunes(step, piece, segments);
  } else {
    FindMatches(*step.matcher, piece, segments);
  }
  if (step.invert) {
    for (Segment& s : segments) s.is_match = !s.is_match;
  }
  ApplyBehavior(segments, step.behavior, base, out);
}

const PatternMatcher& Gpt2Pattern() {
  static const std::shared_ptr<const PatternMatcher> matcher = internal::KnownPattern(
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
  return *matcher;
}

// Runs over the pieces of one text, and swaps in a new text where a step rewrites it.
class Runner {
 public:
  Runner(std::string_view text, PieceList& out) : out_(out) {
    out_.text = text;
    out_.ranges.clear();
    if (!text.empty()) out_.ranges.push_back({0, text.size()});
  }

  void Split(const PreTokenizerStep& step) {
    next_.clear();
    for (const Range& r : out_.ranges) SplitPiece(step, Piece(r), r.first, segments_, next_);
    out_.ranges.swap(next_);
  }

  void FixedLength(size_t length) {
    next_.clear();
    for (const Range& r : out_.ranges) {
      size_t start = r.first;
      size_t count = 0;
      for (size_t pos = r.first; pos < r.second;) {
        pos += ScanRune(out_.text, pos).size;
        if (++count == length || pos == r.second) {
          next_.push_back({start, pos});
          start = pos;
          count = 0;
        }
      }
    }
    out_.ranges.swap(next_);
  }

  void ByteLevel(const PreTokenizerStep& step, bool map) {
    if (step.add_prefix_space) {
      Rewrite([](std::string_view piece, size_t, std::string& text) {
        if (!piece.starts_with(' ')) text += ' ';
        text += piece;
      });
    }
    if (step.use_regex) {
      next_.clear();
      for (const Range& r : out_.ranges) {
        segments_.clear();
        FindMatches(Gpt2Pattern(), Piece(r), segments_);
        for (const Segment& s : segments_) next_.push_back({r.first + s.begin, r.first + s.end});
      }
      out_.ranges.swap(next_);
    }
    if (map) {
      Rewrite(
          [](std::string_view piece, size_t, std::string& text) { AppendByteLevel(text, piece); });
    }
  }

  void Metaspace(const PreTokenizerStep& step, bool at_text_start) {
    Rewrite([&](std::string_view piece, size_t begin, std::string& text) {
      const size_t start = text.size();
      for (size_t pos = 0; pos < piece.size();) {
        const size_t space = std::min(piece.find(' ', pos), piece.size());
        text += piece.substr(pos, space - pos);
        if (space < piece.size()) text += step.replacement;
        pos = space + 1;
      }
      const bool prepend =
          step.prepend_scheme == PrependScheme::kAlways ||
          (step.prepend_scheme == PrependScheme::kFirst && at_text_start && begin == 0);
      if (prepend && !std::string_view(text).substr(start).starts_with(step.replacement)) {
        text.insert(start, step.replacement);
      }
    });
    if (!step.split) return;
    PreTokenizerStep split;
    split.matcher = LiteralPattern(step.replacement);
    split.behavior = SplitBehavior::kMergedWithNext;
    Split(split);
  }

 private:
  std::string_view Piece(const Range& r) const {
    return out_.text.substr(r.first, r.second - r.first);
  }

  template <typename Fn>
  void Rewrite(Fn&& fn) {
    std::string text;
    text.reserve(out_.text.size() + out_.ranges.size());
    for (Range& r : out_.ranges) {
      const size_t begin = text.size();
      fn(Piece(r), r.first, text);
      r = {begin, text.size()};
    }
    out_.storage = std::move(text);
    out_.text = out_.storage;
  }

  PieceList& out_;
  std::vector<Range> next_;
  std::vector<Segment> segments_;
};

}  // namespace

bool PreTokenizer::EndsInByteLevel() const {
  return !steps_.empty() && steps_.back().kind == PreTokenizerStep::Kind::kByteLevel;
}

void PreTokenizer::SkipByteMapping() {
  map_last_bytes_ = false;
}

void PreTokenizer::Run(std::string_view text, bool at_text_start, PieceList& out) const {
  Runner runner(text, out);
  for (size_t i = 0; i < steps_.size(); ++i) {
    const PreTokenizerStep& step = steps_[i];
    switch (step.kind) {
      case PreTokenizerStep::Kind::kSplit:
      case PreTokenizerStep::Kind::kSplitRunes: runner.Split(step); break;
      case PreTokenizerStep::Kind::kByteLevel:
        runner.ByteLevel(step, map_last_bytes_ || i + 1 < steps_.size());
        break;
      case PreTokenizerStep::Kind::kMetaspace: runner.Metaspace(step, at_text_start); break;
      case PreTokenizerStep::Kind::kFixedLength: runner.FixedLength(step.length); break;
    }
  }
}

}  // namespace rill::text
