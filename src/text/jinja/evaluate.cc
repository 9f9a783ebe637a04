// Interpreter: expressions.
#include <algorithm>
#include <utility>

#include "text/jinja/interpreter.h"

namespace rill::text::jinja {

Value Interpreter::Eval(const Expr& expr) {
  Nested nested(*this);
  if (!rt_.Step()) return {};
  rt_.line = expr.line;
  switch (expr.kind) {
    case ExprKind::kLiteral: return expr.literal;
    case ExprKind::kName: return EvalName(expr);
    case ExprKind::kList:
    case ExprKind::kTuple: return EvalSequence(expr);
    case ExprKind::kDict: return EvalDict(expr);
    case ExprKind::kChain: return EvalChain(expr);
    case ExprKind::kConcat: return EvalConcat(expr);
    case ExprKind::kAnd:
    case ExprKind::kOr: return EvalLogic(expr);
    case ExprKind::kNot: return Value::Bool(!Truthy(Eval(*expr.args[0])));
    case ExprKind::kNegate: return rt_.Negate(Eval(*expr.args[0]));
    case ExprKind::kPositive: return rt_.Positive(Eval(*expr.args[0]));
    case ExprKind::kCompare: return EvalCompare(expr);
    case ExprKind::kConditional: return EvalConditional(expr);
    case ExprKind::kAttribute: {
      const Value object = Eval(*expr.args[0]);
      rt_.line = expr.line;
      return rt_.failed() ? Value() : rt_.GetAttribute(object, expr.name);
    }
    case ExprKind::kItem: {
      const Value object = Eval(*expr.args[0]);
      const Value key = Eval(*expr.args[1]);
      rt_.line = expr.line;
      return rt_.failed() ? Value() : rt_.GetItem(object, key);
    }
    case ExprKind::kSlice: return EvalSlice(expr);
    case ExprKind::kCall: return EvalCall(expr, nullptr);
    case ExprKind::kFilter: return EvalFilter(expr, nullptr);
    case ExprKind::kTest: return EvalTest(expr);
  }
  return {};
}

Value Interpreter::EvalName(const Expr& expr) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    if (const Value* value = scope->Find(expr.name)) return *value;
  }
  if (const Builtin global = FindGlobal(expr.name)) return rt_.Function(global);
  return rt_.Undefined("'" + expr.name + "' is undefined");
}

Value Interpreter::EvalSequence(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.args.size());
  for (const ExprPtr& arg : expr.args) {
    items.push_back(Eval(*arg));
    if (rt_.failed()) return {};
  }
  return expr.kind == ExprKind::kList ? rt_.List(std::move(items)) : rt_.Tuple(std::move(items));
}

Value Interpreter::EvalDict(const Expr& expr) {
  auto* dict = rt_.New<DictObject>();
  for (size_t i = 0; i + 1 < expr.args.size() && !rt_.failed(); i += 2) {
    const Value key = Eval(*expr.args[i]);
    const Value value = Eval(*expr.args[i + 1]);
    if (!rt_.failed()) rt_.DictSet(dict, key, value);
  }
  return Value::Obj(dict);
}

Value Interpreter::EvalChain(const Expr& expr) {
  Value left = Eval(*expr.args[0]);
  for (size_t i = 0; i < expr.ops.size() && !rt_.failed(); ++i) {
    const Value right = Eval(*expr.args[i + 1]);
    if (rt_.failed()) break;
    rt_.line = expr.args[i + 1]->line;
    left = rt_.Binary(expr.ops[i], left, right);
  }
  return left;
}

Value Interpreter::EvalConcat(const Expr& expr) {
  TextBuilder builder = rt_.Builder();
  for (const ExprPtr& arg : expr.args) {
    const Value piece = Eval(*arg);
    if (rt_.failed()) return {};
    rt_.AppendStr(builder, piece);
  }
  return rt_.Take(std::move(builder));
}

Value Interpreter::EvalLogic(const Expr& expr) {
  const bool is_and = expr.kind == ExprKind::kAnd;
  Value value;
  for (const ExprPtr& arg : expr.args) {
    value = Eval(*arg);
    if (rt_.failed() || Truthy(value) != is_and) break;
  }
  return value;
}

Value Interpreter::EvalCompare(const Expr& expr) {
  Value left = Eval(*expr.args[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = Eval(*expr.args[i + 1]);
    if (rt_.failed()) return {};
    rt_.line = expr.line;
    const std::string& op = expr.ops[i];
    bool holds = false;
    if (op == "==" || op == "!=") {
      if (!rt_.ChargeWalk(left)) return {};
      holds = ValuesEqual(left, right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      holds = rt_.Contains(right, left) == (op == "in");
    } else {
      holds = rt_.Compare(left, right, op);
    }
    if (rt_.failed() || !holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value Interpreter::EvalConditional(const Expr& expr) {
  const bool holds = Truthy(Eval(*expr.args[0]));
  if (rt_.failed()) return {};
  if (holds) return Eval(*expr.args[1]);
  if (expr.args.size() > 2) return Eval(*expr.args[2]);
  return rt_.Undefined("the inline if-expression was false and has no else");
}

Value Interpreter::EvalSlice(const Expr& expr) {
  Value parts[4];
  for (size_t i = 0; i < 4; ++i) {
    parts[i] = expr.args[i] != nullptr ? Eval(*expr.args[i]) : Value::None();
  }
  rt_.line = expr.line;
  return rt_.failed() ? Value() : rt_.GetSlice(parts[0], parts[1], parts[2], parts[3]);
}

bool Interpreter::EvalArgs(const CallArgs& call, Args* args) {
  for (const ExprPtr& arg : call.positional) {
    args->positional.push_back(Eval(*arg));
    if (rt_.failed()) return false;
  }
  if (call.star != nullptr) {
    const Value more = Eval(*call.star);
    if (rt_.failed() || !rt_.Collect(more, &args->positional)) return false;
  }
  for (const auto& [name, arg] : call.named) {
    args->named.emplace_back(name, Eval(*arg));
    if (rt_.failed()) return false;
  }
  if (call.star_star == nullptr) return true;
  const Value more = Eval(*call.star_star);
  if (rt_.failed()) return false;
  const DictObject* dict = AsDict(more);
  if (dict == nullptr) {
    rt_.Fail(std::string("expected a dict after **, got '") + TypeName(more) + "'");
    return false;
  }
  for (const auto& [key, value] : dict->items) {
    if (!key.is_string()) {
      rt_.Fail("expected strings as keys of a dict after **");
      return false;
    }
    rt_.Step(static_cast<int64_t>(args->named.size() / 16));
    for (const auto& [name, old] : args->named) {
      if (name == key.s->text) {
        rt_.Fail("got multiple values for keyword argument '" + name + "'");
        return false;
      }
    }
    if (!rt_.Step()) return false;
    args->named.emplace_back(key.s->text, value);
  }
  return true;
}

Value Interpreter::EvalCall(const Expr& expr, MacroObject* caller) {
  const Value callee = Eval(*expr.args[0]);
  if (rt_.failed()) return {};
  Args args;
  if (!EvalArgs(*expr.call, &args)) return {};
  if (caller != nullptr) args.named.emplace_back("caller", Value::Obj(caller));
  rt_.line = expr.line;
  return Call(callee, args);
}

Value Interpreter::Call(const Value& callee, Args& args) {
  if (callee.is_undefined()) return rt_.UndefinedError(callee);
  if (callee.kind == Kind::kObject) {
    switch (callee.o->type) {
      case ObjectType::kMacro: return CallMacro(*static_cast<MacroObject*>(callee.o), args);
      case ObjectType::kLoop: return CallLoop(static_cast<LoopObject*>(callee.o), args);
      case ObjectType::kFunction: {
        const auto* function = static_cast<FunctionObject*>(callee.o);
        return function->call(rt_, function->self, args);
      }
      case ObjectType::kJoiner: {
        auto* joiner = static_cast<JoinerObject*>(callee.o);
        if (joiner->used) return joiner->separator;
        joiner->used = true;
        return rt_.Text("", true);
      }
      default: break;
    }
  }
  return rt_.Fail(std::string("'") + TypeName(callee) + "' object is not callable");
}

Value Interpreter::EvalFilter(const Expr& expr, const Value* block_text) {
  Value input;
  if (expr.args[0] == nullptr) {
    if (block_text == nullptr) return rt_.Fail("filter without a value");
    input = *block_text;
  } else if (block_text != nullptr && expr.args[0]->kind == ExprKind::kFilter) {
    Nested nested(*this);
    input = EvalFilter(*expr.args[0], block_text);
  } else {
    input = Eval(*expr.args[0]);
  }
  if (rt_.failed()) return {};
  if (expr.builtin == nullptr) {
    rt_.line = expr.line;
    return rt_.Fail("expected a known filter, got '" + expr.name + "'");
  }
  Args args;
  if (!EvalArgs(*expr.call, &args)) return {};
  rt_.line = expr.line;
  return expr.builtin(rt_, input, args);
}

Value Interpreter::EvalTest(const Expr& expr) {
  const Value value = Eval(*expr.args[0]);
  if (rt_.failed()) return {};
  if (expr.builtin == nullptr) {
    rt_.line = expr.line;
    return rt_.Fail("expected a known test, got '" + expr.name + "'");
  }
  Args args;
  if (!EvalArgs(*expr.call, &args)) return {};
  rt_.line = expr.line;
  return expr.builtin(rt_, value, args);
}

}  // namespace rill::text::jinja
