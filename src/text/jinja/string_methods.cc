// Methods of Python's str. Positions are code points; provenance follows every character.
#include <algorithm>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "text/jinja/python_text.h"
#include "text/jinja/string_ops.h"

namespace rill::text::jinja {
namespace {

// Arguments by position only, as most methods of str take them.
bool Positional(Runtime& rt, std::string_view name, Args& args, size_t required, size_t most,
                const Value** slots) {
  if (!args.named.empty()) {
    rt.Fail(std::string(name) + "() takes no keyword arguments");
    return false;
  }
  if (args.positional.size() > most || args.positional.size() < required) {
    rt.Fail(std::string(name) + "() takes " + std::to_string(required) + " to " +
            std::to_string(most) + " argument(s), got " + std::to_string(args.positional.size()));
    return false;
  }
  for (size_t i = 0; i < most; ++i) {
    slots[i] = i < args.positional.size() ? &args.positional[i] : nullptr;
  }
  return true;
}

bool ReadText(Runtime& rt, std::string_view name, const Value& value) {
  if (value.is_string()) return true;
  rt.Fail(std::string(name) + "(): expected a string, got '" + TypeName(value) + "'");
  return false;
}

template <StripSide kSide>
Value Strip(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "strip", args, 0, 1, slots)) return {};
  return StripText(rt, self, slots[0], kSide);
}

template <bool kFromRight>
Value Split(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  if (!BindArgs(rt, "split", args, {"sep", "maxsplit"}, 0, slots)) return {};
  int64_t max = -1;
  if (slots[1] != nullptr && !ReadInt(rt, *slots[1], "split()", &max)) return {};
  const Str& str = *self.s;
  rt.Charge(str.text.size());
  std::vector<Value> pieces;
  const auto add = [&](size_t begin, size_t end) {
    rt.Step();
    pieces.push_back(rt.Slice(str, begin, end));
  };
  const std::string& text = str.text;
  if (slots[0] == nullptr || slots[0]->is_none()) {
    SplitBlanks(rt, str, kFromRight, max, add);
  } else {
    if (!ReadText(rt, "split", *slots[0])) return {};
    const std::string& sep = slots[0]->s->text;
    if (sep.empty()) return rt.Fail("split(): empty separator");
    size_t begin = 0, end = text.size();
    while (!rt.failed() && max-- != 0) {
      if (kFromRight) {
        const size_t at = FindTextBack(rt, std::string_view(text).substr(0, end), sep);
        if (at == text.npos) break;
        add(at + sep.size(), end);
        end = at;
      } else {
        const size_t at = FindText(text, sep, begin);
        if (at == text.npos) break;
        add(begin, at);
        begin = at + sep.size();
      }
    }
    add(begin, end);
  }
  if (rt.failed()) return {};
  if (kFromRight) std::reverse(pieces.begin(), pieces.end());
  return rt.List(std::move(pieces));
}

Value SplitLinesMethod(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "splitlines", args, {"keepends"}, 0, slots)) return {};
  return rt.List(SplitLines(rt, *self.s, slots[0] != nullptr && Truthy(*slots[0])));
}

template <bool kFromRight>
Value Partition(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "partition", args, 1, 1, slots) || !ReadText(rt, "partition", *slots[0])) {
    return {};
  }
  const Str& str = *self.s;
  const std::string& sep = slots[0]->s->text;
  if (sep.empty()) return rt.Fail("partition(): empty separator");
  rt.Charge(str.text.size());
  const size_t at = kFromRight ? FindTextBack(rt, str.text, sep) : FindText(str.text, sep);
  const Value none = rt.Slice(str, 0, 0);
  if (at == std::string::npos) {
    return kFromRight ? rt.Tuple({none, none, self}) : rt.Tuple({self, none, none});
  }
  return rt.Tuple({rt.Slice(str, 0, at), rt.Slice(str, at, at + sep.size()),
                   rt.Slice(str, at + sep.size(), str.text.size())});
}

Value Replace(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  if (!Positional(rt, "replace", args, 2, 3, slots)) return {};
  if (!ReadText(rt, "replace", *slots[0]) || !ReadText(rt, "replace", *slots[1])) return {};
  int64_t count = -1;
  if (slots[2] != nullptr && !ReadInt(rt, *slots[2], "replace()", &count)) return {};
  const Value with = self.s->markup ? rt.Escape(*slots[1]) : *slots[1];
  if (rt.failed()) return {};
  return ReplaceText(rt, *self.s, *slots[0]->s, *with.s, count, self.s->markup);
}

// Byte range of self[start:end], as find, count and startswith take it. False when start is past
// the end, where even "" is not found.
bool ReadRange(Runtime& rt, const Str& str, const Value* start, const Value* end,
               size_t* begin_byte, size_t* end_byte) {
  const int64_t length = str.num_runes;
  int64_t from = 0, to = length;
  if (start != nullptr && !start->is_none() && !ReadInt(rt, *start, "start", &from)) return false;
  if (end != nullptr && !end->is_none() && !ReadInt(rt, *end, "end", &to)) return false;
  if (from < 0) from = std::max<int64_t>(0, from + length);
  if (to < 0) to = std::max<int64_t>(0, to + length);
  to = std::min(to, length);
  if (from > to) return false;
  rt.Charge(str.text.size());
  *begin_byte = str.ByteOffset(from);
  *end_byte = str.ByteOffset(to);
  return true;
}

template <bool kAtEnd>
Value StartsWith(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  const char* name = kAtEnd ? "endswith" : "startswith";
  if (!Positional(rt, name, args, 1, 3, slots)) return {};
  size_t begin = 0, end = 0;
  const bool in_range = ReadRange(rt, *self.s, slots[1], slots[2], &begin, &end);
  if (rt.failed()) return {};
  const std::string_view text = std::string_view(self.s->text).substr(begin, end - begin);
  const auto matches = [&](const Value& affix) {
    if (!ReadText(rt, name, affix)) return false;
    rt.Charge(affix.s->text.size());
    return in_range && (kAtEnd ? text.ends_with(affix.s->text) : text.starts_with(affix.s->text));
  };
  if (const SequenceObject* tuple = AsTuple(*slots[0])) {
    for (const Value& affix : tuple->items) {
      if (!rt.Step()) return {};
      if (matches(affix)) return Value::Bool(true);
    }
    return Value::Bool(false);
  }
  return Value::Bool(matches(*slots[0]));
}

enum class FindKind { kFind, kRfind, kIndex, kRindex, kCount };

template <FindKind kKind>
Value Find(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  if (!Positional(rt, "find", args, 1, 3, slots) || !ReadText(rt, "find", *slots[0])) return {};
  const std::string& needle = slots[0]->s->text;
  size_t begin = 0, end = 0;
  const bool in_range = ReadRange(rt, *self.s, slots[1], slots[2], &begin, &end);
  if (rt.failed()) return {};
  const std::string_view text = std::string_view(self.s->text).substr(begin, end - begin);
  if (kKind == FindKind::kCount) {
    if (!in_range) return Value::Int(0);
    if (needle.empty()) return Value::Int(CountRunes(text) + 1);
    int64_t count = 0;
    for (size_t at = FindText(text, needle); at != text.npos;
         at = FindText(text, needle, at + needle.size())) {
      ++count;
    }
    return Value::Int(count);
  }
  const bool from_right = kKind == FindKind::kRfind || kKind == FindKind::kRindex;
  const size_t at = !in_range    ? text.npos
                    : from_right ? FindTextBack(rt, text, needle)
                                 : FindText(text, needle);
  if (at == text.npos) {
    if (kKind == FindKind::kIndex || kKind == FindKind::kRindex)
      return rt.Fail("substring not found");
    return Value::Int(-1);
  }
  return Value::Int(CountRunes(std::string_view(self.s->text).substr(0, begin + at)));
}

Value Join(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "join", args, 1, 1, slots)) return {};
  TextBuilder out = rt.Builder();
  Iteration items(rt, *slots[0]);
  Value item;
  for (bool first = true; items.Next(&item); first = false) {
    if (!self.s->markup && !item.is_string()) {
      return rt.Fail(std::string("join(): expected strings, got '") + TypeName(item) + "'");
    }
    if (!first) out.Append(*self.s);
    const Value text = self.s->markup ? rt.Escape(item) : item;
    if (rt.failed()) return {};
    out.Append(*text.s);
  }
  return rt.failed() ? Value() : rt.Take(std::move(out), self.s->markup);
}

template <CaseMap kMap>
Value Case(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "case method", args, 0, 0, slots)) return {};
  return MapCase(rt, *self.s, kMap);
}

using RunePredicate = bool (*)(char32_t);

// Every character satisfies it, and there is one.
template <RunePredicate kPredicate, bool kEmpty = false>
Value IsAll(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "is method", args, 0, 0, slots)) return {};
  std::string_view rest = self.s->text;
  rt.Charge(rest.size());
  if (rest.empty()) return Value::Bool(kEmpty);
  while (!rest.empty()) {
    const DecodedRune rune = DecodeUtf8(rest);
    if (!kPredicate(rune.rune)) return Value::Bool(false);
    rest.remove_prefix(rune.size);
  }
  return Value::Bool(true);
}

bool IsAscii(char32_t rune) {
  return rune < 0x80;
}

template <bool kUpper>
Value IsCase(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "is method", args, 0, 0, slots)) return {};
  rt.Charge(self.s->text.size());
  return Value::Bool(IsCaseText(self.s->text, kUpper));
}

Value IsTitleMethod(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "istitle", args, 0, 0, slots)) return {};
  bool cased = false, previous_cased = false;
  for (std::string_view rest = self.s->text; !rest.empty();) {
    const DecodedRune rune = DecodeUtf8(rest);
    rest.remove_prefix(rune.size);
    if (IsUpper(rune.rune) || IsTitle(rune.rune)) {
      if (previous_cased) return Value::Bool(false);
      previous_cased = cased = true;
    } else if (IsLower(rune.rune)) {
      if (!previous_cased) return Value::Bool(false);
      cased = true;
    } else {
      previous_cased = false;
    }
  }
  return Value::Bool(cased);
}

Value IsIdentifier(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "isidentifier", args, 0, 0, slots)) return {};
  std::string_view rest = self.s->text;
  if (rest.empty() || !IsIdentifierStart(DecodeUtf8(rest).rune)) return Value::Bool(false);
  while (!rest.empty()) {
    const DecodedRune rune = DecodeUtf8(rest);
    if (!IsIdentifierPart(rune.rune)) return Value::Bool(false);
    rest.remove_prefix(rune.size);
  }
  return Value::Bool(true);
}

enum class Justify { kLeft, kRight, kCenter };

template <Justify kHow>
Value Pad(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  if (!Positional(rt, "justify", args, 1, 2, slots)) return {};
  int64_t width = 0;
  if (!ReadInt(rt, *slots[0], "width", &width)) return {};
  Value fill = slots[1] != nullptr ? *slots[1] : rt.Text(" ", true);
  if (rt.failed() || !ReadText(rt, "justify", fill)) return {};
  if (fill.s->num_runes != 1)
    return rt.Fail("the fill character must be exactly one character long");
  const int64_t missing = std::max<int64_t>(0, width - self.s->num_runes);
  int64_t left = kHow == Justify::kRight ? missing : 0;
  if (kHow == Justify::kCenter) left = missing / 2 + (missing & width & 1);
  TextBuilder out = rt.Builder();
  for (int64_t i = 0; i < left && !out.overflowed(); ++i) out.Append(*fill.s);
  out.Append(*self.s);
  for (int64_t i = left; i < missing && !out.overflowed(); ++i) out.Append(*fill.s);
  return rt.Take(std::move(out), self.s->markup);
}

Value ZeroFill(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "zfill", args, 1, 1, slots)) return {};
  int64_t width = 0;
  if (!ReadInt(rt, *slots[0], "zfill()", &width)) return {};
  const Str& str = *self.s;
  const bool sign = str.text.starts_with('+') || str.text.starts_with('-');
  TextBuilder out = rt.Builder();
  out.AppendSlice(str, 0, sign ? 1 : 0);
  for (int64_t i = str.num_runes; i < width && !out.overflowed(); ++i) out.Append("0", true);
  out.AppendSlice(str, sign ? 1 : 0, str.text.size());
  return rt.Take(std::move(out), str.markup);
}

template <bool kSuffix>
Value RemoveAffix(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "removeprefix", args, 1, 1, slots)) return {};
  if (!ReadText(rt, "removeprefix", *slots[0])) return {};
  const std::string& affix = slots[0]->s->text;
  const std::string& text = self.s->text;
  if (kSuffix && !affix.empty() && text.ends_with(affix)) {
    return rt.Slice(*self.s, 0, text.size() - affix.size());
  }
  if (!kSuffix && text.starts_with(affix)) return rt.Slice(*self.s, affix.size(), text.size());
  return self;
}

Value ExpandTabs(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "expandtabs", args, {"tabsize"}, 0, slots)) return {};
  int64_t size = 8;
  if (slots[0] != nullptr && !ReadInt(rt, *slots[0], "expandtabs()", &size)) return {};
  TextBuilder out = rt.Builder();
  const std::string& text = self.s->text;
  rt.Charge(text.size());
  int64_t column = 0;
  for (size_t i = 0; i < text.size() && !out.overflowed(); ++i) {
    if (text[i] != '\t') {
      out.AppendSlice(*self.s, i, i + 1);
      if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) ++column;
      if (text[i] == '\n' || text[i] == '\r') column = 0;
      continue;
    }
    const int64_t blanks = size > 0 ? size - column % size : 0;
    for (int64_t k = 0; k < blanks && !out.overflowed(); ++k) out.Append(" ", self.s->TrustedAt(i));
    column += blanks;
  }
  return rt.Take(std::move(out), self.s->markup);
}

Value FormatMap(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!Positional(rt, "format_map", args, 1, 1, slots)) return {};
  const DictObject* dict = AsDict(*slots[0]);
  if (dict == nullptr) return rt.Fail("format_map(): expected a dict");
  Args named;
  for (const auto& [key, value] : dict->items) {
    if (!rt.Step()) return {};
    if (key.is_string()) named.named.emplace_back(key.s->text, value);
  }
  return FormatMethod(rt, self, named);
}

struct Method {
  std::string_view name;
  Builtin call;
};

constexpr Method kMethods[] = {
    // sorted by name
    {"capitalize", &Case<CaseMap::kCapitalize>},
    {"casefold", &Case<CaseMap::kFold>},
    {"center", &Pad<Justify::kCenter>},
    {"count", &Find<FindKind::kCount>},
    {"endswith", &StartsWith<true>},
    {"expandtabs", &ExpandTabs},
    {"find", &Find<FindKind::kFind>},
    {"format", &FormatMethod},
    {"format_map", &FormatMap},
    {"index", &Find<FindKind::kIndex>},
    {"isalnum", &IsAll<&IsAlnum>},
    {"isalpha", &IsAll<&IsAlpha>},
    {"isascii", &IsAll<&IsAscii, true>},
    {"isdecimal", &IsAll<&IsDecimal>},
    {"isdigit", &IsAll<&IsDigit>},
    {"isidentifier", &IsIdentifier},
    {"islower", &IsCase<false>},
    {"isnumeric", &IsAll<&IsNumeric>},
    {"isprintable", &IsAll<&IsPrintable, true>},
    {"isspace", &IsAll<&IsPythonSpace>},
    {"istitle", &IsTitleMethod},
    {"isupper", &IsCase<true>},
    {"join", &Join},
    {"ljust", &Pad<Justify::kLeft>},
    {"lower", &Case<CaseMap::kLower>},
    {"lstrip", &Strip<StripSide::kLeft>},
    {"partition", &Partition<false>},
    {"removeprefix", &RemoveAffix<false>},
    {"removesuffix", &RemoveAffix<true>},
    {"replace", &Replace},
    {"rfind", &Find<FindKind::kRfind>},
    {"rindex", &Find<FindKind::kRindex>},
    {"rjust", &Pad<Justify::kRight>},
    {"rpartition", &Partition<true>},
    {"rsplit", &Split<true>},
    {"rstrip", &Strip<StripSide::kRight>},
    {"split", &Split<false>},
    {"splitlines", &SplitLinesMethod},
    {"startswith", &StartsWith<false>},
    {"strip", &Strip<StripSide::kBoth>},
    {"swapcase", &Case<CaseMap::kSwap>},
    {"title", &Case<CaseMap::kTitle>},
    {"upper", &Case<CaseMap::kUpper>},
    {"zfill", &ZeroFill},
};

}  // namespace

Builtin FindStringMethod(std::string_view name) {
  for (const Method& method : kMethods) {
    if (method.name == name) return method.call;
  }
  return nullptr;
}

}  // namespace rill::text::jinja
