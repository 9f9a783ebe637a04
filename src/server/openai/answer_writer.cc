#include "server/openai/answer_writer.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "base/utf8.h"
#include "rill/json.h"

namespace rill::server::openai {

void AppendUsage(std::string& out, const UsageTotals& totals) {
  fmt::format_to(std::back_inserter(out),
                 FMT_COMPILE(R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                             R"("prompt_tokens_details":{{"cached_tokens":{}}},)"
                             R"("completion_tokens_details":{{"reasoning_tokens":0}}}})"),
                 totals.prompt_tokens, totals.completion_tokens,
                 totals.prompt_tokens + totals.completion_tokens, totals.cached_tokens);
}

void AppendLogprob(std::string& out, float logprob) {
  if (!std::isfinite(logprob) || logprob < -9999.0f) {
    out += "-9999.0";
    return;
  }
  fmt::format_to(std::back_inserter(out), FMT_COMPILE("{}"), logprob);
}

namespace {

// Of a character below 0x80, as AppendJsonString writes it.
int64_t AsciiJsonBytes(unsigned char byte) {
  if (byte == '"' || byte == '\\' || (byte >= '\b' && byte <= '\r' && byte != '\v')) return 2;
  return byte < 0x20 || byte == 0x7F ? 6 : 1;
}

}  // namespace

int64_t JsonStringBytes(std::string_view text) {
  int64_t bytes = static_cast<int64_t>(text.size()) + 2;
  // A byte that is no UTF-8 becomes U+FFFD.
  const int64_t more_of_high_byte = IsValidUtf8(text) ? 0 : 2;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    bytes += byte >= 0x80 ? more_of_high_byte : AsciiJsonBytes(byte) - 1;
  }
  return bytes;
}

size_t BytesThatFit(std::string_view text, int64_t json_bytes) {
  int64_t used = 2;
  size_t at = 0;
  while (at < text.size()) {
    const DecodedRune next = DecodeUtf8(text.substr(at));
    used += !next.valid ? 3 : next.rune < 0x80 ? AsciiJsonBytes(text[at]) : next.size;
    if (used > json_bytes && at > 0) break;
    at += next.size;
  }
  return at;
}

std::string PrintableToken(const std::string& bytes) {
  if (IsValidUtf8(bytes)) return bytes;
  std::string out = "bytes:";
  for (const char byte : bytes) {
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(byte));
  }
  return out;
}

AnswerWriter::AnswerWriter(AnswerOptions options) : options_(std::move(options)) {}

std::string AnswerWriter::Head(std::string_view object) const {
  std::string out = R"({"id":)";
  AppendJsonString(out, options_.id);
  fmt::format_to(std::back_inserter(out), R"(,"object":"{}","created":{},"model":)", object,
                 options_.created);
  AppendJsonString(out, options_.model);
  out += R"(,"system_fingerprint":)";
  AppendJsonString(out, options_.fingerprint);
  return out;
}

void AnswerWriter::EndChunk(std::string& out, const UsageTotals& totals) const {
  if (options_.continuous_usage) {
    out += R"(,"usage":)";
    AppendUsage(out, totals);
  } else if (options_.include_usage) {
    out += R"(,"usage":null)";
  }
  out += "}\n\n";
}

std::string AnswerWriter::UsageChunk(const UsageTotals& totals) const {
  std::string out = chunk_head_ + R"(,"choices":[],"usage":)";
  AppendUsage(out, totals);
  out += "}\n\n";
  return out;
}

void AnswerWriter::AppendTokenName(std::string& out, int32_t id) const {
  if (options_.tokens_as_ids) {
    AppendJsonString(out, fmt::format("token_id:{}", id));
  } else {
    AppendJsonString(out, PrintableToken(options_.token_bytes(id)));
  }
}

void AnswerWriter::AppendIds(std::string& out, const std::vector<llm::TextToken>& tokens) const {
  out += R"(,"token_ids":[)";
  for (size_t i = 0; i < tokens.size(); ++i) {
    fmt::format_to(std::back_inserter(out), FMT_COMPILE("{}{}"), i ? "," : "", tokens[i].token_id);
  }
  out += ']';
}

void AnswerWriter::AppendPromptLogprobs(std::string& out, const PromptPart& prompt) const {
  out += R"(,"prompt_logprobs":)";
  if (!prompt.wants_prompt_logprobs) {
    out += "null";
    return;
  }
  auto append = [&](int32_t id, float logprob, size_t rank, bool is_first) {
    if (!is_first) out += ',';
    fmt::format_to(std::back_inserter(out), R"("{}":{{"logprob":)", id);
    AppendLogprob(out, logprob);
    // The rank is known for the tokens that were asked for; another's is not looked for.
    out += R"(,"rank":)";
    out += rank ? std::to_string(rank) : "null";
    out += R"(,"decoded_token":)";
    AppendJsonString(out, PrintableToken(options_.token_bytes(id)));
    out += '}';
  };
  out += '[';
  for (size_t i = 0; i < prompt.logprobs.size(); ++i) {
    if (i == 0) {
      out += "null";
      continue;
    }
    const llm::TextToken& token = prompt.logprobs[i];
    out += ",{";
    size_t rank = 0;
    for (size_t k = 0; k < token.top.size(); ++k) {
      if (token.top[k].token_id == token.token_id) rank = k + 1;
    }
    append(token.token_id, token.logprob, rank, true);
    for (size_t k = 0; k < token.top.size(); ++k) {
      if (token.top[k].token_id != token.token_id) {
        append(token.top[k].token_id, token.top[k].logprob, k + 1, false);
      }
    }
    out += '}';
  }
  out += ']';
}

void AnswerWriter::AppendFinish(std::string& out, const ChoiceText& end) {
  out += R"("finish_reason":)";
  switch (end.finish) {
    case FinishReason::kNone: out += "null"; return;
    case FinishReason::kLength: out += R"("length")"; break;
    default: out += R"("stop")"; break;
  }
  out += R"(,"stop_reason":)";
  if (!end.stop_string.empty()) {
    AppendJsonString(out, end.stop_string);
  } else if (end.stop_id >= 0) {
    out += std::to_string(end.stop_id);
  } else {
    out += "null";
  }
}

}  // namespace rill::server::openai
