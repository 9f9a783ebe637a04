// Interpreter: walks a template's syntax tree with the variables of one request.
//
// Scopes are those of jinja2: {% if %} makes none; each iteration of a for-loop, a macro, a block
// set, with, filter, call and generation do; assignments inside do not leak out.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/loop.h"
#include "text/jinja/runtime.h"

namespace rill::text::jinja {

struct Scope {
  std::shared_ptr<Scope> parent;

  const Value* Find(const std::string& name) const;  // here only
  void Set(const std::string& name, Value value);

 private:
  // In a row while they are few, as in nearly all scopes; a template may set as many as it has
  // bytes.
  std::vector<std::pair<std::string, Value>> variables_;
  std::unordered_map<std::string, size_t> index_;  // into variables_; empty while they are few
};

struct MacroObject : Object {
  MacroObject() : Object(ObjectType::kMacro) {}
  const MacroDef* def = nullptr;
  std::shared_ptr<Scope> scope;  // where it was defined
};

class Interpreter {
 public:
  explicit Interpreter(Runtime& rt) : rt_(rt) {}

  // The rendered text, or undefined with rt.failed().
  Value Render(const Body& body, std::vector<std::pair<std::string, Value>> variables);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  using ScopePtr = std::shared_ptr<Scope>;

  // Nesting of evaluation: bounds the C++ stack.
  class Nested {
   public:
    explicit Nested(Interpreter& interpreter);
    ~Nested() { --interpreter_.nesting_; }

   private:
    Interpreter& interpreter_;
  };
  // A scope below the current one, for the life of this object.
  class ScopeGuard {
   public:
    ScopeGuard(Interpreter& interpreter, ScopePtr parent);
    ~ScopeGuard() { interpreter_.scope_ = std::move(saved_); }

   private:
    Interpreter& interpreter_;
    ScopePtr saved_;
  };

  Flow Run(const Body& body);
  Flow RunStmt(const Stmt& stmt);
  Flow RunIf(const Stmt& stmt);
  Flow RunCaptured(const Stmt& stmt);
  void RunFor(const Stmt& stmt, const Value& iterable, int64_t depth0);
  void RunLoopBody(const Stmt& stmt, LoopObject* loop);
  void RunSet(const Stmt& stmt);
  void RunWith(const Stmt& stmt);
  void Assign(const Target& target, const Value& value);
  void Print(const Value& value);
  // What `body` writes, as a string.
  Value Capture(const Body& body, Flow* flow);

  Value Eval(const Expr& expr);
  Value EvalName(const Expr& expr);
  Value EvalSequence(const Expr& expr);
  Value EvalDict(const Expr& expr);
  Value EvalChain(const Expr& expr);
  Value EvalConcat(const Expr& expr);
  Value EvalLogic(const Expr& expr);
  Value EvalCompare(const Expr& expr);
  Value EvalConditional(const Expr& expr);
  Value EvalSlice(const Expr& expr);
  Value EvalCall(const Expr& expr, MacroObject* caller);
  Value EvalFilter(const Expr& expr, const Value* block_text);
  Value EvalTest(const Expr& expr);
  bool EvalArgs(const CallArgs& call, Args* args);
  Value Call(const Value& callee, Args& args);
  Value CallMacro(const MacroObject& macro, Args& args);
  Value CallLoop(LoopObject* loop, Args& args);
  MacroObject* MakeMacro(const MacroDef& def);

  Runtime& rt_;
  ScopePtr scope_;
  TextBuilder* out_ = nullptr;
  int nesting_ = 0;
  int calls_ = 0;  // macros and recursive loops being run
};

}  // namespace rill::text::jinja
