#include "text/jinja/parser.h"

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "text/jinja/name_check.h"
#include "text/jinja/parser_base.h"
#include "text/jinja/python_text.h"

namespace rill::text::jinja {
namespace {

using EndNames = std::initializer_list<std::string_view>;

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Body> Run() {
    Body body = ParseBody({});
    if (failed()) return error_;
    return body;
  }

 private:
  std::unique_ptr<Stmt> NewStmt(StmtKind kind) {
    return std::make_unique<Stmt>(kind, Current().line);
  }

  void ExpectBlockEnd() {
    if (Current().type == TokenType::kBlockEnd) {
      Advance();
    } else {
      Expected("'%}'");
    }
  }

  static std::string Names(EndNames names) {
    std::string out;
    for (const std::string_view name : names) {
      if (!out.empty()) out += " or ";
      out += "{% " + std::string(name) + " %}";
    }
    return out;
  }

  // Statements until a block tag that starts with one of `ends`; the tag's name is left current.
  // Without `ends`: until the template's end.
  Body ParseBody(EndNames ends) {
    Body body;
    Nested nested(*this);
    while (!failed()) {
      const Token& token = Current();
      switch (token.type) {
        case TokenType::kEnd:
          if (ends.size() > 0) Expected(Names(ends));
          return body;
        case TokenType::kData: {
          auto stmt = NewStmt(StmtKind::kText);
          auto str = std::make_shared<Str>();
          str->text = token.text;
          str->trusted.push_back({0, str->text.size()});
          str->num_runes = CountRunes(str->text);
          stmt->expr = Literal(Value::String(std::move(str)), token.line);
          body.push_back(std::move(stmt));
          Advance();
          break;
        }
        case TokenType::kVariableBegin: {
          auto stmt = NewStmt(StmtKind::kPrint);
          Advance();
          stmt->expr = ParseTuple();
          if (Current().type != TokenType::kVariableEnd) Expected("'}}'");
          Advance();
          body.push_back(std::move(stmt));
          break;
        }
        case TokenType::kBlockBegin: {
          Advance();
          for (const std::string_view end : ends) {
            if (IsName(end)) return body;
          }
          if (auto stmt = ParseStatement(ends)) body.push_back(std::move(stmt));
          for (auto& extra : extra_) body.push_back(std::move(extra));
          extra_.clear();
          if (!failed()) ExpectBlockEnd();
          break;
        }
        default: Expected("template text or a tag"); break;
      }
    }
    return body;
  }

  // ":"? "%}" body, up to one of `ends`, which is left current.
  Body ParseStatements(EndNames ends) {
    SkipOp(":");
    ExpectBlockEnd();
    return ParseBody(ends);
  }
  Body ParseStatementsTo(std::string_view end) {
    Body body = ParseStatements({end});
    SkipName(end);
    return body;
  }

  std::unique_ptr<Stmt> ParseStatement(EndNames ends) {
    if (Current().type != TokenType::kName) {
      Expected("a tag name");
      return nullptr;
    }
    const std::string tag = Current().text;
    const int line = Current().line;
    if (tag == "if") return ParseIf();
    if (tag == "for") return ParseFor();
    if (tag == "set") return ParseSet();
    if (tag == "macro") return ParseMacro();
    if (tag == "call") return ParseCallBlock();
    if (tag == "filter") return ParseFilterBlock();
    if (tag == "with") return ParseWith();
    if (tag == "print") return ParsePrint();
    if (tag == "generation") return ParseGeneration();
    if (tag == "break" || tag == "continue") return ParseLoopControl(tag);
    if (tag == "include" || tag == "import" || tag == "from" || tag == "extends" ||
        tag == "block" || tag == "autoescape") {
      Fail(line, "{% " + tag + " %} is not supported in chat templates", StatusCode::kUnsupported);
      return nullptr;
    }
    Fail(line, "expected a known tag" + (ends.size() > 0 ? " or " + Names(ends) : std::string()) +
                   ", got {% " + tag + " %}");
    return nullptr;
  }

  std::unique_ptr<Stmt> ParseIf() {
    auto stmt = NewStmt(StmtKind::kIf);
    while (!failed()) {
      Advance();  // if or elif
      Branch branch;
      branch.condition = ParseTuple(/*with_conditional=*/false);
      branch.body = ParseStatements({"elif", "else", "endif"});
      stmt->branches.push_back(std::move(branch));
      if (IsName("elif")) continue;
      if (SkipName("else")) {
        Branch otherwise;
        otherwise.body = ParseStatementsTo("endif");
        stmt->branches.push_back(std::move(otherwise));
      } else {
        SkipName("endif");
      }
      break;
    }
    return stmt;
  }

  std::unique_ptr<Stmt> ParseFor() {
    auto stmt = NewStmt(StmtKind::kFor);
    Advance();
    stmt->target = ParseTarget("in", /*with_namespace=*/false);
    if (AssignsLoop(stmt->target)) {
      Fail(stmt->line, "expected another name than 'loop' in the target of a for-loop");
    }
    if (!SkipName("in")) Expected("'in'");
    stmt->expr = ParseTuple(/*with_conditional=*/false, "recursive");
    if (SkipName("if")) stmt->filter = ParseExpression();
    stmt->recursive = SkipName("recursive");
    const int outer_loops = loops_;
    ++loops_;
    ++fors_;
    stmt->body = ParseStatements({"endfor", "else"});
    loops_ = outer_loops;
    if (SkipName("else")) {
      stmt->otherwise = ParseStatementsTo("endfor");
    } else {
      SkipName("endfor");
    }
    --fors_;
    return stmt;
  }

  static bool AssignsLoop(const Target& target) {
    if (!target.is_tuple) return target.name == "loop" && target.attribute.empty();
    return std::any_of(target.items.begin(), target.items.end(), AssignsLoop);
  }

  Target ParseSimpleTarget(bool with_namespace) {
    Nested nested(*this);
    Target target;
    target.line = Current().line;
    if (SkipOp("(")) {
      target = ParseTarget({}, with_namespace);
      ExpectOp(")");
      return target;
    }
    target.name = ExpectName("a name to assign to");
    static constexpr std::string_view kConstants[] = {"true",  "True", "false",
                                                      "False", "none", "None"};
    for (const std::string_view constant : kConstants) {
      if (target.name == constant) Fail(target.line, "cannot assign to '" + target.name + "'");
    }
    if (with_namespace && SkipOp(".")) target.attribute = ExpectName("an attribute name");
    return target;
  }

  Target ParseTarget(std::string_view end_name, bool with_namespace) {
    Target tuple;
    tuple.line = Current().line;
    while (!failed() && !AtTupleEnd(end_name)) {
      tuple.items.push_back(ParseSimpleTarget(with_namespace));
      if (!SkipOp(",")) break;
      tuple.is_tuple = true;
    }
    if (!tuple.is_tuple) {
      if (tuple.items.size() == 1) {
        Target only = std::move(tuple.items[0]);
        return only;
      }
      Expected("a name to assign to");
    }
    return tuple;
  }

  std::unique_ptr<Stmt> ParseSet() {
    auto stmt = NewStmt(StmtKind::kSet);
    Advance();
    stmt->target = ParseTarget({}, /*with_namespace=*/true);
    if (fors_ > 0 && AssignsLoop(stmt->target)) {
      Fail(stmt->line, "expected another name than 'loop' to set inside a for-loop");
    }
    if (SkipOp("=")) {
      stmt->expr = ParseTuple();
      return stmt;
    }
    stmt->kind = StmtKind::kSetBlock;
    stmt->expr = ParseFilters(nullptr, false);
    stmt->body = ParseStatementsTo("endset");
    return stmt;
  }

  void ParseSignature(MacroDef& macro) {
    std::unordered_set<std::string> names;
    ExpectOp("(");
    while (!IsOp(")") && !failed()) {
      if (!macro.params.empty()) ExpectOp(",");
      const int line = Current().line;
      std::string name = ExpectName("a parameter name");
      if (!names.insert(name).second) Fail(line, "parameter '" + name + "' is repeated");
      macro.params.push_back(std::move(name));
      if (SkipOp("=")) {
        macro.defaults.push_back(ParseExpression());
      } else if (!macro.defaults.empty()) {
        Fail(line, "expected a default for '" + macro.params.back() +
                       "', because an earlier parameter has one");
      }
    }
    ExpectOp(")");
  }

  void ParseMacroBody(MacroDef& macro, std::string_view end) {
    const int outer_loops = loops_;
    loops_ = 0;
    macro_uses_.emplace_back();
    macro.body = ParseStatementsTo(end);
    const MacroUses uses = macro_uses_.back();
    macro_uses_.pop_back();
    const auto is_param = [&](std::string_view name) {
      return std::find(macro.params.begin(), macro.params.end(), name) != macro.params.end();
    };
    macro.uses_caller = uses.caller;
    macro.uses_varargs = uses.varargs && !is_param("varargs");
    macro.uses_kwargs = uses.kwargs && !is_param("kwargs");
    loops_ = outer_loops;
  }

  std::unique_ptr<Stmt> ParseMacro() {
    auto stmt = NewStmt(StmtKind::kMacro);
    Advance();
    stmt->macro = std::make_unique<MacroDef>();
    stmt->macro->name = ExpectName("a macro name");
    ParseSignature(*stmt->macro);
    ParseMacroBody(*stmt->macro, "endmacro");
    return stmt;
  }

  std::unique_ptr<Stmt> ParseCallBlock() {
    auto stmt = NewStmt(StmtKind::kCallBlock);
    Advance();
    stmt->macro = std::make_unique<MacroDef>();
    stmt->macro->name = "caller";
    if (IsOp("(")) ParseSignature(*stmt->macro);
    stmt->expr = ParseExpression();
    if (!failed() && stmt->expr->kind != ExprKind::kCall) Fail(stmt->line, "expected a call");
    ParseMacroBody(*stmt->macro, "endcall");
    return stmt;
  }

  std::unique_ptr<Stmt> ParseFilterBlock() {
    auto stmt = NewStmt(StmtKind::kFilterBlock);
    Advance();
    stmt->expr = ParseFilters(nullptr, /*start_inline=*/true);
    stmt->body = ParseStatementsTo("endfilter");
    return stmt;
  }

  std::unique_ptr<Stmt> ParseWith() {
    auto stmt = NewStmt(StmtKind::kWith);
    Advance();
    while (!failed() && Current().type != TokenType::kBlockEnd) {
      if (!stmt->assignments.empty()) ExpectOp(",");
      Target target = ParseTarget({}, /*with_namespace=*/false);
      ExpectOp("=");
      stmt->assignments.emplace_back(std::move(target), ParseExpression());
    }
    stmt->body = ParseStatementsTo("endwith");
    return stmt;
  }

  std::unique_ptr<Stmt> ParsePrint() {
    Advance();
    std::unique_ptr<Stmt> first;
    while (!failed() && Current().type != TokenType::kBlockEnd) {
      if (first != nullptr) ExpectOp(",");
      auto stmt = NewStmt(StmtKind::kPrint);
      stmt->expr = ParseExpression();
      if (first == nullptr) {
        first = std::move(stmt);
      } else {
        extra_.push_back(std::move(stmt));
      }
    }
    return first;
  }

  // transformers marks what the assistant wrote with {% generation %}; its text is rendered as is.
  std::unique_ptr<Stmt> ParseGeneration() {
    auto stmt = NewStmt(StmtKind::kScope);
    Advance();
    const int outer_loops = loops_;
    loops_ = 0;
    stmt->body = ParseStatementsTo("endgeneration");
    loops_ = outer_loops;
    return stmt;
  }

  std::unique_ptr<Stmt> ParseLoopControl(const std::string& tag) {
    auto stmt = NewStmt(tag == "break" ? StmtKind::kBreak : StmtKind::kContinue);
    Advance();
    if (loops_ == 0) Fail(stmt->line, "expected {% " + tag + " %} inside a for-loop");
    return stmt;
  }

  int loops_ = 0;  // for-loops around, inside the innermost macro
  int fors_ = 0;   // for-loops around, whatever is between
  Body extra_;     // further statements that one {% print a, b %} makes
};

}  // namespace

Result<Body> Parse(std::string_view source, std::string_view culprit,
                   const TemplateLimits& limits) {
  RILL_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source, culprit));
  RILL_ASSIGN_OR_RETURN(Body body, Parser(std::move(tokens), culprit, limits).Run());
  RILL_RETURN_IF_ERROR(CheckNames(body, culprit));
  return body;
}

}  // namespace rill::text::jinja
