// text_completion, whole and in chunks.
#include <fmt/compile.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "rill/json.h"
#include "server/openai/answer_writer.h"
#include "server/openai/text_offsets.h"

namespace rill::server::openai {
namespace {

class CompletionWriter : public AnswerWriter {
 public:
  CompletionWriter(AnswerOptions options, int32_t choices_per_prompt)
      : AnswerWriter(std::move(options)), choices_per_prompt_(std::max(1, choices_per_prompt)) {
    chunk_head_ = "data: " + Head("text_completion");
  }

  std::string Delta(int32_t index, const ChoiceText& piece, bool is_first, const PromptPart* prompt,
                    const UsageTotals& totals) override {
    std::string out;
    out.reserve(chunk_head_.size() + piece.text.size() + 128);
    out += chunk_head_;
    fmt::format_to(std::back_inserter(out), FMT_COMPILE(R"(,"choices":[{{"index":{},"text":)"),
                   index);
    AppendJsonString(out, piece.text);
    out += R"(,"logprobs":)";
    if (options_.logprobs) {
      AppendLogprobs(out, nullptr, piece, offsets_.try_emplace(index, options_).first->second);
    } else {
      out += "null";
    }
    out += R"(,"finish_reason":null)";
    if (options_.return_token_ids) {
      AppendIds(out, piece.tokens);
      if (is_first && prompt && prompt->ids) AppendPromptIds(out, *prompt->ids);
    }
    out += "}]";
    EndChunk(out, totals);
    return out;
  }

  std::string Finish(int32_t index, const ChoiceText& end, const UsageTotals& totals) override {
    offsets_.erase(index);
    std::string out = chunk_head_;
    fmt::format_to(std::back_inserter(out),
                   FMT_COMPILE(R"(,"choices":[{{"index":{},"text":"","logprobs":null,)"), index);
    AppendFinish(out, end);
    out += "}]";
    EndChunk(out, totals);
    return out;
  }

  std::string Whole(const std::vector<ChoiceText>& choices, const std::vector<PromptPart>& prompts,
                    const UsageTotals& totals) override {
    std::string out = Head("text_completion");
    out += R"(,"choices":[)";
    for (size_t i = 0; i < choices.size(); ++i) {
      const ChoiceText& choice = choices[i];
      const PromptPart& prompt = prompts.at(i / static_cast<size_t>(choices_per_prompt_));
      fmt::format_to(std::back_inserter(out), R"({}{{"index":{},"text":)", i ? "," : "", i);
      AppendJsonString(out, prompt.echo ? prompt.echo_text + choice.text : choice.text);
      out += R"(,"logprobs":)";
      TextOffsets offsets(options_);
      AppendLogprobs(out, prompt.echo ? &prompt : nullptr, choice, offsets);
      out += ',';
      AppendFinish(out, choice);
      if (prompt.wants_prompt_logprobs) AppendPromptLogprobs(out, prompt);
      if (options_.return_token_ids) {
        AppendIds(out, choice.tokens);
        if (prompt.ids) AppendPromptIds(out, *prompt.ids);
      }
      out += '}';
    }
    out += R"(],"usage":)";
    AppendUsage(out, totals);
    out += '}';
    return out;
  }

 private:
  static void AppendPromptIds(std::string& out, const std::vector<int32_t>& ids) {
    fmt::format_to(std::back_inserter(out), R"(,"prompt_token_ids":[{}])", fmt::join(ids, ","));
  }

  // {"text_offset", "token_logprobs", "tokens", "top_logprobs"}: first the prompt's tokens (the
  // very first has no value), then the answer's.
  void AppendLogprobs(std::string& out, const PromptPart* prompt, const ChoiceText& answer,
                      TextOffsets& text_offsets) const {
    if (!options_.logprobs) {
      out += "null";
      return;
    }
    std::vector<const llm::TextToken*> all;
    std::vector<int64_t> starts;
    if (prompt) {
      for (const llm::TextToken& token : prompt->logprobs) {
        all.push_back(&token);
        starts.push_back(text_offsets.OfPrompt(token.token_id, prompt->echo_text));
      }
      text_offsets.EndPrompt(prompt->echo_text);
    }
    const size_t first_with_value = all.empty() ? 0 : 1;
    for (const llm::TextToken& token : answer.tokens) {
      all.push_back(&token);
      starts.push_back(text_offsets.OfAnswer(token));
    }

    std::string offsets, names, values, tops;
    for (size_t i = 0; i < all.size(); ++i) {
      const char* comma = i ? "," : "";
      fmt::format_to(std::back_inserter(offsets), FMT_COMPILE("{}{}"), comma, starts[i]);
      names += comma;
      AppendTokenName(names, all[i]->token_id);
      values += comma;
      tops += comma;
      if (i < first_with_value) {
        values += "null";
        tops += "null";
        continue;
      }
      AppendLogprob(values, all[i]->logprob);
      AppendTop(tops, *all[i]);
    }
    out += R"({"text_offset":[)" + offsets + R"(],"token_logprobs":[)" + values +
           R"(],"tokens":[)" + names + R"(],"top_logprobs":[)" + tops + "]}";
  }

  // {"token": logprob}: the most likely ones, and the token itself where it is not among them. Two
  // tokens of one text leave the likelier one.
  void AppendTop(std::string& out, const llm::TextToken& token) const {
    std::vector<std::pair<std::string, float>> entries;
    auto add = [&](int32_t id, float logprob) {
      std::string name;
      AppendTokenName(name, id);
      for (const auto& [known, value] : entries) {
        if (known == name) return;
      }
      entries.emplace_back(std::move(name), logprob);
    };
    for (const TokenLogprob& top : token.top) add(top.token_id, top.logprob);
    add(token.token_id, token.logprob);
    out += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i) out += ',';
      out += entries[i].first;
      out += ':';
      AppendLogprob(out, entries[i].second);
    }
    out += '}';
  }

  const int32_t choices_per_prompt_;
  std::map<int32_t, TextOffsets> offsets_;  // of a stream's choices that go on
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeCompletionWriter(AnswerOptions options,
                                                   int32_t choices_per_prompt) {
  return std::make_unique<CompletionWriter>(std::move(options), choices_per_prompt);
}

}  // namespace rill::server::openai
