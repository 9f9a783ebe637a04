// AnswerWriter: what was generated, as the JSON of OpenAI's API: chunks of a stream, or one body.
//
// Events are written by appending to a string, without a JSON tree: this runs once per token of
// every stream. Owner thread: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llm/text_service.h"
#include "rill/request.h"

namespace rill::server::openai {

struct AnswerOptions {
  std::string id;  // "chatcmpl-…", "cmpl-…"
  int64_t created = 0;
  std::string model;        // as the client wrote it
  std::string fingerprint;  // system_fingerprint
  bool include_usage = false;
  bool continuous_usage = false;
  bool logprobs = false;
  int32_t top_logprobs = 0;
  bool tokens_as_ids = false;
  bool return_token_ids = false;
  // The bytes that a token adds to the text.
  std::function<std::string(int32_t)> token_bytes;
  // The same of several from the start of a text on, control tokens shown; whether a token is one;
  // and whether the answer's text leaves them out. For text_offset.
  std::function<std::string(std::span<const int32_t>)> decode;
  std::function<bool(int32_t)> is_special;
  bool skip_special = true;
};

struct UsageTotals {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt's
};

// One choice, or a piece of one.
struct ChoiceText {
  std::string text;
  std::vector<llm::TextToken> tokens;
  FinishReason finish = FinishReason::kNone;
  std::string stop_string;  // that ended it
  int32_t stop_id = -1;     // of the request's stop_token_ids that ended it
};

// What comes before a choice's first token: only of prompts that are echoed or asked about.
struct PromptPart {
  std::shared_ptr<const std::vector<int32_t>> ids;  // null: not wanted
  std::string echo_text;                            // "" without echo
  bool echo = false;
  // One entry per prompt token, the first without a value (token_id alone). Empty: not asked for.
  std::vector<llm::TextToken> logprobs;
  bool wants_prompt_logprobs = false;  // vLLM's field
};

class AnswerWriter {
 public:
  explicit AnswerWriter(AnswerOptions options);
  virtual ~AnswerWriter() = default;

  // "data: {…}\n\n" with a piece of choice `index`; `is_first` of that choice. Of `prompt`, which
  // may be null, the ids; an echo is part of the piece's text.
  virtual std::string Delta(int32_t index, const ChoiceText& piece, bool is_first,
                            const PromptPart* prompt, const UsageTotals& totals) = 0;
  // "data: {…}\n\n" with the finish reason alone.
  virtual std::string Finish(int32_t index, const ChoiceText& end, const UsageTotals& totals) = 0;
  // The whole body. choices[i] is index i; prompts[i / choices_per_prompt] its prompt.
  virtual std::string Whole(const std::vector<ChoiceText>& choices,
                            const std::vector<PromptPart>& prompts, const UsageTotals& totals) = 0;

  // The chunk with usage and no choices.
  std::string UsageChunk(const UsageTotals& totals) const;
  static std::string Done() { return "data: [DONE]\n\n"; }

 protected:
  // {"id":…,"object":object,"created":…,"model":…,"system_fingerprint":…
  std::string Head(std::string_view object) const;
  // ,"usage":…} and the end of an event.
  void EndChunk(std::string& out, const UsageTotals& totals) const;
  void AppendTokenName(std::string& out, int32_t id) const;
  void AppendIds(std::string& out, const std::vector<llm::TextToken>& tokens) const;
  // vLLM's prompt_logprobs: [null, {"17": {"logprob":…,"rank":…,"decoded_token":…}}, …]
  void AppendPromptLogprobs(std::string& out, const PromptPart& prompt) const;
  static void AppendFinish(std::string& out, const ChoiceText& end);

  const AnswerOptions options_;
  std::string chunk_head_;  // set by the subclass
};

std::unique_ptr<AnswerWriter> MakeChatWriter(AnswerOptions options);
// `choices_per_prompt`: index / choices_per_prompt is the prompt of a choice.
std::unique_ptr<AnswerWriter> MakeCompletionWriter(AnswerOptions options,
                                                   int32_t choices_per_prompt);

void AppendUsage(std::string& out, const UsageTotals& totals);
// A natural logarithm; JSON has no -Infinity: -9999.0. As few digits as give back the same float.
void AppendLogprob(std::string& out, float logprob);
// Bytes of `text` as a JSON string with its quotes; never fewer than AppendJsonString writes.
int64_t JsonStringBytes(std::string_view text);
// Bytes of the longest beginning of `text`, whole characters and at least one, that is a JSON
// string of at most `json_bytes`.
size_t BytesThatFit(std::string_view text, int64_t json_bytes);
// Text of a token: as it is when UTF-8, else OpenAI's "bytes:\xe2\x80".
std::string PrintableToken(const std::string& bytes);

}  // namespace rill::server::openai
