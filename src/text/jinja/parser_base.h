// Internal: the token cursor and expression half of the parser (parser_expression.cc); statements
// are in parser.cc.
//
// Errors are sticky: after the first one the cursor stays at the end of the template, so that
// every loop ends.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"
#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace rill::text::jinja {

class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, std::string_view culprit,
                   const TemplateLimits& limits);

 protected:
  // Nesting of the recursive descent; fails when too deep.
  class Nested {
   public:
    explicit Nested(ExpressionParser& parser);
    ~Nested() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

  bool failed() const { return !error_.ok(); }
  void Fail(int line, std::string message, StatusCode code = StatusCode::kInvalidArgument);
  void Expected(std::string_view what);  // "expected <what>, got <current token>"

  const Token& Current() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token Advance();
  bool IsOp(std::string_view op) const;
  bool IsName(std::string_view name) const;
  bool SkipOp(std::string_view op);
  bool SkipName(std::string_view name);
  void ExpectOp(std::string_view op);
  std::string ExpectName(std::string_view what);
  bool AtTupleEnd(std::string_view end_name) const;

  ExprPtr ParseExpression(bool with_conditional = true);
  // One expression, or a tuple when commas follow.
  ExprPtr ParseTuple(bool with_conditional = true, std::string_view end_name = {},
                     bool in_parentheses = false);
  ExprPtr ParseFilters(ExprPtr node, bool start_inline);

  ExprPtr New(ExprKind kind, int line);
  void Adopt(Expr& parent, ExprPtr child);  // appends to args, keeps depth bounded
  ExprPtr Literal(Value value, int line);

  const std::string culprit_;
  const TemplateLimits& limits_;
  Status error_;
  // Special names read inside the macros being parsed.
  struct MacroUses {
    bool caller = false, varargs = false, kwargs = false;
  };
  std::vector<MacroUses> macro_uses_;
  int nesting_ = 0;

 private:
  ExprPtr ParseConditional();
  ExprPtr ParseLogic(bool is_or);
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseChain(int level);
  ExprPtr ParseConcat();
  ExprPtr ParseUnary(bool with_filters);
  ExprPtr ParsePrimary();
  ExprPtr ParsePostfix(ExprPtr node);
  ExprPtr ParseFilterExpr(ExprPtr node);
  ExprPtr ParseSubscript(ExprPtr node);
  ExprPtr ParseCall(ExprPtr node);
  ExprPtr ParseTest(ExprPtr node);
  ExprPtr ParseName(const Token& token);
  void ParseCallArgs(Expr& node);
  void NoteDepth(Expr& parent, const Expr* child);

  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace rill::text::jinja
