#include "text/jinja/runtime.h"

#include <algorithm>
#include <ctime>

#include "base/utf8.h"
#include "text/jinja/python_text.h"

namespace rill::text::jinja {
namespace {

constexpr int kMaxValueDepth = 200;     // lists in lists in …: bounds recursion over values
constexpr size_t kMemoryPerOutput = 8;  // live bytes allowed per byte of max_output_bytes

}  // namespace

Runtime::Runtime(const TemplateLimits& limits, std::string_view culprit, int64_t now_unix_s)
    : limits_(limits),
      culprit_(culprit),
      now_unix_s_(now_unix_s < 0 ? static_cast<int64_t>(std::time(nullptr)) : now_unix_s),
      steps_left_(limits.max_steps) {
  budget_.limit_bytes = limits.max_output_bytes > SIZE_MAX / kMemoryPerOutput
                            ? SIZE_MAX
                            : limits.max_output_bytes * kMemoryPerOutput;
  budget_.limit_bytes = std::max<size_t>(budget_.limit_bytes, 1u << 20);
}

Value Runtime::Fail(std::string message, StatusCode code) {
  if (error_.ok()) {
    error_ = Status(code, culprit_ + ":" + std::to_string(line) + ": " + std::move(message));
  }
  return {};
}

Value Runtime::UndefinedError(const Value& undefined) {
  return Fail(undefined.s != nullptr ? undefined.s->text : "the value is undefined");
}

bool Runtime::Step(int64_t steps) {
  if (failed()) return false;
  steps_left_ -= steps;
  if (steps_left_ >= 0) return true;
  Fail("the template did not finish within " + std::to_string(limits_.max_steps) + " steps",
       StatusCode::kResourceExhausted);
  return false;
}

bool Runtime::ChargeWalk(const Value& value) {
  if (value.is_string()) return Charge(value.s->text.size());
  return value.kind == Kind::kObject ? Step(value.o->weight / 4) : !failed();
}

void Runtime::ReserveMemory(size_t bytes) {
  budget_.live_bytes += bytes;
  if (budget_.live_bytes > budget_.limit_bytes) {
    Fail("the template's values need more than " + std::to_string(budget_.limit_bytes) + " bytes",
         StatusCode::kResourceExhausted);
  }
}

void Runtime::NoteChild(Object* parent, const Value& child) {
  constexpr int64_t kHeaviest = int64_t{1} << 50;
  if (child.is_string()) parent->weight += 1 + static_cast<int64_t>(child.s->text.size() / 128);
  if (child.kind != Kind::kObject) {
    ++parent->weight;
    return;
  }
  parent->weight = std::min(parent->weight + child.o->weight, kHeaviest);
  parent->depth = std::max(parent->depth, child.o->depth + 1);
  if (parent->depth > kMaxValueDepth) {
    Fail("a value nests deeper than " + std::to_string(kMaxValueDepth) + " levels",
         StatusCode::kResourceExhausted);
  }
}

Value Runtime::Take(TextBuilder&& builder, bool markup) {
  if (builder.overflowed()) {
    return Fail(
        "a string would be longer than " + std::to_string(limits_.max_output_bytes) + " bytes",
        StatusCode::kResourceExhausted);
  }
  auto str = std::make_shared<jinja::Str>();
  str->text = std::move(builder.text());
  str->trusted = std::move(builder.trusted());
  str->num_runes = CountRunes(str->text);
  str->markup = markup;
  Charge(str->text.size());
  const size_t bytes =
      sizeof(jinja::Str) + 32 + str->text.capacity() + str->trusted.capacity() * sizeof(TextRun);
  ReserveMemory(bytes);
  str->budget = &budget_;
  str->charged_bytes = bytes;
  return Value::String(std::move(str));
}

Value Runtime::Text(std::string_view text, bool trusted) {
  TextBuilder builder = Builder();
  builder.Append(text, trusted);
  return Take(std::move(builder));
}

Value Runtime::Slice(const jinja::Str& str, size_t begin, size_t end) {
  TextBuilder builder = Builder();
  builder.AppendSlice(str, begin, end);
  return Take(std::move(builder), str.markup);
}

Value Runtime::Undefined(std::string message) {
  Value out;
  auto str = std::make_shared<jinja::Str>();
  str->text = std::move(message);
  out.s = std::move(str);
  return out;
}

Value Runtime::Sequence(ObjectType type, std::vector<Value> items) {
  auto* object = New<SequenceObject>(type);
  ReserveMemory(items.capacity() * sizeof(Value));
  for (const Value& item : items) NoteChild(object, item);
  object->items = std::move(items);
  return Value::Obj(object);
}

Value Runtime::Iterator(std::function<bool(Value*)> next, const char* type_name) {
  auto* object = New<IteratorObject>();
  ReserveMemory(128);
  object->next = std::move(next);
  object->type_name = type_name;
  return Value::Obj(object);
}

Value Runtime::Function(Builtin call, Value self) {
  auto* object = New<FunctionObject>();
  object->call = call;
  object->self = std::move(self);
  return Value::Obj(object);
}

void Runtime::DictSet(DictObject* dict, const Value& key, const Value& value) {
  if (!IsHashable(key)) {
    Fail(std::string("unhashable type: '") + TypeName(key) + "'");
    return;
  }
  ReserveMemory(2 * sizeof(Value) + 32);
  NoteChild(dict, key);
  NoteChild(dict, value);
  dict->Set(key, value);
}

Iteration::Iteration(Runtime& rt, const Value& iterable) : rt_(rt), source_(iterable) {
  if (!rt.IsIterable(iterable)) {
    rt.Fail(std::string("'") + TypeName(iterable) + "' object is not iterable");
  }
}

bool Iteration::Next(Value* item) {
  if (!rt_.Step()) return false;
  if (source_.is_undefined()) return false;
  if (source_.is_string()) {
    const jinja::Str& str = *source_.s;
    if (position_ >= str.text.size()) return false;
    const size_t size = DecodeUtf8(std::string_view(str.text).substr(position_)).size;
    TextBuilder builder = rt_.Builder();
    builder.AppendSlice(str, position_, position_ + size);
    *item = rt_.Take(std::move(builder));  // iterating Markup yields plain characters
    position_ += size;
    return true;
  }
  switch (source_.o->type) {
    case ObjectType::kList:
    case ObjectType::kTuple: {
      const auto& items = static_cast<SequenceObject*>(source_.o)->items;
      if (position_ >= items.size()) return false;
      *item = items[position_++];
      return true;
    }
    case ObjectType::kDict: {
      const auto& items = static_cast<DictObject*>(source_.o)->items;
      if (position_ >= items.size()) return false;
      *item = items[position_++].first;
      return true;
    }
    case ObjectType::kDictView: {
      const auto* view = static_cast<DictViewObject*>(source_.o);
      if (position_ >= view->dict->items.size()) return false;
      const auto& [key, value] = view->dict->items[position_++];
      switch (view->part) {
        case DictViewObject::Part::kKeys: *item = key; break;
        case DictViewObject::Part::kValues: *item = value; break;
        case DictViewObject::Part::kItems: *item = rt_.Tuple({key, value}); break;
      }
      return true;
    }
    case ObjectType::kRange: {
      const auto* range = static_cast<RangeObject*>(source_.o);
      if (static_cast<int64_t>(position_) >= range->count) return false;
      *item = Value::Int(range->start + static_cast<int64_t>(position_++) * range->step,
                         range->tainted);
      return true;
    }
    case ObjectType::kIterator: return static_cast<IteratorObject*>(source_.o)->next(item);
    default: return false;
  }
}

bool Runtime::IsIterable(const Value& value) const {
  if (value.is_undefined() || value.is_string()) return true;
  if (value.kind != Kind::kObject) return false;
  switch (value.o->type) {
    case ObjectType::kList:
    case ObjectType::kTuple:
    case ObjectType::kDict:
    case ObjectType::kDictView:
    case ObjectType::kRange:
    case ObjectType::kIterator: return true;
    default: return false;
  }
}

bool Runtime::Collect(const Value& value, std::vector<Value>* out) {
  Iteration iteration(*this, value);
  Value item;
  while (iteration.Next(&item)) {
    ReserveMemory(sizeof(Value));
    out->push_back(item);
  }
  return !failed();
}

bool Runtime::HasLength(const Value& value) const {
  if (value.is_undefined() || value.is_string()) return true;
  return value.kind == Kind::kObject && IsIterable(value) && value.o->type != ObjectType::kIterator;
}

int64_t Runtime::Length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) return value.s->num_runes;
  if (value.kind == Kind::kObject) {
    switch (value.o->type) {
      case ObjectType::kList:
      case ObjectType::kTuple:
        return static_cast<int64_t>(static_cast<SequenceObject*>(value.o)->items.size());
      case ObjectType::kDict:
        return static_cast<int64_t>(static_cast<DictObject*>(value.o)->items.size());
      case ObjectType::kDictView:
        return static_cast<int64_t>(static_cast<DictViewObject*>(value.o)->dict->items.size());
      case ObjectType::kRange: return static_cast<RangeObject*>(value.o)->count;
      default: break;
    }
  }
  Fail(std::string("object of type '") + TypeName(value) + "' has no len()");
  return -1;
}

bool BindArgs(Runtime& rt, std::string_view function, Args& args,
              std::initializer_list<std::string_view> names, size_t required, const Value** slots) {
  const std::string name(function);
  if (args.positional.size() > names.size()) {
    rt.Fail(name + "() takes at most " + std::to_string(names.size()) + " argument(s), got " +
            std::to_string(args.positional.size()));
    return false;
  }
  for (size_t i = 0; i < names.size(); ++i) {
    slots[i] = i < args.positional.size() ? &args.positional[i] : nullptr;
  }
  for (const auto& [key, value] : args.named) {
    const auto found = std::find(names.begin(), names.end(), std::string_view(key));
    if (found == names.end() || found->empty()) {
      rt.Fail(name + "() got an unexpected keyword argument '" + key + "'");
      return false;
    }
    const auto at = static_cast<size_t>(found - names.begin());
    if (slots[at] != nullptr) {
      rt.Fail(name + "() got multiple values for argument '" + key + "'");
      return false;
    }
    slots[at] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (slots[i] == nullptr) {
      rt.Fail(name + "() misses its argument " + std::to_string(i + 1));
      return false;
    }
  }
  return true;
}

bool ReadInt(Runtime& rt, const Value& value, std::string_view what, int64_t* out) {
  if (!value.is_integral()) {
    rt.Fail(std::string(what) + ": expected an integer, got '" + TypeName(value) + "'");
    return false;
  }
  *out = value.as_int();
  return true;
}

void SortByKeys(Runtime& rt, std::vector<Value>& items, std::vector<Value>& keys, bool reverse) {
  // A merge sort of our own: std::sort may run wild when a comparison is not a strict order (NaN).
  const size_t count = items.size();
  std::vector<size_t> order(count), scratch(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  for (size_t width = 1; width < count && !rt.failed(); width *= 2) {
    for (size_t begin = 0; begin < count; begin += 2 * width) {
      const size_t middle = std::min(begin + width, count),
                   end = std::min(begin + 2 * width, count);
      size_t left = begin, right = middle;
      for (size_t at = begin; at < end; ++at) {
        bool take_right = left >= middle;
        if (left < middle && right < end) {
          // Equal items keep their order, also in reverse.
          take_right = reverse ? rt.Compare(keys[order[left]], keys[order[right]], "<")
                               : rt.Compare(keys[order[right]], keys[order[left]], "<");
          if (!rt.Step()) return;
        }
        scratch[at] = take_right ? order[right++] : order[left++];
      }
    }
    std::swap(order, scratch);
  }
  std::vector<Value> sorted;
  sorted.reserve(count);
  for (const size_t i : order) sorted.push_back(items[i]);
  items = std::move(sorted);
}

}  // namespace rill::text::jinja
