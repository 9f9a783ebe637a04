#include "text/jinja/name_check.h"

#include <string>

#include "text/jinja/runtime.h"

namespace rill::text::jinja {
namespace {

class NameChecker {
 public:
  explicit NameChecker(std::string_view culprit) : culprit_(culprit) {}

  void Check(const Body& body, bool guarded) {
    for (const auto& stmt : body) Check(*stmt, guarded);
  }
  Status error() const { return error_; }

 private:
  void Check(const Stmt& stmt, bool guarded) {
    const bool new_frame =
        stmt.kind != StmtKind::kIf && stmt.kind != StmtKind::kPrint && stmt.kind != StmtKind::kSet;
    // The iterable of a for-loop and the call of a call block belong to the frame around.
    const bool expr_outside = stmt.kind == StmtKind::kFor || stmt.kind == StmtKind::kCallBlock;
    const bool inner = guarded && !new_frame;
    if (stmt.expr) Check(*stmt.expr, expr_outside ? guarded : inner);
    if (stmt.filter) Check(*stmt.filter, inner);
    for (const Branch& branch : stmt.branches) {
      if (branch.condition) Check(*branch.condition, true);
      Check(branch.body, true);
    }
    for (const auto& [target, value] : stmt.assignments) Check(*value, guarded);
    Check(stmt.body, inner);
    Check(stmt.otherwise, inner);
    if (stmt.macro) {
      for (const auto& value : stmt.macro->defaults) Check(*value, false);
      Check(stmt.macro->body, false);
    }
  }

  void Check(const Expr& expr, bool guarded) {
    if (expr.kind == ExprKind::kConditional) guarded = true;
    const bool is_filter = expr.kind == ExprKind::kFilter;
    if ((is_filter || expr.kind == ExprKind::kTest) && expr.builtin == nullptr && error_.ok()) {
      const std::string prefix = culprit_ + ":" + std::to_string(expr.line) + ": ";
      if (is_filter && IsKnownButUnsupportedFilter(expr.name)) {
        error_ = Unsupported(prefix + "filter '" + expr.name + "' is not supported");
      } else if (!guarded) {
        error_ = InvalidArgument(prefix + "expected a known " + (is_filter ? "filter" : "test") +
                                 ", got '" + expr.name + "'");
      }
    }
    for (const ExprPtr& arg : expr.args) {
      if (arg) Check(*arg, guarded);
    }
    if (expr.call == nullptr) return;
    for (const ExprPtr& arg : expr.call->positional) Check(*arg, guarded);
    for (const auto& [name, arg] : expr.call->named) Check(*arg, guarded);
    if (expr.call->star) Check(*expr.call->star, guarded);
    if (expr.call->star_star) Check(*expr.call->star_star, guarded);
  }

  const std::string culprit_;
  Status error_;
};

}  // namespace

Status CheckNames(const Body& body, std::string_view culprit) {
  NameChecker checker(culprit);
  checker.Check(body, false);
  return checker.error();
}

}  // namespace rill::text::jinja
