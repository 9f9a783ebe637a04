#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>

#include "base/utf8.h"
#include "text/byte_alphabet.h"
#include "text/reference_classes.h"
#include "text/rune_scan.h"
#include "text/unicode_category.h"

namespace rill::text {
namespace {

// Writes the output of a step and keeps the origins in step with it.
class Writer {
 public:
  Writer(const NormalizedText& in, bool track) : in_(in), track_(track) {
    out_.text.reserve(in.text.size() + 16);
    if (track) out_.origin.reserve(in.text.size() + 16);
  }
  // `bytes` stand for what was at `from` in the step's input.
  void Put(std::string_view bytes, size_t from) { PutFrom(bytes, from, from + 1); }
  // `bytes` stand for [begin, end) of the step's input. An empty range stands for its neighbours.
  void PutFrom(std::string_view bytes, size_t begin, size_t end) {
    out_.text += bytes;
    if (!track_ || bytes.empty()) return;
    if (in_.origin.empty()) {
      out_.origin.insert(out_.origin.end(), bytes.size(), Origin{0, Origin::kNowhere});
      return;
    }
    if (begin >= end) {
      begin = begin > 0 ? begin - 1 : 0;
      end = begin + 2;
    }
    end = std::min(end, in_.origin.size());
    begin = std::min(begin, end - 1);
    Origin origin = in_.origin[begin];
    for (size_t i = begin + 1; i < end; ++i) {
      origin.first = std::min(origin.first, in_.origin[i].first);
      origin.last = std::max(origin.last, in_.origin[i].last);
    }
    out_.origin.insert(out_.origin.end(), bytes.size(), origin);
  }
  void PutRune(char32_t rune, size_t from) {
    char buffer[4];
    scratch_.clear();
    AppendUtf8(scratch_, rune);
    std::copy(scratch_.begin(), scratch_.end(), buffer);
    Put(std::string_view(buffer, scratch_.size()), from);
  }
  void Truncate(size_t size) {
    out_.text.resize(size);
    if (track_) out_.origin.resize(size);
  }
  const std::string& text() const { return out_.text; }
  NormalizedText Take() { return std::move(out_); }

 private:
  const NormalizedText& in_;
  bool track_;
  NormalizedText out_;
  std::string scratch_;
};

template <typename Fn>
void ForEachRune(std::string_view text, const Fn& fn) {
  for (size_t pos = 0; pos < text.size();) {
    const ScannedRune r = ScanRune(text, pos);
    fn(r.rune, pos, r.size);
    pos += r.size;
  }
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

struct Decomposed {
  char32_t rune;
  int32_t combining_class;
  size_t order;  // position before sorting: keeps equal classes in place
};

// NFD, NFKD, NFC, NFKC of `text`. utf8proc's own reordering is quadratic in a run of combining
// marks, so the reordering is done here; decomposition and composition are utf8proc's.
std::string NormalizeForm(std::string_view text, bool compat, bool compose) {
  std::vector<Decomposed> runes;
  runes.reserve(text.size());
  ForEachRune(text, [&](char32_t rune, size_t, size_t) {
    utf8proc_int32_t parts[32];
    int last_boundclass = 0;
    utf8proc_ssize_t count = -1;
    constexpr char32_t kUndecomposed = 0x11938;  // in the library's tables
    if (rune >= 0x80 && rune != kUndecomposed && !(compat && IsNewCompatibilityRune(rune))) {
      count = utf8proc_decompose_char(
          static_cast<utf8proc_int32_t>(rune), parts, 32,
          static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0)),
          &last_boundclass);
    }
    if (count < 1 || count > 32) {
      parts[0] = static_cast<utf8proc_int32_t>(rune);
      count = 1;
    }
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      const auto part = static_cast<char32_t>(parts[i]);
      const int32_t combining_class = utf8proc_get_property(parts[i])->combining_class;
      const bool ordered = combining_class != 0 && !HasNoReferenceCombiningClass(part);
      runes.push_back({part, ordered ? combining_class : 0, runes.size()});
    }
  });
  for (size_t i = 0; i < runes.size();) {
    if (runes[i].combining_class == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < runes.size() && runes[end].combining_class != 0) ++end;
    std::sort(runes.begin() + static_cast<std::ptrdiff_t>(i),
              runes.begin() + static_cast<std::ptrdiff_t>(end),
              [](const Decomposed& a, const Decomposed& b) {
                return a.combining_class != b.combining_class
                           ? a.combining_class < b.combining_class
                           : a.order < b.order;
              });
    i = end;
  }
  std::vector<utf8proc_int32_t> buffer;
  buffer.reserve(runes.size() + 1);
  for (const Decomposed& d : runes) buffer.push_back(static_cast<utf8proc_int32_t>(d.rune));
  auto size = static_cast<utf8proc_ssize_t>(buffer.size());
  if (compose) {
    size = utf8proc_normalize_utf32(
        buffer.data(), size, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  }
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < size; ++i) {
    AppendUtf8(out, static_cast<char32_t>(buffer[static_cast<size_t>(i)]));
  }
  return out;
}

// Bytes of the characters that `a` and `b` start with both; with `at_end`, that they end with.
size_t CommonRunes(std::string_view a, std::string_view b, bool at_end) {
  const size_t limit = std::min(a.size(), b.size());
  size_t same = 0;
  if (at_end) {
    while (same < limit && a[a.size() - 1 - same] == b[b.size() - 1 - same]) ++same;
    while (same > 0 && (static_cast<unsigned char>(a[a.size() - same]) & 0xC0) == 0x80) --same;
    return same;
  }
  while (same < limit && a[same] == b[same]) ++same;
  const auto inside = [same](std::string_view text) {
    return same < text.size() && (static_cast<unsigned char>(text[same]) & 0xC0) == 0x80;
  };
  if (inside(a) || inside(b)) same = PreviousRune(a, same);
  return same;
}

// Normalizes chunk by chunk; a chunk starts at an ASCII character, which never combines with what
// is before it. The characters at a chunk's ends that stay the same are traced one by one; what is
// between them comes from all that was between them.
void PutForm(std::string_view text, bool compat, bool compose, bool track, Writer& out) {
  if (IsAscii(text)) {
    if (!track) return out.Put(text, 0);
  } else if (!track) {
    return out.Put(NormalizeForm(text, compat, compose), 0);
  }
  for (size_t pos = 0; pos < text.size();) {
    size_t end = pos + 1;
    while (end < text.size() && static_cast<unsigned char>(text[end]) >= 0x80) ++end;
    const std::string_view chunk = text.substr(pos, end - pos);
    const std::string form =
        chunk.size() == 1 ? std::string(chunk) : NormalizeForm(chunk, compat, compose);
    const size_t head = CommonRunes(chunk, form, false);
    const std::string_view rest = chunk.substr(head);
    const std::string_view form_rest = std::string_view(form).substr(head);
    const size_t tail = CommonRunes(rest, form_rest, true);
    for (size_t i = 0; i < head; ++i) out.Put(chunk.substr(i, 1), pos + i);
    out.PutFrom(form_rest.substr(0, form_rest.size() - tail), pos + head, end - tail);
    for (size_t i = end - tail; i < end; ++i) out.Put(text.substr(i, 1), i);
    pos = end;
  }
}

bool IsChineseRune(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

void PutLower(char32_t rune, size_t pos, Writer& out) {
  if (rune == 0x130) {  // the only character whose lower case is two
    out.Put("i\xCC\x87", pos);
  } else {
    out.PutRune(ToLowerRune(rune), pos);
  }
}

NormalizedText Bert(const NormalizerStep& step, NormalizedText text, bool track) {
  if (step.clean_text) {
    Writer out(text, track);
    ForEachRune(text.text, [&](char32_t c, size_t pos, size_t size) {
      if (c == 0 || c == 0xFFFD || IsReferenceControl(c)) return;
      if (IsWhiteSpace(c)) return out.Put(" ", pos);
      out.Put(std::string_view(text.text).substr(pos, size), pos);
    });
    text = out.Take();
  }
  if (step.chinese_chars) {
    Writer out(text, track);
    ForEachRune(text.text, [&](char32_t c, size_t pos, size_t size) {
      const bool pad = IsChineseRune(c);
      if (pad) out.Put(" ", pos);
      out.Put(std::string_view(text.text).substr(pos, size), pos);
      if (pad) out.Put(" ", pos);
    });
    text = out.Take();
  }
  if (step.strip_accents) {
    Writer decomposed(text, track);
    PutForm(text.text, false, false, track, decomposed);
    const NormalizedText nfd = decomposed.Take();
    Writer out(nfd, track);
    ForEachRune(nfd.text, [&](char32_t c, size_t pos, size_t size) {
      if (!IsReferenceNonspacing(c)) out.Put(std::string_view(nfd.text).substr(pos, size), pos);
    });
    text = out.Take();
  }
  if (step.lowercase) {
    Writer out(text, track);
    ForEachRune(text.text, [&](char32_t c, size_t pos, size_t) { PutLower(c, pos, out); });
    text = out.Take();
  }
  return text;
}

// By grapheme cluster: a short cluster is looked up whole, otherwise its characters one by one.
void Precompiled(const NormalizerStep& step, std::string_view text, Writer& out) {
  size_t begin = 0;
  utf8proc_int32_t state = 0;
  const auto flush = [&](size_t end) {
    const std::string_view cluster = text.substr(begin, end - begin);
    std::string_view value;
    if (cluster.size() < 6 && step.charsmap->ShortestPrefix(cluster, value)) {
      out.PutFrom(value, begin, end);
    } else {
      ForEachRune(cluster, [&](char32_t, size_t pos, size_t size) {
        const std::string_view rune = cluster.substr(pos, size);
        const size_t from = begin + pos;
        out.PutFrom(step.charsmap->ShortestPrefix(rune, value) ? value : rune, from, from + size);
      });
    }
    begin = end;
  };
  char32_t previous = 0;
  ForEachRune(text, [&](char32_t c, size_t pos, size_t) {
    if (pos > 0 && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                                    static_cast<utf8proc_int32_t>(c), &state)) {
      flush(pos);
    }
    previous = c;
  });
  if (begin < text.size()) flush(text.size());
}

// One unit of SentencePiece's normalization: what the text's start becomes, and its bytes.
struct SpmUnit {
  std::string_view text;
  size_t bytes;
};
SpmUnit NextSpmUnit(const NormalizerStep& step, std::string_view text, size_t pos) {
  const std::string_view rest = text.substr(pos);
  if (step.user_defined) {
    size_t longest = 0;
    int32_t node = 0;
    for (size_t i = 0; i < rest.size(); ++i) {
      node = step.user_defined->Step(node, static_cast<unsigned char>(rest[i]));
      if (node < 0) break;
      if (step.user_defined->id(node) >= 0) longest = i + 1;
    }
    if (longest > 0) return {rest.substr(0, longest), longest};
  }
  size_t bytes = 0;
  std::string_view value;
  if (step.charsmap && step.charsmap->LongestPrefix(rest, bytes, value)) return {value, bytes};
  const size_t size = ScanRune(text, pos).size;
  return {rest.substr(0, size), size};
}

void SentencePiece(const NormalizerStep& step, std::string_view text, Writer& out) {
  const std::string_view space = step.escape_whitespaces ? "\xE2\x96\x81" : " ";
  size_t pos = 0;
  if (step.remove_extra_whitespaces) {
    while (pos < text.size()) {
      const SpmUnit unit = NextSpmUnit(step, text, pos);
      if (unit.text != " ") break;
      pos += unit.bytes;
    }
  }
  if (pos >= text.size()) return;
  if (!step.whitespace_as_suffix && step.add_dummy_prefix) out.Put(space, pos);
  bool after_space = step.remove_extra_whitespaces;
  while (pos < text.size()) {
    const SpmUnit unit = NextSpmUnit(step, text, pos);
    std::string_view piece = unit.text;
    while (after_space && piece.starts_with(' ')) piece.remove_prefix(1);
    for (size_t i = 0; i < piece.size();) {
      if (piece[i] == ' ' && step.escape_whitespaces) {
        out.PutFrom(space, pos, pos + unit.bytes);
        ++i;
      } else {
        const size_t end = std::min(piece.find(' ', i + 1), piece.size());
        out.PutFrom(piece.substr(i, end - i), pos, pos + unit.bytes);
        i = end;
      }
    }
    if (!piece.empty()) after_space = piece.ends_with(' ');
    if (!step.remove_extra_whitespaces) after_space = false;
    pos += unit.bytes;
  }
  if (step.remove_extra_whitespaces) {
    while (out.text().ends_with(space)) out.Truncate(out.text().size() - space.size());
  }
  if (step.whitespace_as_suffix && step.add_dummy_prefix) out.Put(space, text.size() - 1);
}

void Replace(const NormalizerStep& step, std::string_view text, Writer& out) {
  size_t done = 0;
  size_t from = 0;
  size_t begin = 0;
  size_t end = 0;
  const auto copy = [&](size_t a, size_t b) {
    for (size_t i = a; i < b; ++i) out.Put(text.substr(i, 1), i);
  };
  while (from <= text.size() && step.matcher->Find(text, from, begin, end)) {
    copy(done, begin);
    out.PutFrom(step.content, begin, end);
    done = end;
    if (end > begin) {
      from = end;
    } else {
      if (end >= text.size()) break;
      from = end + ScanRune(text, end).size;
    }
  }
  copy(done, text.size());
}

void Nmt(std::string_view text, Writer& out) {
  ForEachRune(text, [&](char32_t c, size_t pos, size_t size) {
    if ((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
        c == 0x8F || c == 0x9F) {
      return;
    }
    const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    out.Put(space ? std::string_view(" ") : text.substr(pos, size), pos);
  });
}

void Strip(const NormalizerStep& step, std::string_view text, Writer& out) {
  size_t begin = 0;
  size_t end = text.size();
  while (step.left && begin < end) {
    const ScannedRune r = ScanRune(text, begin);
    if (!IsWhiteSpace(r.rune)) break;
    begin += r.size;
  }
  while (step.right && end > begin) {
    const size_t before = PreviousRune(text, end);
    if (!IsWhiteSpace(ScanRune(text, before).rune)) break;
    end = before;
  }
  for (size_t i = begin; i < end; ++i) out.Put(text.substr(i, 1), i);
}

NormalizedText RunStep(const NormalizerStep& step, NormalizedText in, bool track) {
  using Kind = NormalizerStep::Kind;
  if (step.kind == Kind::kBert) return Bert(step, std::move(in), track);
  Writer out(in, track);
  const std::string_view text = in.text;
  switch (step.kind) {
    case Kind::kNfc: PutForm(text, false, true, track, out); break;
    case Kind::kNfd: PutForm(text, false, false, track, out); break;
    case Kind::kNfkc: PutForm(text, true, true, track, out); break;
    case Kind::kNfkd: PutForm(text, true, false, track, out); break;
    case Kind::kLowercase:
      ForEachRune(text, [&](char32_t c, size_t pos, size_t) { PutLower(c, pos, out); });
      break;
    case Kind::kStripAccents:
      ForEachRune(text, [&](char32_t c, size_t pos, size_t size) {
        if (!IsReferenceMark(c)) out.Put(text.substr(pos, size), pos);
      });
      break;
    case Kind::kNmt: Nmt(text, out); break;
    case Kind::kByteLevel:
      ForEachRune(text, [&](char32_t, size_t pos, size_t size) {
        std::string mapped;
        AppendByteLevel(mapped, text.substr(pos, size));
        out.Put(mapped, pos);
      });
      break;
    case Kind::kPrepend:
      if (!text.empty()) out.Put(step.content, 0);
      for (size_t i = 0; i < text.size(); ++i) out.Put(text.substr(i, 1), i);
      break;
    case Kind::kReplace: Replace(step, text, out); break;
    case Kind::kStrip: Strip(step, text, out); break;
    case Kind::kPrecompiled: Precompiled(step, text, out); break;
    case Kind::kSentencePiece: SentencePiece(step, text, out); break;
    case Kind::kBert: break;
  }
  return out.Take();
}

}  // namespace

NormalizedText Normalizer::Run(std::string_view text, bool track) const {
  NormalizedText current{std::string(text), {}};
  if (track) {
    current.origin.resize(text.size());
    ForEachRune(text, [&](char32_t, size_t pos, size_t size) {
      std::fill_n(current.origin.begin() + static_cast<std::ptrdiff_t>(pos), size,
                  Origin{pos, pos});
    });
  }
  for (const NormalizerStep& step : steps_) current = RunStep(step, std::move(current), track);
  return current;
}

}  // namespace rill::text
