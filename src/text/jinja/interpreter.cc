#include "text/jinja/interpreter.h"

#include <algorithm>
#include <utility>

namespace rill::text::jinja {
namespace {

// Evaluation may nest this often per level of TemplateLimits::max_depth; at most about 1 KiB of
// C++ stack each.
constexpr int kNestingPerDepth = 10;

// More variables of one scope than this are found by a hash.
constexpr size_t kIndexFrom = 16;

}  // namespace

const Value* Scope::Find(const std::string& name) const {
  if (!index_.empty()) {
    const auto at = index_.find(name);
    return at == index_.end() ? nullptr : &variables_[at->second].second;
  }
  for (const auto& [key, value] : variables_) {
    if (key == name) return &value;
  }
  return nullptr;
}

void Scope::Set(const std::string& name, Value value) {
  if (const Value* old = Find(name)) {
    *const_cast<Value*>(old) = std::move(value);
    return;
  }
  variables_.emplace_back(name, std::move(value));
  if (!index_.empty()) {
    index_.emplace(name, variables_.size() - 1);
  } else if (variables_.size() > kIndexFrom) {
    for (size_t i = 0; i < variables_.size(); ++i) index_.emplace(variables_[i].first, i);
  }
}

Interpreter::Nested::Nested(Interpreter& interpreter) : interpreter_(interpreter) {
  const int limit = interpreter_.rt_.limits().max_depth * kNestingPerDepth;
  if (++interpreter_.nesting_ > limit) {
    interpreter_.rt_.Fail("evaluation nests deeper than " + std::to_string(limit) + " levels",
                          StatusCode::kResourceExhausted);
  }
}

Interpreter::ScopeGuard::ScopeGuard(Interpreter& interpreter, ScopePtr parent)
    : interpreter_(interpreter), saved_(std::move(interpreter.scope_)) {
  interpreter_.scope_ = std::make_shared<Scope>();
  interpreter_.scope_->parent = std::move(parent);
}

Value Interpreter::Render(const Body& body, std::vector<std::pair<std::string, Value>> variables) {
  scope_ = std::make_shared<Scope>();
  for (auto& [name, value] : variables) scope_->Set(name, std::move(value));
  Flow flow = Flow::kNext;
  Value text;
  {
    ScopeGuard guard(*this, scope_);  // the template's own variables hide the request's
    text = Capture(body, &flow);
  }
  return text;
}

Interpreter::Flow Interpreter::Run(const Body& body) {
  for (const auto& stmt : body) {
    rt_.line = stmt->line;
    if (!rt_.Step()) return Flow::kBreak;
    const Flow flow = RunStmt(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return rt_.failed() ? Flow::kBreak : Flow::kNext;
}

Interpreter::Flow Interpreter::RunStmt(const Stmt& stmt) {
  Nested nested(*this);
  if (rt_.failed()) return Flow::kBreak;
  switch (stmt.kind) {
    case StmtKind::kText: out_->Append(*stmt.expr->literal.s); return Flow::kNext;
    case StmtKind::kPrint: Print(Eval(*stmt.expr)); return Flow::kNext;
    case StmtKind::kSet: RunSet(stmt); return Flow::kNext;
    case StmtKind::kIf: return RunIf(stmt);
    case StmtKind::kFor: RunFor(stmt, Eval(*stmt.expr), 0); return Flow::kNext;
    case StmtKind::kMacro:
      scope_->Set(stmt.macro->name, Value::Obj(MakeMacro(*stmt.macro)));
      return Flow::kNext;
    case StmtKind::kCallBlock:
      Print(EvalCall(*stmt.expr, MakeMacro(*stmt.macro)));
      return Flow::kNext;
    case StmtKind::kWith: RunWith(stmt); return Flow::kNext;
    case StmtKind::kSetBlock:
    case StmtKind::kFilterBlock:
    case StmtKind::kScope: return RunCaptured(stmt);
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::RunIf(const Stmt& stmt) {
  for (const Branch& branch : stmt.branches) {
    if (branch.condition != nullptr && !Truthy(Eval(*branch.condition))) continue;
    return rt_.failed() ? Flow::kBreak : Run(branch.body);
  }
  return Flow::kNext;
}

// {% set x %}…{% endset %}, {% filter f %}…, {% generation %}…: run in a scope of its own, then
// the text is used. A break or continue inside drops the text.
Interpreter::Flow Interpreter::RunCaptured(const Stmt& stmt) {
  Flow flow = Flow::kNext;
  Value text;
  {
    ScopeGuard guard(*this, scope_);
    text = Capture(stmt.body, &flow);
    if (flow != Flow::kNext || rt_.failed()) return flow;
    if (stmt.expr != nullptr) text = EvalFilter(*stmt.expr, &text);
  }
  if (stmt.kind == StmtKind::kSetBlock) {
    Assign(stmt.target, text);
  } else {
    Print(text);
  }
  return Flow::kNext;
}

Value Interpreter::Capture(const Body& body, Flow* flow) {
  TextBuilder text = rt_.Builder();
  TextBuilder* outer = std::exchange(out_, &text);
  *flow = Run(body);
  out_ = outer;
  if (rt_.failed()) return {};
  return rt_.Take(std::move(text));
}

void Interpreter::Print(const Value& value) {
  if (rt_.failed()) return;
  const size_t before = out_->size();
  rt_.AppendStr(*out_, value);
  rt_.Charge(out_->size() - before);
  if (out_->overflowed()) {
    rt_.Fail("the output would be longer than " + std::to_string(rt_.limits().max_output_bytes) +
                 " bytes",
             StatusCode::kResourceExhausted);
  }
}

void Interpreter::RunSet(const Stmt& stmt) {
  const Value value = Eval(*stmt.expr);
  if (!rt_.failed()) Assign(stmt.target, value);
}

void Interpreter::Assign(const Target& target, const Value& value) {
  if (!target.is_tuple && target.attribute.empty()) {
    scope_->Set(target.name, value);
    return;
  }
  rt_.line = target.line;
  if (!target.is_tuple) {
    const Value* owner = nullptr;
    for (const Scope* scope = scope_.get(); scope != nullptr && owner == nullptr;
         scope = scope->parent.get()) {
      owner = scope->Find(target.name);
    }
    auto* ns =
        owner == nullptr ? nullptr : AsObject<NamespaceObject>(*owner, ObjectType::kNamespace);
    if (ns == nullptr) {
      rt_.Fail("cannot assign attribute '" + target.attribute + "' of '" + target.name +
               "': expected a namespace");
      return;
    }
    if (target.attribute.starts_with('_')) {
      rt_.Fail("namespace attributes must not start with an underscore, got '" + target.attribute +
               "'");
      return;
    }
    rt_.Step(static_cast<int64_t>(ns->attributes.size() / 16));
    for (auto& [name, old] : ns->attributes) {
      if (name == target.attribute) {
        old = value;
        return;
      }
    }
    rt_.ReserveMemory(sizeof(Value) + target.attribute.size());
    ns->attributes.emplace_back(target.attribute, value);
    return;
  }
  std::vector<Value> items;
  if (!rt_.Collect(value, &items)) return;
  if (items.size() != target.items.size()) {
    rt_.Fail("expected " + std::to_string(target.items.size()) + " values to unpack, got " +
             std::to_string(items.size()));
    return;
  }
  for (size_t i = 0; i < items.size(); ++i) Assign(target.items[i], items[i]);
}

void Interpreter::RunWith(const Stmt& stmt) {
  std::vector<Value> values;
  for (const auto& [target, expr] : stmt.assignments) values.push_back(Eval(*expr));
  if (rt_.failed()) return;
  ScopeGuard guard(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) Assign(stmt.assignments[i].first, values[i]);
  Run(stmt.body);
}

void Interpreter::RunFor(const Stmt& stmt, const Value& iterable, int64_t depth0) {
  if (rt_.failed()) return;
  auto* loop = rt_.New<LoopObject>();
  loop->depth0 = depth0;
  if (stmt.recursive) loop->statement = &stmt;
  loop->scope = scope_;
  Iteration items(rt_, iterable);
  if (rt_.failed()) return;
  if (stmt.filter == nullptr && rt_.HasLength(iterable)) loop->known_length = rt_.Length(iterable);
  // The filter sees the loop's targets and what is around the loop, and runs only when the next
  // item is asked for.
  loop->pull = [this, &stmt, &items, outer = scope_](Value* item) {
    while (items.Next(item)) {
      if (stmt.filter == nullptr) return true;
      ScopeGuard guard(*this, outer);
      Assign(stmt.target, *item);
      const bool keep = Truthy(Eval(*stmt.filter));
      if (rt_.failed()) return false;
      if (keep) return true;
    }
    return false;
  };
  RunLoopBody(stmt, loop);
  // A template may keep the loop variable; its items end with the loop.
  loop->pull = [](Value*) { return false; };
}

void Interpreter::RunLoopBody(const Stmt& stmt, LoopObject* loop) {
  const ScopePtr outer = scope_;
  bool ran = false;
  while (loop->Advance() && rt_.Step()) {
    ran = true;
    ScopeGuard guard(*this, outer);
    scope_->Set("loop", Value::Obj(loop));
    Assign(stmt.target, loop->current);
    if (Run(stmt.body) == Flow::kBreak) break;
  }
  if (!ran && !rt_.failed() && !stmt.otherwise.empty()) {
    ScopeGuard guard(*this, outer);
    Run(stmt.otherwise);
  }
}

MacroObject* Interpreter::MakeMacro(const MacroDef& def) {
  auto* macro = rt_.New<MacroObject>();
  macro->def = &def;
  macro->scope = scope_;
  return macro;
}

Value Interpreter::CallMacro(const MacroObject& macro, Args& args) {
  const MacroDef& def = *macro.def;
  if (++calls_ > rt_.limits().max_depth) {
    rt_.Fail("calls nest deeper than " + std::to_string(rt_.limits().max_depth) + " levels",
             StatusCode::kResourceExhausted);
  }
  const int line = rt_.line;
  Value text;
  if (!rt_.failed()) {
    ScopeGuard guard(*this, macro.scope);
    const size_t num_params = def.params.size();
    const auto take_named = [&](const std::string& name, Value* value) {
      rt_.Step(static_cast<int64_t>(args.named.size() / 16));
      for (auto it = args.named.begin(); it != args.named.end(); ++it) {
        if (it->first != name) continue;
        *value = std::move(it->second);
        args.named.erase(it);
        return true;
      }
      return false;
    };
    std::vector<size_t> missing;
    bool has_caller_param = false;
    for (size_t i = 0; i < num_params; ++i) {
      has_caller_param |= def.params[i] == "caller";
      Value value;
      if (i < args.positional.size()) {
        scope_->Set(def.params[i], args.positional[i]);
      } else if (take_named(def.params[i], &value)) {
        scope_->Set(def.params[i], std::move(value));
      } else {
        missing.push_back(i);
      }
    }
    if (def.uses_caller && !has_caller_param) {
      Value caller;
      if (!take_named("caller", &caller) || caller.is_none()) {
        caller = rt_.Undefined("No caller defined");
      }
      scope_->Set("caller", std::move(caller));
    }
    if (def.uses_kwargs) {
      auto* dict = rt_.New<DictObject>();
      for (auto& [name, value] : args.named) rt_.DictSet(dict, rt_.Text(name, true), value);
      scope_->Set("kwargs", Value::Obj(dict));
    } else if (!args.named.empty()) {
      rt_.Fail("macro '" + def.name + "' takes no keyword argument '" + args.named[0].first + "'");
    }
    if (def.uses_varargs) {
      const size_t used = std::min(num_params, args.positional.size());
      scope_->Set("varargs", rt_.Tuple({args.positional.begin() + static_cast<ptrdiff_t>(used),
                                        args.positional.end()}));
    } else if (args.positional.size() > num_params) {
      rt_.Fail("macro '" + def.name + "' takes at most " + std::to_string(num_params) +
               " argument(s), got " + std::to_string(args.positional.size()));
    }
    // Defaults see the parameters before them; a later one that is absent reads as undefined.
    for (const size_t i : missing) {
      scope_->Set(def.params[i],
                  rt_.Undefined("parameter '" + def.params[i] + "' was not provided"));
    }
    for (const size_t i : missing) {
      const size_t first_default = num_params - def.defaults.size();
      if (i >= first_default) scope_->Set(def.params[i], Eval(*def.defaults[i - first_default]));
    }
    Flow flow = Flow::kNext;
    if (!rt_.failed()) text = Capture(def.body, &flow);
  }
  if (!rt_.failed()) rt_.line = line;
  --calls_;
  return text;
}

// loop(items): the body of a recursive loop again, one level deeper.
Value Interpreter::CallLoop(LoopObject* loop, Args& args) {
  if (loop->statement == nullptr) {
    return rt_.Fail("expected {% for … recursive %} around a call of 'loop'");
  }
  if (args.positional.size() != 1 || !args.named.empty()) {
    return rt_.Fail("loop() takes one argument");
  }
  Value text;
  if (++calls_ > rt_.limits().max_depth) {
    rt_.Fail("calls nest deeper than " + std::to_string(rt_.limits().max_depth) + " levels",
             StatusCode::kResourceExhausted);
  } else {
    TextBuilder builder = rt_.Builder();
    TextBuilder* outer_out = std::exchange(out_, &builder);
    ScopePtr outer_scope = std::exchange(scope_, loop->scope);
    RunFor(*loop->statement, args.positional[0], loop->depth0 + 1);
    scope_ = std::move(outer_scope);
    out_ = outer_out;
    if (!rt_.failed()) text = rt_.Take(std::move(builder));
  }
  --calls_;
  return text;
}

}  // namespace rill::text::jinja
