// Tests: {{ value is name(args) }}.
#include <string>

#include "text/jinja/runtime.h"
#include "text/jinja/string_ops.h"

namespace rill::text::jinja {
namespace {

using Predicate = bool (*)(Runtime& rt, const Value& value);

template <Predicate kPredicate>
Value Unary(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  return BindArgs(rt, "test", args, {}, 0, slots) ? Value::Bool(kPredicate(rt, self)) : Value();
}

bool IsDefined(Runtime&, const Value& v) {
  return !v.is_undefined();
}
bool IsUndefined(Runtime&, const Value& v) {
  return v.is_undefined();
}
bool IsNone(Runtime&, const Value& v) {
  return v.is_none();
}
bool IsBoolean(Runtime&, const Value& v) {
  return v.is_bool();
}
bool IsTrue(Runtime&, const Value& v) {
  return v.is_bool() && v.b;
}
bool IsFalse(Runtime&, const Value& v) {
  return v.is_bool() && !v.b;
}
bool IsInteger(Runtime&, const Value& v) {
  return v.kind == Kind::kInt;
}
bool IsFloat(Runtime&, const Value& v) {
  return v.kind == Kind::kFloat;
}
bool IsString(Runtime&, const Value& v) {
  return v.is_string();
}
bool IsMapping(Runtime&, const Value& v) {
  return AsDict(v) != nullptr;
}
bool IsNumber(Runtime&, const Value& v) {
  return v.is_number();
}
// Has a length and can be indexed. A set of keys cannot.
bool IsSequence(Runtime& rt, const Value& v) {
  if (v.kind == Kind::kObject && v.o->type == ObjectType::kDictView) return false;
  return rt.HasLength(v);
}
bool IsIterableTest(Runtime& rt, const Value& v) {
  return rt.IsIterable(v) || (v.kind == Kind::kObject && v.o->type == ObjectType::kLoop);
}
bool IsCallable(Runtime&, const Value& v) {
  if (v.is_undefined()) return true;  // Undefined has __call__, which fails
  if (v.kind != Kind::kObject) return false;
  switch (v.o->type) {
    case ObjectType::kMacro:
    case ObjectType::kFunction:
    case ObjectType::kLoop:
    case ObjectType::kJoiner: return true;
    default: return false;
  }
}
bool IsEscaped(Runtime&, const Value& v) {
  return v.is_string() && v.s->markup;
}
bool IsLowerTest(Runtime& rt, const Value& v) {
  const Value text = rt.Str(v);
  return text.is_string() && IsCaseText(text.s->text, false);
}
bool IsUpperTest(Runtime& rt, const Value& v) {
  const Value text = rt.Str(v);
  return text.is_string() && IsCaseText(text.s->text, true);
}

Value Remainder(Runtime& rt, const Value& value, const Value& divisor, int64_t expected) {
  const Value rest = rt.Binary("%", value, divisor);
  return rt.failed() ? Value() : Value::Bool(ValuesEqual(rest, Value::Int(expected)));
}
Value IsOdd(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  return BindArgs(rt, "odd", args, {}, 0, slots) ? Remainder(rt, self, Value::Int(2), 1) : Value();
}
Value IsEven(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  return BindArgs(rt, "even", args, {}, 0, slots) ? Remainder(rt, self, Value::Int(2), 0) : Value();
}
Value IsDivisibleBy(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  return BindArgs(rt, "divisibleby", args, {"num"}, 1, slots) ? Remainder(rt, self, *slots[0], 0)
                                                              : Value();
}

Value IsFilterName(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "filter", args, {}, 0, slots)) return {};
  return Value::Bool(self.is_string() && (FindFilter(self.s->text) != nullptr ||
                                          IsKnownButUnsupportedFilter(self.s->text)));
}
Value IsTestName(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "test", args, {}, 0, slots)) return {};
  return Value::Bool(self.is_string() && FindTest(self.s->text) != nullptr);
}

Value IsSameAs(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "sameas", args, {"other"}, 1, slots)) return {};
  const Value& other = *slots[0];
  if (self.kind != other.kind) return Value::Bool(false);
  if (self.kind == Kind::kObject) return Value::Bool(self.o == other.o);
  return Value::Bool(!self.is_undefined() && ValuesEqual(self, other));
}

Value IsIn(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "in", args, {"seq"}, 1, slots)) return {};
  return Value::Bool(rt.Contains(*slots[0], self));
}

template <bool kEqual>
Value IsEqual(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "eq", args, {""}, 1, slots) || !rt.ChargeWalk(self)) return {};
  return Value::Bool(ValuesEqual(self, *slots[0]) == kEqual);
}

enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };

template <Order kOrder>
Value IsOrdered(Runtime& rt, const Value& self, Args& args) {
  const Value* slots[1];
  if (!BindArgs(rt, "compare", args, {""}, 1, slots)) return {};
  constexpr std::string_view kOps[] = {"<", "<=", ">", ">="};
  return Value::Bool(rt.Compare(self, *slots[0], kOps[static_cast<size_t>(kOrder)]));
}

struct Test {
  std::string_view name;
  Builtin call;
};

constexpr Test kTests[] = {
    {"!=", &IsEqual<false>},
    {"<", &IsOrdered<Order::kLess>},
    {"<=", &IsOrdered<Order::kLessEqual>},
    {"==", &IsEqual<true>},
    {">", &IsOrdered<Order::kGreater>},
    {">=", &IsOrdered<Order::kGreaterEqual>},
    {"boolean", &Unary<&IsBoolean>},
    {"callable", &Unary<&IsCallable>},
    {"defined", &Unary<&IsDefined>},
    {"divisibleby", &IsDivisibleBy},
    {"eq", &IsEqual<true>},
    {"equalto", &IsEqual<true>},
    {"escaped", &Unary<&IsEscaped>},
    {"even", &IsEven},
    {"false", &Unary<&IsFalse>},
    {"filter", &IsFilterName},
    {"float", &Unary<&IsFloat>},
    {"ge", &IsOrdered<Order::kGreaterEqual>},
    {"greaterthan", &IsOrdered<Order::kGreater>},
    {"gt", &IsOrdered<Order::kGreater>},
    {"in", &IsIn},
    {"integer", &Unary<&IsInteger>},
    {"iterable", &Unary<&IsIterableTest>},
    {"le", &IsOrdered<Order::kLessEqual>},
    {"lessthan", &IsOrdered<Order::kLess>},
    {"lower", &Unary<&IsLowerTest>},
    {"lt", &IsOrdered<Order::kLess>},
    {"mapping", &Unary<&IsMapping>},
    {"ne", &IsEqual<false>},
    {"none", &Unary<&IsNone>},
    {"number", &Unary<&IsNumber>},
    {"odd", &IsOdd},
    {"sameas", &IsSameAs},
    {"sequence", &Unary<&IsSequence>},
    {"string", &Unary<&IsString>},
    {"test", &IsTestName},
    {"true", &Unary<&IsTrue>},
    {"undefined", &Unary<&IsUndefined>},
    {"upper", &Unary<&IsUpperTest>},
};

}  // namespace

Builtin FindTest(std::string_view name) {
  for (const Test& test : kTests) {
    if (test.name == name) return test.call;
  }
  return nullptr;
}

}  // namespace rill::text::jinja
