#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "text/jinja/python_text.h"

namespace rill::text::jinja {
namespace {

constexpr size_t kIndexFrom = 12;  // dicts up to this size are searched in order

uint64_t Mix(uint64_t seed, uint64_t value) {
  seed ^= value + 0x9E3779B97F4A7C15ull + (seed << 6) + (seed >> 2);
  return seed * 0xFF51AFD7ED558CCDull;
}

}  // namespace

bool Str::TrustedAt(size_t byte) const {
  const auto after = std::upper_bound(trusted.begin(), trusted.end(), byte,
                                      [](size_t b, const TextRun& run) { return b < run.begin; });
  return after != trusted.begin() && byte < std::prev(after)->end;
}

size_t Str::ByteOffset(int64_t rune) const {
  if (ascii()) return static_cast<size_t>(rune);
  if (rune >= num_runes) return text.size();
  size_t byte = 0;
  while (rune > 0) {
    ++byte;
    while (byte < text.size() && (static_cast<unsigned char>(text[byte]) & 0xC0) == 0x80) ++byte;
    --rune;
  }
  return byte;
}

bool TextBuilder::Fits(size_t more) {
  if (overflowed_ || more > limit_bytes_ - std::min(limit_bytes_, text_.size())) {
    overflowed_ = true;
    return false;
  }
  return true;
}

void TextBuilder::MarkTrusted(size_t begin, size_t end) {
  if (begin == end) return;
  if (!trusted_.empty() && trusted_.back().end == begin) {
    trusted_.back().end = end;
  } else {
    trusted_.push_back({begin, end});
  }
}

void TextBuilder::Append(std::string_view text, bool trusted) {
  if (!Fits(text.size())) return;
  const size_t begin = text_.size();
  text_ += text;
  if (trusted) MarkTrusted(begin, text_.size());
}

void TextBuilder::AppendSlice(const Str& piece, size_t begin, size_t end) {
  if (!Fits(end - begin)) return;
  const size_t base = text_.size();
  text_.append(piece.text, begin, end - begin);
  auto run = std::upper_bound(piece.trusted.begin(), piece.trusted.end(), begin,
                              [](size_t b, const TextRun& r) { return b < r.end; });
  for (; run != piece.trusted.end() && run->begin < end; ++run) {
    MarkTrusted(base + std::max(run->begin, begin) - begin, base + std::min(run->end, end) - begin);
  }
}

int64_t DictObject::Find(const Value& key) const {
  if (items.size() <= kIndexFrom) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (ValuesEqual(items[i].first, key)) return static_cast<int64_t>(i);
    }
    return -1;
  }
  const auto range = index.equal_range(HashValue(key));
  for (auto it = range.first; it != range.second; ++it) {
    if (ValuesEqual(items[it->second].first, key)) return it->second;
  }
  return -1;
}

void DictObject::Set(const Value& key, const Value& value) {
  const int64_t found = Find(key);
  if (found >= 0) {
    items[static_cast<size_t>(found)].second = value;
    return;
  }
  items.emplace_back(key, value);
  if (items.size() == kIndexFrom + 1) {
    for (size_t i = 0; i < items.size(); ++i) {
      index.emplace(HashValue(items[i].first), static_cast<uint32_t>(i));
    }
  } else if (items.size() > kIndexFrom) {
    index.emplace(HashValue(key), static_cast<uint32_t>(items.size() - 1));
  }
}

// Equal values hash alike: 1, 1.0 and True are one key.
uint64_t HashValue(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined: return 1;
    case Kind::kNone: return 2;
    case Kind::kBool:
    case Kind::kInt: return Mix(3, static_cast<uint64_t>(value.as_int()));
    case Kind::kFloat:
      if (value.d == std::floor(value.d) && std::fabs(value.d) < 9e18) {
        return Mix(3, static_cast<uint64_t>(static_cast<int64_t>(value.d)));
      }
      return Mix(4, std::hash<double>()(value.d));
    case Kind::kString: return std::hash<std::string>()(value.s->text);
    case Kind::kObject: break;
  }
  if (const SequenceObject* tuple = AsTuple(value)) {
    uint64_t hash = 5;
    for (const Value& item : tuple->items) hash = Mix(hash, HashValue(item));
    return hash;
  }
  return Mix(6, reinterpret_cast<uintptr_t>(value.o));
}

bool IsHashable(const Value& value) {
  if (value.kind != Kind::kObject) return true;
  if (const SequenceObject* tuple = AsTuple(value)) {
    return std::all_of(tuple->items.begin(), tuple->items.end(), IsHashable);
  }
  return value.o->type != ObjectType::kList && value.o->type != ObjectType::kDict &&
         value.o->type != ObjectType::kDictView;
}

bool ValuesEqual(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString: return a.s == b.s || a.s->text == b.s->text;
    case Kind::kObject: break;
    default: return false;
  }
  if (a.o == b.o) return true;
  if (a.o->type != b.o->type) return false;
  if (const SequenceObject* left = AsSequence(a)) {
    const SequenceObject* right = AsSequence(b);
    return left->items.size() == right->items.size() &&
           std::equal(left->items.begin(), left->items.end(), right->items.begin(), ValuesEqual);
  }
  if (const DictObject* left = AsDict(a)) {
    const DictObject* right = AsDict(b);
    if (left->items.size() != right->items.size()) return false;
    for (const auto& [key, value] : left->items) {
      const int64_t at = right->Find(key);
      if (at < 0 || !ValuesEqual(value, right->items[static_cast<size_t>(at)].second)) return false;
    }
    return true;
  }
  if (a.o->type == ObjectType::kRange) {
    const auto* left = static_cast<const RangeObject*>(a.o);
    const auto* right = static_cast<const RangeObject*>(b.o);
    return left->count == right->count &&
           (left->count == 0 ||
            (left->start == right->start && (left->count == 1 || left->step == right->step)));
  }
  return false;
}

bool Truthy(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool: return value.b;
    case Kind::kInt: return value.i != 0;
    case Kind::kFloat: return value.d != 0;
    case Kind::kString: return !value.s->text.empty();
    case Kind::kObject: break;
  }
  switch (value.o->type) {
    case ObjectType::kList:
    case ObjectType::kTuple: return !static_cast<SequenceObject*>(value.o)->items.empty();
    case ObjectType::kDict: return !static_cast<DictObject*>(value.o)->items.empty();
    case ObjectType::kDictView: return !static_cast<DictViewObject*>(value.o)->dict->items.empty();
    case ObjectType::kRange: return static_cast<RangeObject*>(value.o)->count != 0;
    default: return true;
  }
}

const char* TypeName(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return value.s->markup ? "Markup" : "str";
    case Kind::kObject: break;
  }
  switch (value.o->type) {
    case ObjectType::kList: return "list";
    case ObjectType::kTuple: return "tuple";
    case ObjectType::kDict: return "dict";
    case ObjectType::kDictView: {
      const auto part = static_cast<DictViewObject*>(value.o)->part;
      return part == DictViewObject::Part::kKeys     ? "dict_keys"
             : part == DictViewObject::Part::kValues ? "dict_values"
                                                     : "dict_items";
    }
    case ObjectType::kRange: return "range";
    case ObjectType::kIterator: return static_cast<IteratorObject*>(value.o)->type_name;
    case ObjectType::kNamespace: return "Namespace";
    case ObjectType::kMacro: return "Macro";
    case ObjectType::kFunction: return "function";
    case ObjectType::kLoop: return "LoopContext";
    case ObjectType::kCycler: return "Cycler";
    case ObjectType::kJoiner: return "Joiner";
  }
  return "object";
}

}  // namespace rill::text::jinja
