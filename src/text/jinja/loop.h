// LoopObject: the `loop` variable of {% for %}, and the source of its items.
//
// Items come one at a time, as jinja2's LoopContext takes them: `loop.last` and `loop.nextitem`
// look one ahead, `loop.length` reads the rest of an iterable that has no length.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "text/jinja/runtime.h"

namespace rill::text::jinja {

struct Scope;
struct Stmt;

struct LoopObject : Object {
  LoopObject() : Object(ObjectType::kLoop) {}

  std::function<bool(Value*)> pull;  // next item of the iterable, filter applied
  int64_t known_length = -1;         // when the iterable has one
  bool exhausted = false;
  std::deque<Value> ahead;  // read but not yet visited
  int64_t index0 = -1;
  int64_t depth0 = 0;
  Value current, before;
  bool has_changed_value = false;
  Value changed_value;
  const Stmt* statement = nullptr;  // the recursive {% for %}, or null
  std::shared_ptr<Scope> scope;     // around the loop

  // Visits the next item.
  bool Advance();
  bool HasNext();
  int64_t Length(Runtime& rt);
  // loop.<name>; false when there is no such attribute.
  bool Attribute(Runtime& rt, std::string_view name, Value* out);
};

}  // namespace rill::text::jinja
