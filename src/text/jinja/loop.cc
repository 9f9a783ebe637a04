#include "text/jinja/loop.h"

namespace rill::text::jinja {
namespace {

Value Cycle(Runtime& rt, const Value& self, Args& args) {
  const auto* loop = static_cast<LoopObject*>(self.o);
  if (args.positional.empty()) return rt.Fail("no items for cycling given");
  return args.positional[static_cast<size_t>(loop->index0) % args.positional.size()];
}

Value Changed(Runtime& rt, const Value& self, Args& args) {
  auto* loop = static_cast<LoopObject*>(self.o);
  const Value now = rt.Tuple(args.positional);
  const bool changed = !loop->has_changed_value || !ValuesEqual(loop->changed_value, now);
  loop->has_changed_value = true;
  loop->changed_value = now;
  return Value::Bool(changed);
}

}  // namespace

bool LoopObject::HasNext() {
  if (!ahead.empty()) return true;
  if (exhausted) return false;
  Value item;
  if (!pull(&item)) {
    exhausted = true;
    return false;
  }
  ahead.push_back(std::move(item));
  return true;
}

bool LoopObject::Advance() {
  if (!HasNext()) return false;
  before = std::move(current);
  current = std::move(ahead.front());
  ahead.pop_front();
  ++index0;
  return true;
}

int64_t LoopObject::Length(Runtime& rt) {
  if (known_length >= 0) return known_length;
  Value item;
  while (!exhausted && rt.Step()) {
    if (pull(&item)) {
      rt.ReserveMemory(sizeof(Value));
      ahead.push_back(item);
    } else {
      exhausted = true;
    }
  }
  known_length = index0 + 1 + static_cast<int64_t>(ahead.size());
  return known_length;
}

bool LoopObject::Attribute(Runtime& rt, std::string_view name, Value* out) {
  if (name == "index") {
    *out = Value::Int(index0 + 1);
  } else if (name == "index0") {
    *out = Value::Int(index0);
  } else if (name == "first") {
    *out = Value::Bool(index0 == 0);
  } else if (name == "last") {
    *out = Value::Bool(!HasNext());
  } else if (name == "length") {
    *out = Value::Int(Length(rt));
  } else if (name == "revindex") {
    *out = Value::Int(Length(rt) - index0);
  } else if (name == "revindex0") {
    *out = Value::Int(Length(rt) - index0 - 1);
  } else if (name == "depth") {
    *out = Value::Int(depth0 + 1);
  } else if (name == "depth0") {
    *out = Value::Int(depth0);
  } else if (name == "previtem") {
    *out = index0 == 0 ? rt.Undefined("there is no previous item") : before;
  } else if (name == "nextitem") {
    *out = HasNext() ? ahead.front() : rt.Undefined("there is no next item");
  } else if (name == "cycle") {
    *out = rt.Function(&Cycle, Value::Obj(this));
  } else if (name == "changed") {
    *out = rt.Function(&Changed, Value::Obj(this));
  } else {
    return false;
  }
  return true;
}

}  // namespace rill::text::jinja
