// Runtime: one render's memory, limits and first error, and the operations of Python on values.
//
// Errors are sticky: the first failure is kept with its line, every later operation may go on with
// any value but Step() returns false, so that loops end; Render() then discards the output.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rill/status.h"
#include "text/chat_template.h"
#include "text/jinja/value.h"

namespace rill::text::jinja {

class Runtime {
 public:
  Runtime(const TemplateLimits& limits, std::string_view culprit, int64_t now_unix_s);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // -- errors and limits
  bool failed() const { return !error_.ok(); }
  const Status& error() const { return error_; }
  // Keeps the first error, with "<culprit>:<line>: " before it; returns an undefined value.
  Value Fail(std::string message, StatusCode code = StatusCode::kInvalidArgument);
  Value UndefinedError(const Value& undefined);  // "'x' is undefined"
  // Counts work; false when the render must stop.
  bool Step(int64_t steps = 1);
  // Counts work proportional to `bytes` touched (128 bytes a step).
  bool Charge(size_t bytes) { return Step(static_cast<int64_t>(bytes / 128)); }
  // Counts the work of walking `value` once: comparing, hashing or searching it.
  bool ChargeWalk(const Value& value);
  int line = 1;  // of the node being evaluated
  const TemplateLimits& limits() const { return limits_; }
  int64_t now_unix_s() const { return now_unix_s_; }

  // -- making values
  TextBuilder Builder() const { return TextBuilder(limits_.max_output_bytes); }
  Value Take(TextBuilder&& builder, bool markup = false);
  Value Text(std::string_view text, bool trusted);
  Value Slice(const Str& str, size_t begin, size_t end);  // bytes, keeps provenance and markup
  Value Undefined(std::string message);
  Value List(std::vector<Value> items) { return Sequence(ObjectType::kList, std::move(items)); }
  Value Tuple(std::vector<Value> items) { return Sequence(ObjectType::kTuple, std::move(items)); }
  Value Iterator(std::function<bool(Value*)> next, const char* type_name = "generator");
  Value Function(Builtin call, Value self = {});
  // Sets a member of a dict under construction.
  void DictSet(DictObject* dict, const Value& key, const Value& value);
  // Registers an object with the render; freed with it.
  template <typename T, typename... A>
  T* New(A&&... args) {
    auto owned = std::make_unique<T>(std::forward<A>(args)...);
    T* raw = owned.get();
    objects_.push_back(std::move(owned));
    ReserveMemory(sizeof(T) + 16);
    return raw;
  }
  void ReserveMemory(size_t bytes);
  // Takes the children's depth into account; fails when a value nests too deeply.
  void NoteChild(Object* parent, const Value& child);

  // -- Python's operations
  Value Str(const Value& value);            // str(value), provenance kept
  Value StrKeepMarkup(const Value& value);  // soft_str
  void AppendStr(TextBuilder& out, const Value& value);
  void AppendRepr(std::string& out, const Value& value, bool* tainted, int depth = 0);
  Value GetAttribute(const Value& object, std::string_view name);  // object.name
  Value GetItem(const Value& object, const Value& key);            // object[key]
  Value GetSlice(const Value& object, const Value& start, const Value& stop, const Value& step);
  bool Compare(const Value& a, const Value& b, std::string_view op);  // < <= > >=
  bool Contains(const Value& container, const Value& item);           // item in container
  Value Binary(std::string_view op, const Value& a, const Value& b);  // + - * / // % **
  Value Negate(const Value& value);
  Value Positive(const Value& value);
  int64_t Length(const Value& value);  // len(); -1 and an error when it has none
  bool HasLength(const Value& value) const;
  bool IsIterable(const Value& value) const;
  bool Collect(const Value& value, std::vector<Value>* out);  // list(value)
  Value Escape(const Value& value);                           // markupsafe.escape

 private:
  Value Sequence(ObjectType type, std::vector<Value> items);

  const TemplateLimits limits_;
  const std::string culprit_;
  const int64_t now_unix_s_;
  int64_t steps_left_;
  Status error_;
  MemoryBudget budget_;  // before objects_: strings inside them report to it when freed
  std::vector<std::unique_ptr<Object>> objects_;
};

// Walks any iterable. Next() is false at the end and after an error.
class Iteration {
 public:
  // Fails ("'int' object is not iterable") when it is not iterable.
  Iteration(Runtime& rt, const Value& iterable);
  bool Next(Value* item);

 private:
  Runtime& rt_;
  Value source_;
  size_t position_ = 0;
};

// Attribute of a string or another builtin type that is a method, or nullptr.
Builtin FindStringMethod(std::string_view name);
// Filters, tests and globals by name, or nullptr.
Builtin FindFilter(std::string_view name);
Builtin FindTest(std::string_view name);
bool IsKnownButUnsupportedFilter(std::string_view name);
Builtin FindGlobal(std::string_view name);

// Puts arguments into `slots` by position and by name; an absent one stays null.
// Fails on too many, unknown or doubled arguments, and when one of the first `required` is absent.
bool BindArgs(Runtime& rt, std::string_view function, Args& args,
              std::initializer_list<std::string_view> names, size_t required, const Value** slots);

// int argument; false and an error when it is not an integer.
bool ReadInt(Runtime& rt, const Value& value, std::string_view what, int64_t* out);

Value PercentFormat(Runtime& rt, const Str& format, const Value& args);  // format % args
Value FormatMethod(Runtime& rt, const Value& self, Args& args);          // format.format(…)
// format(value, spec).
Value FormatValue(Runtime& rt, const Value& value, std::string_view spec);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;
  std::string indent;  // of one level, when pretty
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
Value ToJson(Runtime& rt, const Value& value, const JsonStyle& style);

// sorted(): stable, with Python's comparison errors. keys[i] belongs to items[i].
void SortByKeys(Runtime& rt, std::vector<Value>& items, std::vector<Value>& keys, bool reverse);

}  // namespace rill::text::jinja
