// Values of the template language: what a Python object is to jinja2, with the provenance of text.
//
// Strings carry the byte ranges that a trusted author wrote (see marked_text.h); numbers, booleans
// and None carry one bit, so that their printed form is marked as well. Containers belong to the
// Runtime of one render and are immutable, but for namespaces, loops and iterators.
// Owner thread: the one that renders; literals inside a compiled template are shared and const.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/marked_text.h"

namespace rill::text::jinja {

class Runtime;

// Bytes of live strings and objects of one render.
struct MemoryBudget {
  size_t live_bytes = 0;
  size_t limit_bytes = 0;
};

// An immutable string: UTF-8 bytes and the ranges that are trusted.
struct Str {
  std::string text;
  std::vector<TextRun> trusted;  // sorted, disjoint, not touching
  int64_t num_runes = 0;         // code points
  bool markup = false;           // markupsafe.Markup: joined text is HTML-escaped
  MemoryBudget* budget = nullptr;
  size_t charged_bytes = 0;

  Str() = default;
  Str(const Str&) = delete;
  Str& operator=(const Str&) = delete;
  ~Str() {
    if (budget != nullptr) budget->live_bytes -= charged_bytes;
  }
  bool ascii() const { return static_cast<size_t>(num_runes) == text.size(); }
  bool AllTrusted() const {
    return text.empty() ||
           (trusted.size() == 1 && trusted[0].end - trusted[0].begin == text.size());
  }
  bool TrustedAt(size_t byte) const;
  // Byte offset of code point `rune` (0 <= rune <= num_runes).
  size_t ByteOffset(int64_t rune) const;
};
using StrPtr = std::shared_ptr<const Str>;

// Grows a string with provenance, up to a limit; past the limit nothing is added and
// overflowed() says so.
class TextBuilder {
 public:
  explicit TextBuilder(size_t limit_bytes) : limit_bytes_(limit_bytes) {}
  void Append(std::string_view text, bool trusted);
  void Append(const Str& piece) { AppendSlice(piece, 0, piece.text.size()); }
  void AppendSlice(const Str& piece, size_t begin, size_t end);
  bool overflowed() const { return overflowed_; }
  size_t size() const { return text_.size(); }
  std::string& text() { return text_; }
  std::vector<TextRun>& trusted() { return trusted_; }

 private:
  bool Fits(size_t more);
  void MarkTrusted(size_t begin, size_t end);

  size_t limit_bytes_;
  bool overflowed_ = false;
  std::string text_;
  std::vector<TextRun> trusted_;
};

enum class Kind : uint8_t { kUndefined, kNone, kBool, kInt, kFloat, kString, kObject };

struct Object;

struct Value {
  Kind kind = Kind::kUndefined;
  bool tainted = false;  // scalars: came from untrusted input
  union {
    bool b;
    int64_t i = 0;
    double d;
    Object* o;
  };
  StrPtr s;  // kString: the text. kUndefined: what to say when it is used, or null

  static Value None() { return Of(Kind::kNone); }
  static Value Bool(bool v) {
    Value out = Of(Kind::kBool);
    out.b = v;
    return out;
  }
  static Value Int(int64_t v, bool tainted = false) {
    Value out = Of(Kind::kInt);
    out.i = v;
    out.tainted = tainted;
    return out;
  }
  static Value Float(double v, bool tainted = false) {
    Value out = Of(Kind::kFloat);
    out.d = v;
    out.tainted = tainted;
    return out;
  }
  static Value String(StrPtr s) {
    Value out = Of(Kind::kString);
    out.s = std::move(s);
    return out;
  }
  static Value Obj(Object* o) {
    Value out = Of(Kind::kObject);
    out.o = o;
    return out;
  }

  bool is_undefined() const { return kind == Kind::kUndefined; }
  bool is_none() const { return kind == Kind::kNone; }
  bool is_string() const { return kind == Kind::kString; }
  bool is_bool() const { return kind == Kind::kBool; }
  // Python's bool is an int: True + 1 == 2.
  bool is_integral() const { return kind == Kind::kInt || kind == Kind::kBool; }
  bool is_number() const { return is_integral() || kind == Kind::kFloat; }
  int64_t as_int() const { return kind == Kind::kBool ? (b ? 1 : 0) : i; }
  double as_double() const { return kind == Kind::kFloat ? d : static_cast<double>(as_int()); }

 private:
  static Value Of(Kind kind) {
    Value out;
    out.kind = kind;
    return out;
  }
};

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};
using Builtin = Value (*)(Runtime& rt, const Value& self, Args& args);

enum class ObjectType : uint8_t {
  kList,
  kTuple,
  kDict,
  kDictView,
  kRange,
  kIterator,
  kNamespace,
  kMacro,
  kFunction,
  kLoop,
  kCycler,
  kJoiner,
};

struct Object {
  explicit Object(ObjectType type) : type(type) {}
  virtual ~Object() = default;
  const ObjectType type;
  bool tainted = false;  // came from untrusted input: its printed form is untrusted
  int depth = 1;         // 1 + the deepest child: bounds every recursion over values
  int64_t weight = 1;    // what walking everything inside costs, in steps; saturates
};

struct SequenceObject : Object {  // list or tuple
  using Object::Object;
  std::vector<Value> items;
  bool is_group = false;  // groupby's tuple, with attributes grouper and list
};

struct DictObject : Object {
  DictObject() : Object(ObjectType::kDict) {}
  std::vector<std::pair<Value, Value>> items;         // insertion order
  std::unordered_multimap<uint64_t, uint32_t> index;  // hash -> position, once it is large
  // Position of `key`, or -1. `key` must be hashable.
  int64_t Find(const Value& key) const;
  void Set(const Value& key, const Value& value);
};

struct DictViewObject : Object {
  DictViewObject() : Object(ObjectType::kDictView) {}
  enum class Part : uint8_t { kKeys, kValues, kItems } part = Part::kKeys;
  const DictObject* dict = nullptr;
};

struct RangeObject : Object {
  RangeObject() : Object(ObjectType::kRange) {}
  int64_t start = 0, stop = 0, step = 1, count = 0;
};

// A Python generator: items are made when asked for, once.
struct IteratorObject : Object {
  IteratorObject() : Object(ObjectType::kIterator) {}
  std::function<bool(Value*)> next;  // false at the end
  const char* type_name = "generator";
};

struct NamespaceObject : Object {
  NamespaceObject() : Object(ObjectType::kNamespace) {}
  std::vector<std::pair<std::string, Value>> attributes;
};

struct FunctionObject : Object {  // builtin, bound to `self` when it is a method
  FunctionObject() : Object(ObjectType::kFunction) {}
  Builtin call = nullptr;
  Value self;
};

struct CyclerObject : Object {
  CyclerObject() : Object(ObjectType::kCycler) {}
  std::vector<Value> items;
  size_t position = 0;
};

struct JoinerObject : Object {
  JoinerObject() : Object(ObjectType::kJoiner) {}
  Value separator;
  bool used = false;
};

// The value's object of that type, or nullptr.
template <typename T>
T* AsObject(const Value& value, ObjectType type) {
  return value.kind == Kind::kObject && value.o->type == type ? static_cast<T*>(value.o) : nullptr;
}
inline SequenceObject* AsList(const Value& v) {
  return AsObject<SequenceObject>(v, ObjectType::kList);
}
inline SequenceObject* AsTuple(const Value& v) {
  return AsObject<SequenceObject>(v, ObjectType::kTuple);
}
inline SequenceObject* AsSequence(const Value& v) {
  SequenceObject* list = AsList(v);
  return list != nullptr ? list : AsTuple(v);
}
inline DictObject* AsDict(const Value& v) {
  return AsObject<DictObject>(v, ObjectType::kDict);
}

uint64_t HashValue(const Value& value);
bool IsHashable(const Value& value);
// ==, without side effects; containers compare by content.
bool ValuesEqual(const Value& a, const Value& b);
// bool(value).
bool Truthy(const Value& value);
// "str", "list", "dict", … as Python's type(value).__name__.
const char* TypeName(const Value& value);

}  // namespace rill::text::jinja
