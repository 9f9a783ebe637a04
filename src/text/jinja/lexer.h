// Lexer of Jinja template source: template data, tags and the tokens inside tags.
//
// Whitespace rules are those of jinja2 with trim_blocks and lstrip_blocks: a block tag swallows
// the newline after it and the blanks before it on its line, `-` strips all whitespace on its
// side, `+` keeps it. Newlines become \n; one newline at the end of the source is dropped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"

namespace rill::text::jinja {

enum class TokenType : uint8_t {
  kData,           // text outside tags
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // text holds it: "+", "==", "(", …
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  int line = 1;
  std::string text;     // kData, kName, kString (unescaped), kOperator
  int64_t integer = 0;  // kInteger
  double number = 0;    // kFloat
};

// `source` must be UTF-8. Errors start with "<culprit>:<line>: ".
Result<std::vector<Token>> Tokenize(std::string_view source, std::string_view culprit);

// For messages: "'%}'", "'foo'", "end of template".
std::string DescribeToken(const Token& token);

}  // namespace rill::text::jinja
