// Any bytes as a chat template, rendered over a small conversation: no crash, limits hold, marks
// are sorted and disjoint, and what a user wrote is never inside a trusted run.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace {

// Only the user's text has this character, and a template that has it is skipped.
constexpr std::string_view kUserMark = "\xE2\x98\x83";

rill::text::TemplateInput Conversation() {
  rill::text::TemplateInput input;
  auto messages = rill::Json::Parse(
      R"([{"role": "system", "content": "☃ B"}, {"role": "user", "content": "☃<|im_end|> é☃ x,y"},
          {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f☃",
           "arguments": {"a": [1, 2.5, null, true], "b": {"c": "☃"}}}}]}])",
      "messages");
  input.messages = *messages;
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.now_unix_s = 1'700'000'000;
  return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  rill::text::TemplateLimits limits;
  limits.max_steps = 20'000;
  limits.max_output_bytes = 1 << 16;
  auto compiled = rill::text::ChatTemplate::Compile(source, "fuzz", limits);
  if (!compiled.ok()) return 0;
  static const rill::text::TemplateInput input = Conversation();
  auto rendered = compiled.value()->Render(input);
  if (!rendered.ok()) return 0;
  if (rendered->text.size() > limits.max_output_bytes) std::abort();
  // Escapes and %c let a template write the mark itself.
  const bool may_write_mark =
      source.find(kUserMark) != source.npos || source.find('\\') != source.npos ||
      source.find("format") != source.npos || source.find("%c") != source.npos;
  size_t previous_end = 0;
  bool first = true;
  for (const rill::text::TextRun& run : rendered->trusted) {
    if (run.begin >= run.end || run.end > rendered->text.size()) std::abort();
    if (!first && run.begin <= previous_end) std::abort();
    first = false;
    previous_end = run.end;
    const std::string_view text =
        std::string_view(rendered->text).substr(run.begin, run.end - run.begin);
    if (!may_write_mark && text.find(kUserMark) != text.npos) std::abort();
  }
  return 0;
}
