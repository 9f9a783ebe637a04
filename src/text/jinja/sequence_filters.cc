#include "text/jinja/sequence_filters.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "text/jinja/string_ops.h"

namespace rill::text::jinja::sequence {
namespace {

// item.a.0.b for "a.0.b", as the attribute arguments of filters mean it.
class AttributeGetter {
 public:
  AttributeGetter() = default;  // the item itself
  AttributeGetter(Runtime& rt, const Value* attribute, const Value* fallback = nullptr) {
    if (fallback != nullptr && !fallback->is_none()) fallback_ = *fallback;
    if (attribute == nullptr || attribute->is_none()) return;
    if (!attribute->is_string()) {
      parts_.push_back(*attribute);
      return;
    }
    const Str& path = *attribute->s;
    rt.Charge(path.text.size() * 16);
    size_t begin = 0;
    while (!rt.failed()) {
      const size_t end = std::min(path.text.find('.', begin), path.text.size());
      const std::string_view part = std::string_view(path.text).substr(begin, end - begin);
      const bool digits = !part.empty() && part.size() < 18 &&
                          part.find_first_not_of("0123456789") == std::string_view::npos;
      if (digits) {
        parts_.push_back(Value::Int(std::stoll(std::string(part))));
      } else {
        parts_.push_back(rt.Slice(path, begin, end));
      }
      if (end == path.text.size()) break;
      begin = end + 1;
    }
  }

  Value Get(Runtime& rt, Value item) const {
    for (const Value& part : parts_) {
      if (!rt.Step()) return {};
      item = rt.GetItem(item, part);
      if (item.is_undefined() && !fallback_.is_undefined()) item = fallback_;
    }
    return item;
  }

 private:
  std::vector<Value> parts_;
  Value fallback_;
};

Value IgnoreCase(Runtime& rt, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.is_string()) return value;
  return MapCase(rt, *value.s, CaseMap::kLower);
}

bool Flag(const Value* value) {
  return value != nullptr && Truthy(*value);
}

}  // namespace

Value ToList(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  std::vector<Value> items;
  if (!BindArgs(rt, "list", args, {}, 0, slots) || !rt.Collect(self, &items)) return {};
  return rt.List(std::move(items));
}

Value Items(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "items", args, {}, 0, slots)) return {};
  // The type is checked when the first item is asked for, as in a generator.
  size_t at = 0;
  return rt.Iterator([&rt, self, at](Value* out) mutable {
    if (self.is_undefined()) return false;
    const DictObject* dict = AsDict(self);
    if (dict == nullptr) {
      rt.Fail("Can only get item pairs from a mapping.");
      return false;
    }
    if (at >= dict->items.size()) return false;
    const auto& [key, value] = dict->items[at++];
    *out = rt.Tuple({key, value});
    return true;
  });
}

Value First(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "first", args, {}, 0, slots)) return {};
  Iteration items(rt, self);
  Value item;
  if (items.Next(&item)) return item;
  return rt.Undefined("No first item, sequence was empty.");
}

Value Last(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "last", args, {}, 0, slots)) return {};
  if (!rt.HasLength(self)) {
    return rt.Fail(std::string("'") + TypeName(self) + "' object is not reversible");
  }
  const int64_t length = rt.Length(self);
  if (length == 0) return rt.Undefined("No last item, sequence was empty.");
  if (AsDict(self) == nullptr &&
      (self.kind != Kind::kObject || self.o->type != ObjectType::kDictView)) {
    Value item = rt.GetItem(self, Value::Int(length - 1));
    if (item.is_string() && item.s->markup && self.is_string()) item = rt.Str(item);
    return item;
  }
  Iteration items(rt, self);
  Value item;
  while (items.Next(&item)) {
  }
  return item;
}

Value Reverse(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "reverse", args, {}, 0, slots)) return {};
  if (self.is_string()) return rt.GetSlice(self, Value::None(), Value::None(), Value::Int(-1));
  if (!rt.IsIterable(self)) return rt.Fail("reverse: argument must be iterable");
  const bool is_iterator = self.kind == Kind::kObject && self.o->type == ObjectType::kIterator;
  auto items = std::make_shared<std::vector<Value>>();
  if (!rt.Collect(self, items.get())) return {};
  if (is_iterator) {
    std::reverse(items->begin(), items->end());
    return rt.List(std::move(*items));
  }
  return rt.Iterator(
      [items](Value* out) {
        if (items->empty()) return false;
        *out = std::move(items->back());
        items->pop_back();
        return true;
      },
      "reversed");
}

Value Join(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  if (!BindArgs(rt, "join", args, {"d", "attribute"}, 0, slots)) return {};
  const AttributeGetter getter(rt, slots[1]);
  const Value separator = slots[0] != nullptr ? rt.Str(*slots[0]) : rt.Text("", true);
  if (rt.failed()) return {};
  TextBuilder out = rt.Builder();
  Iteration items(rt, self);
  Value item;
  for (bool first = true; items.Next(&item); first = false) {
    if (!first) out.Append(*separator.s);
    const size_t before = out.size();
    rt.AppendStr(out, getter.Get(rt, item));
    rt.Charge(out.size() - before);
    if (out.overflowed()) break;
  }
  return rt.failed() ? Value() : rt.Take(std::move(out));
}

Value DictSort(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  if (!BindArgs(rt, "dictsort", args, {"case_sensitive", "by", "reverse"}, 0, slots)) return {};
  std::string by = "key";
  if (slots[1] != nullptr) by = slots[1]->is_string() ? slots[1]->s->text : "";
  if (by != "key" && by != "value") return rt.Fail("dictsort: expected by='key' or by='value'");
  const DictObject* dict = AsDict(self);
  if (dict == nullptr) {
    if (self.is_undefined()) return rt.UndefinedError(self);
    return rt.Fail(std::string("dictsort: expected a dict, got '") + TypeName(self) + "'");
  }
  std::vector<Value> items, keys;
  for (const auto& [key, value] : dict->items) {
    if (!rt.Step()) return {};
    items.push_back(rt.Tuple({key, value}));
    keys.push_back(IgnoreCase(rt, by == "key" ? key : value, Flag(slots[0])));
  }
  SortByKeys(rt, items, keys, Flag(slots[2]));
  return rt.failed() ? Value() : rt.List(std::move(items));
}

Value Sort(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  if (!BindArgs(rt, "sort", args, {"reverse", "case_sensitive", "attribute"}, 0, slots)) return {};
  // Several attributes: "a,b".
  std::vector<AttributeGetter> getters;
  if (slots[2] != nullptr && slots[2]->is_string()) {
    const Str& list = *slots[2]->s;
    size_t begin = 0;
    while (!rt.failed()) {
      const size_t end = std::min(list.text.find(',', begin), list.text.size());
      const Value part = rt.Slice(list, begin, end);
      getters.emplace_back(rt, &part);
      if (end == list.text.size()) break;
      begin = end + 1;
    }
  } else {
    getters.emplace_back(rt, slots[2]);
  }
  std::vector<Value> items, keys;
  if (!rt.Collect(self, &items)) return {};
  for (const Value& item : items) {
    std::vector<Value> key;
    for (const AttributeGetter& getter : getters) {
      key.push_back(IgnoreCase(rt, getter.Get(rt, item), Flag(slots[1])));
    }
    if (!rt.Step()) return {};
    keys.push_back(rt.List(std::move(key)));
  }
  SortByKeys(rt, items, keys, Flag(slots[0]));
  return rt.failed() ? Value() : rt.List(std::move(items));
}

Value Unique(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  if (!BindArgs(rt, "unique", args, {"case_sensitive", "attribute"}, 0, slots)) return {};
  const bool case_sensitive = Flag(slots[0]);
  auto getter = std::make_shared<AttributeGetter>(rt, slots[1]);
  auto* seen = rt.New<DictObject>();
  std::shared_ptr<Iteration> items;
  return rt.Iterator([&rt, self, case_sensitive, getter, seen, items](Value* out) mutable {
    if (items == nullptr) items = std::make_shared<Iteration>(rt, self);
    while (items->Next(out)) {
      const Value key = IgnoreCase(rt, getter->Get(rt, *out), case_sensitive);
      if (!IsHashable(key)) {
        rt.Fail(std::string("unhashable type: '") + TypeName(key) + "'");
        return false;
      }
      if (!rt.ChargeWalk(key)) return false;
      if (seen->Find(key) >= 0) continue;
      rt.DictSet(seen, key, Value::None());
      return !rt.failed();
    }
    return false;
  });
}

namespace {

Value Extreme(Runtime& rt, const Value& self, Args& args, std::string_view better) {
  const Value* slots[2];
  if (!BindArgs(rt, "min/max", args, {"case_sensitive", "attribute"}, 0, slots)) return {};
  const AttributeGetter getter(rt, slots[1]);
  Iteration items(rt, self);
  Value item, best, best_key;
  for (bool first = true; items.Next(&item); first = false) {
    const Value key = IgnoreCase(rt, getter.Get(rt, item), Flag(slots[0]));
    if (first || rt.Compare(key, best_key, better)) {
      best = item;
      best_key = key;
    }
    if (rt.failed()) return {};
    if (first) item = {};
  }
  if (rt.failed()) return {};
  if (best.is_undefined() && best.s == nullptr) {
    return rt.Undefined("No aggregated item, sequence was empty.");
  }
  return best;
}

}  // namespace

Value Min(Runtime& rt, const Value& self, Args& args) {
  return Extreme(rt, self, args, "<");
}
Value Max(Runtime& rt, const Value& self, Args& args) {
  return Extreme(rt, self, args, ">");
}

Value Sum(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  if (!BindArgs(rt, "sum", args, {"attribute", "start"}, 0, slots)) return {};
  const AttributeGetter getter(rt, slots[0]);
  Value total = slots[1] != nullptr ? *slots[1] : Value::Int(0);
  if (total.is_string()) return rt.Fail("sum() can't sum strings");
  Iteration items(rt, self);
  Value item;
  while (items.Next(&item)) total = rt.Binary("+", total, getter.Get(rt, item));
  return rt.failed() ? Value() : total;
}

Value GroupBy(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[3];
  if (!BindArgs(rt, "groupby", args, {"attribute", "default", "case_sensitive"}, 1, slots))
    return {};
  const AttributeGetter getter(rt, slots[0], slots[1]);
  const bool case_sensitive = Flag(slots[2]);
  std::vector<Value> items, keys;
  if (!rt.Collect(self, &items)) return {};
  for (const Value& item : items)
    keys.push_back(IgnoreCase(rt, getter.Get(rt, item), case_sensitive));
  SortByKeys(rt, items, keys, false);
  std::vector<Value> groups, members;
  Value key;
  const auto flush = [&] {
    if (members.empty()) return;
    const Value shown = case_sensitive ? key : getter.Get(rt, members[0]);
    const Value group = rt.Tuple({shown, rt.List(std::exchange(members, {}))});
    static_cast<SequenceObject*>(group.o)->is_group = true;
    groups.push_back(group);
  };
  for (const Value& item : items) {
    const Value item_key = IgnoreCase(rt, getter.Get(rt, item), case_sensitive);
    if (!rt.ChargeWalk(item_key)) return {};
    if (!members.empty() && !ValuesEqual(item_key, key)) flush();
    key = item_key;
    members.push_back(item);
  }
  flush();
  return rt.failed() ? Value() : rt.List(std::move(groups));
}

Value Batch(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  int64_t count = 0;
  if (!BindArgs(rt, "batch", args, {"linecount", "fill_with"}, 1, slots) ||
      !ReadInt(rt, *slots[0], "batch()", &count)) {
    return {};
  }
  const Value fill = slots[1] != nullptr ? *slots[1] : Value::None();
  auto items = std::make_shared<std::vector<Value>>();
  auto batches = std::make_shared<std::vector<Value>>();
  if (!rt.Collect(self, items.get())) return {};
  std::vector<Value> batch;
  for (const Value& item : *items) {
    if (static_cast<int64_t>(batch.size()) == count)
      batches->push_back(rt.List(std::exchange(batch, {})));
    batch.push_back(item);
  }
  if (!batch.empty()) {
    while (!fill.is_none() && static_cast<int64_t>(batch.size()) < count && rt.Step()) {
      rt.ReserveMemory(sizeof(Value));
      batch.push_back(fill);
    }
    batches->push_back(rt.List(std::move(batch)));
  }
  return rt.Iterator([batches, at = size_t{0}](Value* out) mutable {
    if (at >= batches->size()) return false;
    *out = (*batches)[at++];
    return true;
  });
}

Value Slice(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[2];
  int64_t count = 0;
  if (!BindArgs(rt, "slice", args, {"slices", "fill_with"}, 1, slots) ||
      !ReadInt(rt, *slots[0], "slice()", &count)) {
    return {};
  }
  if (count == 0) return rt.Fail("slice: division by zero");
  const Value fill = slots[1] != nullptr ? *slots[1] : Value::None();
  std::vector<Value> items;
  if (!rt.Collect(self, &items)) return {};
  auto slices = std::make_shared<std::vector<Value>>();
  const auto size = static_cast<int64_t>(items.size());
  const int64_t each = count > 0 ? size / count : 0, extra = count > 0 ? size % count : 0;
  int64_t begin = 0;
  for (int64_t i = 0; i < count && rt.Step(); ++i) {
    const int64_t end = begin + each + (i < extra ? 1 : 0);
    std::vector<Value> part(items.begin() + begin, items.begin() + end);
    if (!fill.is_none() && i >= extra) part.push_back(fill);
    slices->push_back(rt.List(std::move(part)));
    begin = end;
  }
  return rt.Iterator([slices, at = size_t{0}](Value* out) mutable {
    if (at >= slices->size()) return false;
    *out = (*slices)[at++];
    return true;
  });
}

Value Map(Runtime& rt, const Value& self, Args& args) {
  struct State {
    std::unique_ptr<Iteration> items;
    AttributeGetter getter;
    Builtin filter = nullptr;
    Args args;
    bool ready = false;
  };
  auto state = std::make_shared<State>();
  state->args = std::move(args);
  return rt.Iterator([&rt, self, state](Value* out) {
    if (!state->ready) {
      state->ready = true;
      if (!Truthy(self)) return false;
      Args& call = state->args;
      if (call.positional.empty() && !call.named.empty()) {
        const Value* slots[2];
        if (!BindArgs(rt, "map", call, {"attribute", "default"}, 1, slots)) return false;
        state->getter = AttributeGetter(rt, slots[0], slots[1]);
      } else {
        if (call.positional.empty() || !call.positional[0].is_string()) {
          rt.Fail("map requires a filter argument");
          return false;
        }
        const std::string& name = call.positional[0].s->text;
        state->filter = FindFilter(name);
        if (state->filter == nullptr) {
          rt.Fail("map: expected a known filter, got '" + name.substr(0, 60) + "'");
          return false;
        }
        call.positional.erase(call.positional.begin());
      }
      state->items = std::make_unique<Iteration>(rt, self);
    }
    Value item;
    if (state->items == nullptr || !state->items->Next(&item)) return false;
    if (state->filter == nullptr) {
      *out = state->getter.Get(rt, item);
    } else {
      Args call = state->args;
      *out = state->filter(rt, item, call);
    }
    return !rt.failed();
  });
}

namespace {

Value Choose(Runtime& rt, const Value& self, Args& args, bool keep, bool by_attribute) {
  struct State {
    std::unique_ptr<Iteration> items;
    AttributeGetter getter;
    Builtin test = nullptr;  // null: truth
    Args args;
    bool ready = false;
  };
  auto state = std::make_shared<State>();
  state->args = std::move(args);
  return rt.Iterator([&rt, self, state, keep, by_attribute](Value* out) {
    if (!state->ready) {
      state->ready = true;
      if (!Truthy(self)) return false;
      auto& call = state->args.positional;
      if (by_attribute) {
        if (call.empty()) {
          rt.Fail("Missing parameter for attribute name");
          return false;
        }
        state->getter = AttributeGetter(rt, &call[0]);
        call.erase(call.begin());
      }
      if (!call.empty()) {
        const std::string name = call[0].is_string() ? call[0].s->text : "";
        state->test = FindTest(name);
        if (state->test == nullptr) {
          rt.Fail("select: expected a known test, got '" + name.substr(0, 60) + "'");
          return false;
        }
        call.erase(call.begin());
      }
      state->items = std::make_unique<Iteration>(rt, self);
    }
    while (state->items != nullptr && state->items->Next(out)) {
      const Value tested = state->getter.Get(rt, *out);
      if (rt.failed()) return false;
      bool holds = false;
      if (state->test == nullptr) {
        holds = Truthy(tested);
      } else {
        Args call = state->args;
        holds = Truthy(state->test(rt, tested, call));
      }
      if (rt.failed()) return false;
      if (holds == keep) return true;
    }
    return false;
  });
}

}  // namespace

Value Select(Runtime& rt, const Value& self, Args& args) {
  return Choose(rt, self, args, true, false);
}
Value Reject(Runtime& rt, const Value& self, Args& args) {
  return Choose(rt, self, args, false, false);
}
Value SelectAttr(Runtime& rt, const Value& self, Args& args) {
  return Choose(rt, self, args, true, true);
}
Value RejectAttr(Runtime& rt, const Value& self, Args& args) {
  return Choose(rt, self, args, false, true);
}

}  // namespace rill::text::jinja::sequence
