#include "llm/continued_chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "base/utf8.h"
#include "text/jinja/python_text.h"

namespace rill::llm {
namespace {

// Python's str.rstrip and str.lstrip.
std::string_view StripEnd(std::string_view text) {
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!text::jinja::IsPythonSpace(DecodeUtf8(text.substr(last)).rune)) break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}
std::string_view StripStart(std::string_view text) {
  while (!text.empty()) {
    const auto first = DecodeUtf8(text);
    if (!text::jinja::IsPythonSpace(first.rune)) break;
    text.remove_prefix(first.size);
  }
  return text;
}

// Not to be guessed: a request that holds another's mark would be cut there.
std::string NewMark() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("CONTINUE_FINAL_MESSAGE_{:016x}", generator());
}

void CutAt(size_t end, text::MarkedText& marked) {
  marked.text.resize(end);
  while (!marked.trusted.empty() && marked.trusted.back().begin >= end) marked.trusted.pop_back();
  if (!marked.trusted.empty()) {
    marked.trusted.back().end = std::min(marked.trusted.back().end, end);
  }
}

}  // namespace

Result<text::MarkedText> RenderContinued(ChatInput chat, const RenderChat& render) {
  Json* last = chat.messages.is_array() && !chat.messages.array().empty()
                   ? &chat.messages.mutable_array().back()
                   : nullptr;
  const Json* content = last ? last->Find("content") : nullptr;
  if (!content || !content->is_string()) {
    return InvalidArgument("continue_final_message: the last message has no text");
  }
  const std::string whole = content->string_value();
  const std::string mark = NewMark();
  last->Set("content", whole + mark + " ");
  RILL_ASSIGN_OR_RETURN(text::MarkedText marked, render(chat));

  const std::string_view text = marked.text;
  const size_t at = text.rfind(mark);
  const std::string_view before = text.substr(0, at == std::string_view::npos ? 0 : at);
  if (at == std::string_view::npos || !StripEnd(before).ends_with(StripStart(StripEnd(whole)))) {
    return InvalidArgument(
        "continue_final_message: the chat template does not show the last message as it is");
  }
  const bool keeps_space = text.substr(at + mark.size()).starts_with(' ');
  CutAt(keeps_space ? at : StripEnd(before).size(), marked);
  return marked;
}

}  // namespace rill::llm
