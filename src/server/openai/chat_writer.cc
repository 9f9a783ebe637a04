// chat.completion and chat.completion.chunk.
#include <fmt/compile.h>
#include <fmt/format.h>

#include <iterator>

#include "rill/json.h"
#include "server/openai/answer_writer.h"

namespace rill::server::openai {
namespace {

class ChatWriter : public AnswerWriter {
 public:
  explicit ChatWriter(AnswerOptions options) : AnswerWriter(std::move(options)) {
    chunk_head_ = "data: " + Head("chat.completion.chunk");
  }

  std::string Delta(int32_t index, const ChoiceText& piece, bool is_first, const PromptPart* prompt,
                    const UsageTotals& totals) override {
    std::string out;
    out.reserve(chunk_head_.size() + piece.text.size() + 128);
    out += chunk_head_;
    fmt::format_to(std::back_inserter(out), FMT_COMPILE(R"(,"choices":[{{"index":{},"delta":{{)"),
                   index);
    if (is_first) out += R"("role":"assistant",)";
    out += R"("content":)";
    AppendJsonString(out, piece.text);
    out += R"(},"logprobs":)";
    AppendLogprobs(out, piece.tokens);
    out += R"(,"finish_reason":null)";
    if (options_.return_token_ids) AppendIds(out, piece.tokens);
    out += "}]";
    // Last, because they may be long: the text above is in the event's first bytes.
    if (is_first && prompt && prompt->ids && options_.return_token_ids) {
      AppendPromptIds(out, *prompt->ids);
    }
    EndChunk(out, totals);
    return out;
  }

  std::string Finish(int32_t index, const ChoiceText& end, const UsageTotals& totals) override {
    std::string out = chunk_head_;
    fmt::format_to(std::back_inserter(out),
                   FMT_COMPILE(R"(,"choices":[{{"index":{},"delta":{{}},"logprobs":null,)"), index);
    AppendFinish(out, end);
    out += "}]";
    EndChunk(out, totals);
    return out;
  }

  std::string Whole(const std::vector<ChoiceText>& choices, const std::vector<PromptPart>& prompts,
                    const UsageTotals& totals) override {
    std::string out = Head("chat.completion");
    out += R"(,"choices":[)";
    for (size_t i = 0; i < choices.size(); ++i) {
      const ChoiceText& choice = choices[i];
      fmt::format_to(std::back_inserter(out),
                     R"({}{{"index":{},"message":{{"role":"assistant","content":)", i ? "," : "",
                     i);
      AppendJsonString(out, choice.text);
      out += R"(,"refusal":null},"logprobs":)";
      AppendLogprobs(out, choice.tokens);
      out += ',';
      AppendFinish(out, choice);
      if (options_.return_token_ids) AppendIds(out, choice.tokens);
      out += '}';
    }
    out += R"(],"usage":)";
    AppendUsage(out, totals);
    const PromptPart& prompt = prompts.at(0);
    if (prompt.wants_prompt_logprobs) AppendPromptLogprobs(out, prompt);
    if (prompt.ids && options_.return_token_ids) AppendPromptIds(out, *prompt.ids);
    out += '}';
    return out;
  }

 private:
  static void AppendPromptIds(std::string& out, const std::vector<int32_t>& ids) {
    fmt::format_to(std::back_inserter(out), R"(,"prompt_token_ids":[{}])", fmt::join(ids, ","));
  }

  void AppendEntry(std::string& out, int32_t id, float logprob) const {
    out += R"({"token":)";
    AppendTokenName(out, id);
    out += R"(,"logprob":)";
    AppendLogprob(out, logprob);
    out += R"(,"bytes":[)";
    bool is_first = true;
    for (const char byte : options_.token_bytes(id)) {
      fmt::format_to(std::back_inserter(out), FMT_COMPILE("{}{}"), is_first ? "" : ",",
                     static_cast<unsigned>(static_cast<unsigned char>(byte)));
      is_first = false;
    }
    out += ']';
  }

  void AppendLogprobs(std::string& out, const std::vector<llm::TextToken>& tokens) const {
    if (!options_.logprobs) {
      out += "null";
      return;
    }
    out += R"({"content":[)";
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i) out += ',';
      AppendEntry(out, tokens[i].token_id, tokens[i].logprob);
      out += R"(,"top_logprobs":[)";
      for (size_t k = 0; k < tokens[i].top.size(); ++k) {
        if (k) out += ',';
        AppendEntry(out, tokens[i].top[k].token_id, tokens[i].top[k].logprob);
        out += '}';
      }
      out += "]}";
    }
    out += R"(],"refusal":null})";
  }
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeChatWriter(AnswerOptions options) {
  return std::make_unique<ChatWriter>(std::move(options));
}

}  // namespace rill::server::openai
