#include "text/jinja/string_ops.h"

#include <cstring>

#include <algorithm>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "text/jinja/python_text.h"

namespace rill::text::jinja {
namespace {

// Start of the character that ends before `end`.
size_t PreviousRune(std::string_view text, size_t begin, size_t end) {
  size_t start = end - 1;
  while (start > begin && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return start;
}

}  // namespace

size_t FindText(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size() || needle.size() > text.size() - from) return std::string_view::npos;
  if (needle.empty()) return from;
  const void* at = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return at == nullptr ? std::string_view::npos
                       : static_cast<size_t>(static_cast<const char*>(at) - text.data());
}

size_t FindTextBack(Runtime& rt, std::string_view text, std::string_view needle) {
  const size_t per_position = 1 + needle.size() / 16;
  if (text.size() > SIZE_MAX / per_position || !rt.Charge(text.size() * per_position)) {
    return std::string_view::npos;
  }
  return text.rfind(needle);
}

Value StripText(Runtime& rt, const Value& value, const Value* chars, StripSide side) {
  const Str& str = *value.s;
  const std::string_view text = str.text;
  rt.Charge(text.size());
  std::u32string set;
  if (chars != nullptr && !chars->is_none()) {
    if (!chars->is_string()) {
      return rt.Fail(std::string("strip(): expected None or a string, got '") + TypeName(*chars) +
                     "'");
    }
    for (std::string_view rest = chars->s->text; !rest.empty();) {
      const DecodedRune rune = DecodeUtf8(rest);
      set += rune.rune;
      rest.remove_prefix(rune.size);
    }
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    rt.Charge(set.size() * 16);
    if (set.empty()) return value;
  }
  const auto strips = [&](char32_t rune) {
    return set.empty() ? IsPythonSpace(rune) : std::binary_search(set.begin(), set.end(), rune);
  };
  size_t begin = 0, end = text.size();
  while (side != StripSide::kRight && begin < end) {
    const DecodedRune rune = DecodeUtf8(text.substr(begin));
    if (!strips(rune.rune)) break;
    begin += rune.size;
  }
  while (side != StripSide::kLeft && end > begin) {
    const size_t start = PreviousRune(text, begin, end);
    if (!strips(DecodeUtf8(text.substr(start, end - start)).rune)) break;
    end = start;
  }
  if (begin == 0 && end == text.size()) return value;
  return rt.Slice(str, begin, end);
}

Value ReplaceText(Runtime& rt, const Str& str, const Str& from, const Str& to, int64_t count,
                  bool markup) {
  const std::string& text = str.text;
  rt.Charge(text.size());
  TextBuilder out = rt.Builder();
  size_t copied = 0;
  if (from.text.empty()) {  // before every character, and at the end
    while (count != 0 && !out.overflowed() && rt.Step()) {
      out.Append(to);
      --count;
      if (copied >= text.size()) break;
      const size_t size = DecodeUtf8(std::string_view(text).substr(copied)).size;
      out.AppendSlice(str, copied, copied + size);
      copied += size;
    }
  } else {
    for (; count != 0 && !out.overflowed(); --count) {
      const size_t at = FindText(text, from.text, copied);
      if (at == std::string::npos) break;
      out.AppendSlice(str, copied, at);
      out.Append(to);
      copied = at + from.text.size();
    }
  }
  out.AppendSlice(str, std::min(copied, text.size()), text.size());
  return rt.Take(std::move(out), markup);
}

Value MapCase(Runtime& rt, const Str& str, CaseMap map) {
  TextBuilder out = rt.Builder();
  const std::string_view text = str.text;
  rt.Charge(text.size() * 4);
  bool previous_cased = false;
  std::string mapped;
  const auto append_lower = [&](char32_t rune, size_t at) {
    if (rune != 0x3A3) return AppendLower(mapped, rune);
    // Greek sigma at the end of a word has a form of its own.
    size_t before = at;
    bool after_cased = false;
    while (before > 0) {
      const size_t start = PreviousRune(text, 0, before);
      const char32_t other = DecodeUtf8(text.substr(start, before - start)).rune;
      before = start;
      if (IsCaseIgnorable(other)) continue;
      after_cased = IsCased(other);
      break;
    }
    bool before_cased = false;
    for (size_t next = at + 2; next < text.size();) {
      const DecodedRune other = DecodeUtf8(text.substr(next));
      next += other.size;
      if (IsCaseIgnorable(other.rune)) continue;
      before_cased = IsCased(other.rune);
      break;
    }
    AppendUtf8(mapped, after_cased && !before_cased ? 0x3C2 : 0x3C3);
  };
  for (size_t at = 0; at < text.size() && !out.overflowed();) {
    const DecodedRune rune = DecodeUtf8(text.substr(at));
    const char32_t c = rune.rune;
    mapped.clear();
    switch (map) {
      case CaseMap::kUpper: AppendUpper(mapped, c); break;
      case CaseMap::kLower: append_lower(c, at); break;
      case CaseMap::kFold: AppendFolded(mapped, c); break;
      case CaseMap::kSwap:
        if (IsUpper(c)) {
          append_lower(c, at);
        } else if (IsLower(c)) {
          AppendUpper(mapped, c);
        } else {
          AppendUtf8(mapped, c);
        }
        break;
      case CaseMap::kCapitalize:
        if (at == 0) {
          AppendTitle(mapped, c);
        } else {
          append_lower(c, at);
        }
        break;
      case CaseMap::kTitle:
        if (previous_cased) {
          append_lower(c, at);
        } else {
          AppendTitle(mapped, c);
        }
        previous_cased = IsCased(c);
        break;
    }
    out.Append(mapped, str.TrustedAt(at));
    at += rune.size;
  }
  return rt.Take(std::move(out), str.markup);
}

std::vector<Value> SplitLines(Runtime& rt, const Str& str, bool keep_ends) {
  std::vector<Value> lines;
  const std::string_view text = str.text;
  rt.Charge(text.size());
  size_t begin = 0;
  for (size_t at = 0; at < text.size() && !rt.failed();) {
    const DecodedRune rune = DecodeUtf8(text.substr(at));
    size_t next = at + rune.size;
    if (IsLineBreak(rune.rune)) {
      if (rune.rune == '\r' && next < text.size() && text[next] == '\n') ++next;
      rt.Step();
      lines.push_back(rt.Slice(str, begin, keep_ends ? next : at));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) lines.push_back(rt.Slice(str, begin, text.size()));
  return lines;
}

void SplitBlanks(Runtime& rt, const Str& str, bool from_right, int64_t max_splits,
                 const std::function<void(size_t, size_t)>& add) {
  const std::string_view text = str.text;
  const auto rune_at = [&](size_t at) { return DecodeUtf8(text.substr(at)); };
  size_t begin = 0, end = text.size();
  const auto skip_left = [&](bool blanks) {
    while (begin < end) {
      const DecodedRune rune = rune_at(begin);
      if (IsPythonSpace(rune.rune) != blanks) break;
      begin += rune.size;
    }
  };
  const auto skip_right = [&](bool blanks) {
    while (end > begin) {
      const size_t start = PreviousRune(text, begin, end);
      if (IsPythonSpace(rune_at(start).rune) != blanks) break;
      end = start;
    }
  };
  for (; !rt.failed(); --max_splits) {
    if (from_right) {
      skip_right(true);
    } else {
      skip_left(true);
    }
    if (begin >= end) return;
    if (max_splits == 0) break;
    const size_t piece_begin = begin, piece_end = end;
    if (from_right) {
      skip_right(false);
      add(end, piece_end);
    } else {
      skip_left(false);
      add(piece_begin, begin);
    }
  }
  if (!rt.failed()) add(begin, end);  // the rest is one piece, blanks on its far side included
}

bool IsCaseText(std::string_view text, bool upper) {
  bool cased = false;
  while (!text.empty()) {
    const DecodedRune rune = DecodeUtf8(text);
    text.remove_prefix(rune.size);
    if (IsTitle(rune.rune) || (upper ? IsLower(rune.rune) : IsUpper(rune.rune))) return false;
    cased |= upper ? IsUpper(rune.rune) : IsLower(rune.rune);
  }
  return cased;
}

}  // namespace rill::text::jinja
