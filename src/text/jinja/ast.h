// Syntax tree of a template. Immutable once parsed; shared by all renders.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace rill::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind : uint8_t {
  kLiteral,  // literal
  kName,     // name
  kList,     // args
  kTuple,    // args
  kDict,     // args: key, value, key, value, …
  kChain,    // args joined by ops, left to right, one precedence level: + - | * / // % | **
  kConcat,   // args joined by ~
  kAnd,
  kOr,  // args
  kNot,
  kNegate,
  kPositive,     // args[0]
  kCompare,      // args[0] ops[0] args[1] ops[1] args[2] …
  kConditional,  // args: condition, then, else (may be absent)
  kAttribute,    // args[0].name
  kItem,         // args[0][args[1]]
  kSlice,        // args[0][args[1]:args[2]:args[3]], each may be null
  kCall,         // callee args[0]; call arguments in `call`
  kFilter,       // args[0] | name(call); args[0] is null at the head of a filter block
  kTest,         // args[0] is name(call)
};

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, star_star;  // *args, **kwargs
};

struct Expr {
  Expr(ExprKind kind, int line) : kind(kind), line(line) {}
  ExprKind kind;
  int line;
  int depth = 1;  // of this tree: bounded by TemplateLimits::max_depth
  Value literal;
  std::string name;
  std::vector<std::string> ops;
  std::vector<ExprPtr> args;
  std::unique_ptr<CallArgs> call;
  Builtin builtin = nullptr;  // kFilter, kTest: resolved by name; null when there is none
};

// Where an assignment goes: a name, a namespace attribute or a tuple of targets.
struct Target {
  int line = 1;
  std::string name;       // empty for a tuple
  std::string attribute;  // namespace attribute, or empty
  std::vector<Target> items;
  bool is_tuple = false;
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

enum class StmtKind : uint8_t {
  kText,         // expr: a literal
  kPrint,        // expr
  kSet,          // target = expr
  kSetBlock,     // target = body, through filter `expr` if any
  kIf,           // branches
  kFor,          // for target in expr if filter; body; otherwise
  kMacro,        // macro
  kCallBlock,    // call expr with `macro` as caller
  kFilterBlock,  // expr: filter chain over body
  kWith,         // assignments, body
  kScope,        // body in a scope of its own: {% generation %}, {% block %}, {% autoescape %}
  kBreak,
  kContinue,
};

struct MacroDef {
  std::string name;
  std::vector<std::string> params;
  std::vector<ExprPtr> defaults;  // of the last params
  Body body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};

struct Branch {
  ExprPtr condition;  // null for else
  Body body;
};

struct Stmt {
  Stmt(StmtKind kind, int line) : kind(kind), line(line) {}
  StmtKind kind;
  int line;
  ExprPtr expr;
  ExprPtr filter;
  Target target;
  Body body;
  Body otherwise;
  bool recursive = false;
  std::vector<Branch> branches;
  std::vector<std::pair<Target, ExprPtr>> assignments;
  std::unique_ptr<MacroDef> macro;
};

}  // namespace rill::text::jinja
