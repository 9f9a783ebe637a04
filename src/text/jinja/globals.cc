// Global functions: range, namespace, dict, cycler, joiner, raise_exception, strftime_now.
#include <algorithm>
#include <ctime>
#include <string>
#include <tuple>
#include <utility>

#include "text/jinja/runtime.h"

namespace rill::text::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2's sandbox allows no longer ones

Value Range(Runtime& rt, const Value&, Args& args) {
  if (!args.named.empty()) return rt.Fail("range() takes no keyword arguments");
  const Value* slots[3];
  if (!BindArgs(rt, "range", args, {"", "", ""}, 1, slots)) return {};
  int64_t numbers[3] = {0, 0, 1};
  if (args.positional.size() == 1) {
    if (!ReadInt(rt, *slots[0], "range()", &numbers[1])) return {};
  } else {
    for (size_t i = 0; i < args.positional.size(); ++i) {
      if (!ReadInt(rt, *slots[i], "range()", &numbers[i])) return {};
    }
  }
  const auto [start, stop, step] = std::tuple(numbers[0], numbers[1], numbers[2]);
  if (step == 0) return rt.Fail("range() step must not be zero");
  // In 128 bits, nothing overflows.
  const __int128 span =
      step > 0 ? static_cast<__int128>(stop) - start : static_cast<__int128>(start) - stop;
  const __int128 size = step > 0 ? static_cast<__int128>(step) : -static_cast<__int128>(step);
  const __int128 count = span <= 0 ? 0 : (span + size - 1) / size;
  if (count > kMaxRange) {
    return rt.Fail("range() of more than " + std::to_string(kMaxRange) + " items",
                   StatusCode::kResourceExhausted);
  }
  auto* range = rt.New<RangeObject>();
  range->start = start;
  range->stop = stop;
  range->step = step;
  range->count = static_cast<int64_t>(count);
  for (const Value& value : args.positional) range->tainted |= value.tainted;
  return Value::Obj(range);
}

// dict(mapping or pairs, **named) as a list of pairs.
bool DictPairs(Runtime& rt, Args& args, std::vector<std::pair<Value, Value>>* out) {
  if (args.positional.size() > 1) {
    rt.Fail("expected at most 1 argument, got " + std::to_string(args.positional.size()));
    return false;
  }
  if (!args.positional.empty()) {
    if (const DictObject* dict = AsDict(args.positional[0])) {
      if (!rt.Step(static_cast<int64_t>(dict->items.size()))) return false;
      *out = dict->items;
    } else {
      Iteration pairs(rt, args.positional[0]);
      Value pair;
      while (pairs.Next(&pair)) {
        std::vector<Value> items;
        if (!rt.Collect(pair, &items)) return false;
        if (items.size() != 2) {
          rt.Fail("expected pairs of key and value");
          return false;
        }
        out->emplace_back(items[0], items[1]);
      }
    }
  }
  for (auto& [name, value] : args.named) out->emplace_back(rt.Text(name, true), value);
  return !rt.failed();
}

Value Dict(Runtime& rt, const Value&, Args& args) {
  std::vector<std::pair<Value, Value>> pairs;
  if (!DictPairs(rt, args, &pairs)) return {};
  auto* dict = rt.New<DictObject>();
  for (const auto& [key, value] : pairs) rt.DictSet(dict, key, value);
  return rt.failed() ? Value() : Value::Obj(dict);
}

Value Namespace(Runtime& rt, const Value&, Args& args) {
  std::vector<std::pair<Value, Value>> pairs;
  if (!DictPairs(rt, args, &pairs)) return {};
  auto* ns = rt.New<NamespaceObject>();
  for (const auto& [key, value] : pairs) {
    if (!key.is_string()) continue;  // cannot be reached by name
    const std::string& name = key.s->text;
    if (name.starts_with('_')) {
      return rt.Fail("namespace attributes must not start with an underscore, got '" +
                     name.substr(0, 60) + "'");
    }
    if (!rt.Step()) return {};
    rt.ReserveMemory(sizeof(Value) + name.size() + 32);
    const auto old = std::find_if(ns->attributes.begin(), ns->attributes.end(),
                                  [&](const auto& item) { return item.first == name; });
    rt.Step(static_cast<int64_t>(ns->attributes.size() / 16));
    if (old != ns->attributes.end()) {
      old->second = value;
    } else {
      ns->attributes.emplace_back(name, value);
    }
  }
  return Value::Obj(ns);
}

Value Cycler(Runtime& rt, const Value&, Args& args) {
  if (!args.named.empty()) return rt.Fail("cycler() takes no keyword arguments");
  if (args.positional.empty()) return rt.Fail("at least one item has to be provided");
  auto* cycler = rt.New<CyclerObject>();
  cycler->items = std::move(args.positional);
  return Value::Obj(cycler);
}

Value Joiner(Runtime& rt, const Value&, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "joiner", args, {"sep"}, 0, slots)) return {};
  auto* joiner = rt.New<JoinerObject>();
  joiner->separator = slots[0] != nullptr ? *slots[0] : rt.Text(", ", true);
  return Value::Obj(joiner);
}

Value RaiseException(Runtime& rt, const Value&, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "raise_exception", args, {"message"}, 1, slots)) return {};
  const Value text = rt.Str(*slots[0]);
  return rt.failed() ? Value() : rt.Fail(text.s->text);
}

Value StrftimeNow(Runtime& rt, const Value&, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "strftime_now", args, {"format"}, 1, slots)) return {};
  if (!slots[0]->is_string()) return rt.Fail("strftime_now: expected a string");
  const auto now = static_cast<std::time_t>(rt.now_unix_s());
  std::tm local{};
  if (localtime_r(&now, &local) == nullptr)
    return rt.Fail("strftime_now: the clock is out of range");
  const std::string& format = slots[0]->s->text;
  std::string out;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out += format[at];
      continue;
    }
    // One directive at a time, so that a width cannot ask for a gigabyte.
    size_t end = at + 1;
    while (end < format.size() &&
           std::string_view("-_0^#EO").find(format[end]) != std::string_view::npos) {
      ++end;
    }
    const std::string directive = format.substr(at, end - at + 1);
    const char kind = directive.size() > 1 ? directive.back() : '\0';
    if (kind >= '1' && kind <= '9') return rt.Fail("strftime_now: widths are not supported");
    if (kind == 'f') {
      out += "000000";
    } else if (kind != 'z' && kind != 'Z') {  // both are empty: the time has no zone
      char buffer[200];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
      out.append(buffer, std::strftime(buffer, sizeof buffer, directive.c_str(), &local));
#pragma GCC diagnostic pop
    }
    at = end;
  }
  return rt.Text(out, slots[0]->s->AllTrusted());
}

struct Global {
  std::string_view name;
  Builtin call;
};

constexpr Global kGlobals[] = {
    {"cycler", &Cycler},
    {"dict", &Dict},
    {"joiner", &Joiner},
    {"namespace", &Namespace},
    {"range", &Range},
    {"raise_exception", &RaiseException},
    {"strftime_now", &StrftimeNow},
};

}  // namespace

Builtin FindGlobal(std::string_view name) {
  for (const Global& global : kGlobals) {
    if (global.name == name) return global.call;
  }
  return nullptr;
}

}  // namespace rill::text::jinja
