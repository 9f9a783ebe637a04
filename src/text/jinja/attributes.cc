// Runtime: object.name and object[key], as jinja2's sandbox resolves them. Only what is named here
// can be reached; everything else reads as undefined.
#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/loop.h"
#include "text/jinja/runtime.h"

namespace rill::text::jinja {
namespace {

Value DictView(Runtime& rt, const Value& self, DictViewObject::Part part, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "dict view", args, {}, 0, slots)) return {};
  auto* view = rt.New<DictViewObject>();
  view->part = part;
  view->dict = AsDict(self);
  rt.NoteChild(view, self);
  view->tainted = self.o->tainted;
  return Value::Obj(view);
}
Value DictItems(Runtime& rt, const Value& self, Args& args) {
  return DictView(rt, self, DictViewObject::Part::kItems, args);
}
Value DictKeys(Runtime& rt, const Value& self, Args& args) {
  return DictView(rt, self, DictViewObject::Part::kKeys, args);
}
Value DictValues(Runtime& rt, const Value& self, Args& args) {
  return DictView(rt, self, DictViewObject::Part::kValues, args);
}

Value DictGet(Runtime& rt, const Value& self, Args& args) {
  if (!args.named.empty()) return rt.Fail("get() takes no keyword arguments");
  const Value* slots[2];
  if (!BindArgs(rt, "get", args, {"", ""}, 1, slots)) return {};
  if (!IsHashable(*slots[0])) return rt.Fail("get(): the key is not hashable");
  if (!rt.ChargeWalk(*slots[0])) return {};
  const DictObject* dict = AsDict(self);
  const int64_t at = dict->Find(*slots[0]);
  if (at >= 0) return dict->items[static_cast<size_t>(at)].second;
  return slots[1] != nullptr ? *slots[1] : Value::None();
}

Value CopyOf(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "copy", args, {}, 0, slots)) return {};
  return self;  // immutable: a copy cannot be told from the original
}

Value SequenceIndex(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  if (!BindArgs(rt, "index", args, {"", "", ""}, 1, slots)) return {};
  const auto& items = AsSequence(self)->items;
  const auto size = static_cast<int64_t>(items.size());
  int64_t bounds[2] = {0, size};
  for (int i = 0; i < 2; ++i) {
    if (slots[i + 1] == nullptr) continue;
    if (!ReadInt(rt, *slots[i + 1], "index()", &bounds[i])) return {};
    if (bounds[i] < 0) bounds[i] = std::max<int64_t>(0, bounds[i] + size);
  }
  for (int64_t i = bounds[0]; i < std::min(bounds[1], size) && rt.ChargeWalk(*slots[0]); ++i) {
    if (!rt.Step()) return {};
    if (ValuesEqual(items[static_cast<size_t>(i)], *slots[0])) return Value::Int(i);
  }
  return rt.Fail("index(): the value is not in the list");
}

Value SequenceCount(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "count", args, {""}, 1, slots)) return {};
  int64_t count = 0;
  for (const Value& item : AsSequence(self)->items) {
    if (!rt.Step() || !rt.ChargeWalk(*slots[0])) return {};
    count += ValuesEqual(item, *slots[0]);
  }
  return Value::Int(count);
}

Value CyclerNext(Runtime& rt, const Value& self, Args&) {
  auto* cycler = static_cast<CyclerObject*>(self.o);
  rt.Step();
  const Value item = cycler->items[cycler->position];
  cycler->position = (cycler->position + 1) % cycler->items.size();
  return item;
}
Value CyclerReset(Runtime&, const Value& self, Args&) {
  static_cast<CyclerObject*>(self.o)->position = 0;
  return Value::None();
}

// Methods and attributes of builtin types. False when there is none of that name.
bool FindAttribute(Runtime& rt, const Value& object, std::string_view name, Value* out) {
  if (object.is_string()) {
    const Builtin method = FindStringMethod(name);
    if (method == nullptr) return false;
    *out = rt.Function(method, object);
    return true;
  }
  if (object.is_number()) {
    if (name == "real" || (name == "numerator" && object.is_integral())) {
      *out = rt.Positive(object);
    } else if (name == "imag" && object.is_integral()) {
      *out = Value::Int(0);
    } else if (name == "denominator" && object.is_integral()) {
      *out = Value::Int(1);
    } else {
      return false;
    }
    return true;
  }
  if (object.kind != Kind::kObject) return false;
  Builtin method = nullptr;
  switch (object.o->type) {
    case ObjectType::kDict:
      method = name == "items"    ? &DictItems
               : name == "keys"   ? &DictKeys
               : name == "values" ? &DictValues
               : name == "get"    ? &DictGet
               : name == "copy"   ? &CopyOf
                                  : nullptr;
      break;
    case ObjectType::kList:
    case ObjectType::kTuple: {
      const auto* sequence = static_cast<SequenceObject*>(object.o);
      if (sequence->is_group && (name == "grouper" || name == "list")) {
        *out = sequence->items[name == "list" ? 1 : 0];
        return true;
      }
      method = name == "index"                                         ? &SequenceIndex
               : name == "count"                                       ? &SequenceCount
               : name == "copy" && object.o->type == ObjectType::kList ? &CopyOf
                                                                       : nullptr;
      break;
    }
    case ObjectType::kRange: {
      const auto* range = static_cast<RangeObject*>(object.o);
      if (name != "start" && name != "stop" && name != "step") return false;
      *out = Value::Int(name == "start"  ? range->start
                        : name == "stop" ? range->stop
                                         : range->step);
      return true;
    }
    case ObjectType::kNamespace:
      rt.Step(
          static_cast<int64_t>(static_cast<NamespaceObject*>(object.o)->attributes.size() / 16));
      for (const auto& [key, value] : static_cast<NamespaceObject*>(object.o)->attributes) {
        if (key != name) continue;
        *out = value;
        return true;
      }
      return false;
    case ObjectType::kLoop: return static_cast<LoopObject*>(object.o)->Attribute(rt, name, out);
    case ObjectType::kMacro: {
      const MacroDef& def = *static_cast<MacroObject*>(object.o)->def;
      if (name == "name") {
        *out = rt.Text(def.name, true);
      } else if (name == "arguments") {
        std::vector<Value> params;
        for (const std::string& param : def.params) params.push_back(rt.Text(param, true));
        *out = rt.Tuple(std::move(params));
      } else if (name == "catch_kwargs" || name == "catch_varargs" || name == "caller") {
        *out = Value::Bool(name == "caller"         ? def.uses_caller
                           : name == "catch_kwargs" ? def.uses_kwargs
                                                    : def.uses_varargs);
      } else {
        return false;
      }
      return true;
    }
    case ObjectType::kCycler: {
      const auto* cycler = static_cast<CyclerObject*>(object.o);
      if (name == "current") {
        *out = cycler->items[cycler->position];
        return true;
      }
      method = name == "next" ? &CyclerNext : name == "reset" ? &CyclerReset : nullptr;
      break;
    }
    default: return false;
  }
  if (method == nullptr) return false;
  *out = rt.Function(method, object);
  return true;
}

// Names that Python has and the sandbox refuses: they hide a key of the same name.
bool IsRefused(const Value& object, std::string_view name) {
  if (name.starts_with("__") && name.ends_with("__") && name.size() > 4) {
    static constexpr std::string_view kAlways[] = {
        "__class__", "__doc__", "__init__", "__dict__", "__module__",
        "__repr__",  "__str__", "__hash__", "__eq__",   "__getattribute__"};
    return std::find(std::begin(kAlways), std::end(kAlways), name) != std::end(kAlways);
  }
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  if (AsDict(object) != nullptr) {
    return name == "fromkeys" ||
           std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  }
  if (AsList(object) != nullptr) {
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  }
  return false;
}

// object[key] alone; false when Python raises LookupError or TypeError.
bool FindItem(Runtime& rt, const Value& object, const Value& key, Value* out) {
  if (const DictObject* dict = AsDict(object)) {
    if (!IsHashable(key) || !rt.ChargeWalk(key)) return false;
    const int64_t at = dict->Find(key);
    if (at < 0) return false;
    *out = dict->items[static_cast<size_t>(at)].second;
    return true;
  }
  if (!key.is_integral()) return false;
  const SequenceObject* sequence = AsSequence(object);
  const auto* range = AsObject<RangeObject>(object, ObjectType::kRange);
  if (sequence == nullptr && range == nullptr && !object.is_string()) return false;
  const int64_t length = rt.Length(object);
  int64_t at = key.as_int();
  if (at < -length || at >= length) return false;
  if (at < 0) at += length;
  if (sequence != nullptr) {
    *out = sequence->items[static_cast<size_t>(at)];
  } else if (range != nullptr) {
    *out = Value::Int(range->start + at * range->step);
  } else {
    const Str& str = *object.s;
    if (!str.ascii()) rt.Charge(str.text.size());
    const size_t begin = str.ByteOffset(at);
    size_t end = begin + 1;
    while (end < str.text.size() && (static_cast<unsigned char>(str.text[end]) & 0xC0) == 0x80)
      ++end;
    *out = rt.Slice(str, begin, end);
  }
  return true;
}

std::string Described(const Value& object) {
  if (object.is_none()) return "None";
  return std::string(TypeName(object)) + " object";
}

std::string NoAttribute(const Value& object, std::string_view name) {
  std::string out("'");
  out.append(Described(object)).append("' has no attribute '").append(name).append("'");
  return out;
}

}  // namespace

Value Runtime::GetAttribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) return UndefinedError(object);
  Value out;
  const bool hidden = name.starts_with('_') || IsRefused(object, name);
  if (!hidden && FindAttribute(*this, object, name, &out)) return out;
  if (IsRefused(object, name)) {
    return Undefined("access to attribute '" + std::string(name) + "' of '" + TypeName(object) +
                     "' object is unsafe");
  }
  if (const DictObject* dict = AsDict(object)) {
    const Value key = Text(name, true);
    const int64_t at = failed() ? -1 : dict->Find(key);
    if (at >= 0) return dict->items[static_cast<size_t>(at)].second;
  }
  return Undefined(NoAttribute(object, name));
}

Value Runtime::GetItem(const Value& object, const Value& key) {
  if (object.is_undefined()) return UndefinedError(object);
  Value out;
  if (FindItem(*this, object, key, &out)) return out;
  if (failed()) return {};
  if (key.is_string()) {
    const std::string& name = key.s->text;
    if (!name.starts_with('_') && !IsRefused(object, name) &&
        FindAttribute(*this, object, name, &out)) {
      return out;
    }
    return Undefined(NoAttribute(object, std::string_view(name).substr(0, 100)));
  }
  return Undefined(Described(object) + " has no such element");
}

}  // namespace rill::text::jinja
