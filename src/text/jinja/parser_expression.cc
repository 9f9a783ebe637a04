#include <algorithm>
#include <unordered_set>
#include <utility>

#include "text/jinja/parser_base.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"

namespace rill::text::jinja {

ExpressionParser::ExpressionParser(std::vector<Token> tokens, std::string_view culprit,
                                   const TemplateLimits& limits)
    : culprit_(culprit), limits_(limits), tokens_(std::move(tokens)) {}

ExpressionParser::Nested::Nested(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.nesting_ > parser_.limits_.max_depth) {
    parser_.Fail(parser_.Current().line,
                 "expected nesting of at most " + std::to_string(parser_.limits_.max_depth) +
                     " levels, got more",
                 StatusCode::kResourceExhausted);
  }
}

void ExpressionParser::Fail(int line, std::string message, StatusCode code) {
  if (error_.ok()) {
    error_ = Status(code, culprit_ + ":" + std::to_string(line) + ": " + std::move(message));
  }
  at_ = tokens_.size() - 1;
}

void ExpressionParser::Expected(std::string_view what) {
  Fail(Current().line, "expected " + std::string(what) + ", got " + DescribeToken(Current()));
}

Token ExpressionParser::Advance() {
  Token token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool ExpressionParser::IsOp(std::string_view op) const {
  return Current().type == TokenType::kOperator && Current().text == op;
}
bool ExpressionParser::IsName(std::string_view name) const {
  return Current().type == TokenType::kName && Current().text == name;
}
bool ExpressionParser::SkipOp(std::string_view op) {
  if (!IsOp(op)) return false;
  Advance();
  return true;
}
bool ExpressionParser::SkipName(std::string_view name) {
  if (!IsName(name)) return false;
  Advance();
  return true;
}
void ExpressionParser::ExpectOp(std::string_view op) {
  if (!SkipOp(op)) Expected("'" + std::string(op) + "'");
}
std::string ExpressionParser::ExpectName(std::string_view what) {
  if (Current().type == TokenType::kName) return Advance().text;
  Expected(what);
  return {};
}

bool ExpressionParser::AtTupleEnd(std::string_view end_name) const {
  const TokenType type = Current().type;
  return type == TokenType::kVariableEnd || type == TokenType::kBlockEnd ||
         type == TokenType::kEnd || IsOp(")") || (!end_name.empty() && IsName(end_name));
}

ExprPtr ExpressionParser::New(ExprKind kind, int line) {
  return std::make_unique<Expr>(kind, line);
}

void ExpressionParser::NoteDepth(Expr& parent, const Expr* child) {
  if (child == nullptr) return;
  parent.depth = std::max(parent.depth, child->depth + 1);
  if (parent.depth > limits_.max_depth) {
    Fail(parent.line,
         "expected an expression of at most " + std::to_string(limits_.max_depth) +
             " levels, got more",
         StatusCode::kResourceExhausted);
  }
}

void ExpressionParser::Adopt(Expr& parent, ExprPtr child) {
  NoteDepth(parent, child.get());
  parent.args.push_back(std::move(child));
}

ExprPtr ExpressionParser::Literal(Value value, int line) {
  ExprPtr node = New(ExprKind::kLiteral, line);
  node->literal = std::move(value);
  return node;
}

ExprPtr ExpressionParser::ParseExpression(bool with_conditional) {
  Nested nested(*this);
  if (failed()) return New(ExprKind::kLiteral, 1);
  return with_conditional ? ParseConditional() : ParseLogic(/*is_or=*/true);
}

ExprPtr ExpressionParser::ParseConditional() {
  ExprPtr value = ParseLogic(true);
  while (IsName("if")) {
    const int line = Advance().line;
    ExprPtr node = New(ExprKind::kConditional, line);
    Adopt(*node, ParseLogic(true));
    Adopt(*node, std::move(value));
    if (SkipName("else")) Adopt(*node, ParseExpression());
    value = std::move(node);
  }
  return value;
}

ExprPtr ExpressionParser::ParseLogic(bool is_or) {
  const std::string_view word = is_or ? "or" : "and";
  const auto operand = [&] { return is_or ? ParseLogic(false) : ParseNot(); };
  ExprPtr left = operand();
  if (!IsName(word)) return left;
  ExprPtr node = New(is_or ? ExprKind::kOr : ExprKind::kAnd, left->line);
  Adopt(*node, std::move(left));
  while (SkipName(word)) Adopt(*node, operand());
  return node;
}

ExprPtr ExpressionParser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  Nested nested(*this);
  if (failed()) return New(ExprKind::kLiteral, 1);
  ExprPtr node = New(ExprKind::kNot, Advance().line);
  Adopt(*node, ParseNot());
  return node;
}

ExprPtr ExpressionParser::ParseCompare() {
  ExprPtr left = ParseChain(0);
  ExprPtr node;
  while (true) {
    std::string op;
    for (const std::string_view candidate : {"==", "!=", "<", "<=", ">", ">="}) {
      if (IsOp(candidate)) op = candidate;
    }
    if (op.empty() && IsName("in")) op = "in";
    if (op.empty() && IsName("not") && Ahead().type == TokenType::kName && Ahead().text == "in") {
      op = "not in";
      Advance();
    }
    if (op.empty()) break;
    Advance();
    if (node == nullptr) {
      node = New(ExprKind::kCompare, left->line);
      Adopt(*node, std::move(left));
    }
    node->ops.push_back(op);
    Adopt(*node, ParseChain(0));
  }
  return node != nullptr ? std::move(node) : std::move(left);
}

// Level 0: + -   (over ~)   level 1: * / // %   level 2: **
ExprPtr ExpressionParser::ParseChain(int level) {
  const auto operand = [&] {
    return level == 0 ? ParseConcat() : level == 1 ? ParseChain(2) : ParseUnary(true);
  };
  const auto is_operator = [&] {
    if (level == 0) return IsOp("+") || IsOp("-");
    if (level == 1) return IsOp("*") || IsOp("/") || IsOp("//") || IsOp("%");
    return IsOp("**");
  };
  ExprPtr left = operand();
  if (!is_operator()) return left;
  ExprPtr node = New(ExprKind::kChain, left->line);
  Adopt(*node, std::move(left));
  while (is_operator()) {
    node->ops.push_back(Advance().text);
    Adopt(*node, operand());
  }
  return node;
}

ExprPtr ExpressionParser::ParseConcat() {
  ExprPtr left = ParseChain(1);
  if (!IsOp("~")) return left;
  ExprPtr node = New(ExprKind::kConcat, left->line);
  Adopt(*node, std::move(left));
  while (SkipOp("~")) Adopt(*node, ParseChain(1));
  return node;
}

ExprPtr ExpressionParser::ParseUnary(bool with_filters) {
  Nested nested(*this);
  if (failed()) return New(ExprKind::kLiteral, 1);
  ExprPtr node;
  if (IsOp("-") || IsOp("+")) {
    const Token sign = Advance();
    node = New(sign.text == "-" ? ExprKind::kNegate : ExprKind::kPositive, sign.line);
    Adopt(*node, ParseUnary(false));
  } else {
    node = ParsePrimary();
  }
  node = ParsePostfix(std::move(node));
  return with_filters ? ParseFilterExpr(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::ParseName(const Token& token) {
  const std::string& name = token.text;
  if (name == "true" || name == "True") return Literal(Value::Bool(true), token.line);
  if (name == "false" || name == "False") return Literal(Value::Bool(false), token.line);
  if (name == "none" || name == "None") return Literal(Value::None(), token.line);
  for (MacroUses& uses : macro_uses_) {
    uses.caller |= name == "caller";
    uses.varargs |= name == "varargs";
    uses.kwargs |= name == "kwargs";
  }
  ExprPtr node = New(ExprKind::kName, token.line);
  node->name = name;
  return node;
}

ExprPtr ExpressionParser::ParsePrimary() {
  const Token& current = Current();
  const int line = current.line;
  switch (current.type) {
    case TokenType::kName: return ParseName(Advance());
    case TokenType::kString: {
      std::string text;
      while (Current().type == TokenType::kString) text += Advance().text;
      auto str = std::make_shared<Str>();
      str->num_runes = CountRunes(text);
      if (!text.empty()) str->trusted.push_back({0, text.size()});
      str->text = std::move(text);
      return Literal(Value::String(std::move(str)), line);
    }
    case TokenType::kInteger: return Literal(Value::Int(Advance().integer), line);
    case TokenType::kFloat: return Literal(Value::Float(Advance().number), line);
    default: break;
  }
  if (SkipOp("(")) {
    ExprPtr node = ParseTuple(true, {}, /*in_parentheses=*/true);
    ExpectOp(")");
    return node;
  }
  if (SkipOp("[")) {
    ExprPtr node = New(ExprKind::kList, line);
    while (!IsOp("]") && !failed()) {
      Adopt(*node, ParseExpression());
      if (!IsOp("]")) ExpectOp(",");
    }
    ExpectOp("]");
    return node;
  }
  if (SkipOp("{")) {
    ExprPtr node = New(ExprKind::kDict, line);
    while (!IsOp("}") && !failed()) {
      Adopt(*node, ParseExpression());
      ExpectOp(":");
      Adopt(*node, ParseExpression());
      if (!IsOp("}")) ExpectOp(",");
    }
    ExpectOp("}");
    return node;
  }
  Expected("an expression");
  return New(ExprKind::kLiteral, line);
}

ExprPtr ExpressionParser::ParseTuple(bool with_conditional, std::string_view end_name,
                                     bool in_parentheses) {
  ExprPtr tuple = New(ExprKind::kTuple, Current().line);
  bool is_tuple = false;
  while (!failed() && !AtTupleEnd(end_name)) {
    Adopt(*tuple, ParseExpression(with_conditional));
    if (!SkipOp(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return tuple;
  if (!tuple->args.empty()) return std::move(tuple->args[0]);
  if (!in_parentheses) Expected("an expression");
  return tuple;
}

ExprPtr ExpressionParser::ParsePostfix(ExprPtr node) {
  while (!failed()) {
    if (IsOp(".") || IsOp("[")) {
      node = ParseSubscript(std::move(node));
    } else if (IsOp("(")) {
      node = ParseCall(std::move(node));
    } else {
      break;
    }
  }
  return node;
}

ExprPtr ExpressionParser::ParseFilterExpr(ExprPtr node) {
  while (!failed()) {
    if (IsOp("|")) {
      node = ParseFilters(std::move(node), false);
    } else if (IsName("is")) {
      node = ParseTest(std::move(node));
    } else if (IsOp("(")) {
      node = ParseCall(std::move(node));
    } else {
      break;
    }
  }
  return node;
}

ExprPtr ExpressionParser::ParseSubscript(ExprPtr object) {
  const Token open = Advance();
  if (open.text == ".") {
    if (Current().type == TokenType::kInteger) {
      ExprPtr node = New(ExprKind::kItem, open.line);
      Adopt(*node, std::move(object));
      Adopt(*node, Literal(Value::Int(Advance().integer), open.line));
      return node;
    }
    ExprPtr node = New(ExprKind::kAttribute, open.line);
    node->name = ExpectName("a name or number after '.'");
    Adopt(*node, std::move(object));
    return node;
  }
  ExprPtr node = New(ExprKind::kItem, open.line);
  Adopt(*node, std::move(object));
  ExprPtr tuple = New(ExprKind::kTuple, open.line);
  while (!IsOp("]") && !failed()) {
    if (!tuple->args.empty()) ExpectOp(",");
    if (!IsOp(":")) Adopt(*tuple, ParseExpression());
    if (IsOp(":")) {
      if (tuple->args.size() > 1 || node->kind == ExprKind::kSlice) {
        Fail(open.line, "slices inside of tuples are not supported", StatusCode::kUnsupported);
        break;
      }
      node->kind = ExprKind::kSlice;
      Adopt(*node, tuple->args.empty() ? nullptr : std::move(tuple->args[0]));
      tuple->args.clear();
      for (int part = 0; part < 2; ++part) {  // stop, then step
        ExprPtr value;
        if (SkipOp(":") && !IsOp(":") && !IsOp("]") && !IsOp(",")) value = ParseExpression();
        Adopt(*node, std::move(value));
      }
      if (!IsOp("]")) Expected("']'");
    }
  }
  ExpectOp("]");
  if (node->kind == ExprKind::kSlice) return node;
  const bool single = tuple->args.size() == 1;
  Adopt(*node, single ? std::move(tuple->args[0]) : std::move(tuple));
  return node;
}

void ExpressionParser::ParseCallArgs(Expr& node) {
  node.call = std::make_unique<CallArgs>();
  CallArgs& call = *node.call;
  const auto note = [&](ExprPtr child) {
    NoteDepth(node, child.get());
    return child;
  };
  const int line = Current().line;
  std::unordered_set<std::string> names;
  const auto ensure = [&](bool valid) {
    if (!valid) Fail(line, "invalid order of arguments in a call");
  };
  ExpectOp("(");
  while (!IsOp(")") && !failed()) {
    if (SkipOp("*")) {
      ensure(call.star == nullptr && call.star_star == nullptr);
      call.star = note(ParseExpression());
    } else if (SkipOp("**")) {
      ensure(call.star_star == nullptr);
      call.star_star = note(ParseExpression());
    } else if (Current().type == TokenType::kName && Ahead().type == TokenType::kOperator &&
               Ahead().text == "=") {
      ensure(call.star_star == nullptr);
      std::string name = Advance().text;
      Advance();
      if (!names.insert(name).second) Fail(line, "keyword argument '" + name + "' is repeated");
      ExprPtr value = ParseExpression();
      call.named.emplace_back(std::move(name), note(std::move(value)));
    } else {
      ensure(call.star == nullptr && call.star_star == nullptr && call.named.empty());
      call.positional.push_back(note(ParseExpression()));
    }
    if (!IsOp(")")) ExpectOp(",");
  }
  ExpectOp(")");
}

ExprPtr ExpressionParser::ParseCall(ExprPtr callee) {
  ExprPtr node = New(ExprKind::kCall, Current().line);
  Adopt(*node, std::move(callee));
  ParseCallArgs(*node);
  return node;
}

ExprPtr ExpressionParser::ParseFilters(ExprPtr input, bool start_inline) {
  while (!failed() && (start_inline || IsOp("|"))) {
    if (!start_inline) Advance();
    start_inline = false;
    ExprPtr node = New(ExprKind::kFilter, Current().line);
    node->name = ExpectName("a filter name");
    while (SkipOp(".")) node->name += "." + ExpectName("a filter name");
    node->builtin = FindFilter(node->name);
    Adopt(*node, std::move(input));
    if (IsOp("(")) {
      ParseCallArgs(*node);
    } else {
      node->call = std::make_unique<CallArgs>();
    }
    input = std::move(node);
  }
  return input;
}

ExprPtr ExpressionParser::ParseTest(ExprPtr value) {
  ExprPtr node = New(ExprKind::kTest, Advance().line);
  const bool negated = SkipName("not");
  node->name = ExpectName("a test name");
  while (SkipOp(".")) node->name += "." + ExpectName("a test name");
  node->builtin = FindTest(node->name);
  Adopt(*node, std::move(value));
  const TokenType type = Current().type;
  const bool takes_argument =
      (type == TokenType::kName && !IsName("else") && !IsName("or") && !IsName("and")) ||
      type == TokenType::kString || type == TokenType::kInteger || type == TokenType::kFloat ||
      IsOp("[") || IsOp("{");
  if (IsOp("(")) {
    ParseCallArgs(*node);
  } else {
    node->call = std::make_unique<CallArgs>();
    if (takes_argument) {
      if (IsName("is")) Fail(node->line, "expected one test, got a chain of tests with 'is'");
      ExprPtr argument = ParsePostfix(ParsePrimary());
      NoteDepth(*node, argument.get());
      node->call->positional.push_back(std::move(argument));
    }
  }
  if (!negated) return node;
  ExprPtr inverse = New(ExprKind::kNot, node->line);
  Adopt(*inverse, std::move(node));
  return inverse;
}

}  // namespace rill::text::jinja
