// POST /tokenize, POST /detokenize, GET /tokenizer_info: vLLM's shapes, which lm-eval looks for.
#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"
#include "server/endpoints/endpoint.h"
#include "server/openai/answer_writer.h"
#include "server/openai/api_error.h"
#include "server/openai/chat_request.h"

namespace rill::server {
namespace {

constexpr size_t kInlineBytes = 8u << 10;  // more is tokenised on a worker

struct TokenizeFields {
  llm::TextRequest request;
  bool with_strings = false;
};

// `is_chat`: of messages, otherwise of a prompt.
void ReadTokenize(openai::FieldReader& reader, const openai::ParseLimits& limits, bool is_chat,
                  TokenizeFields& out) {
  std::string model;
  reader.String("model", 512, model);
  out.request.add_special = !is_chat;  // a template writes its own
  reader.Bool("add_special_tokens", out.request.add_special);
  reader.Bool("return_token_strs", out.with_strings);
  if (is_chat) {
    ChatInput chat;
    openai::NormaliseMessages(reader, limits, chat.messages);
    openai::ReadTemplateFields(reader, limits, chat, out.request.continue_final_message);
    out.request.prompt = std::move(chat);
  } else {
    std::string prompt;
    if (!reader.String("prompt", 128u << 20, prompt) && reader.ok()) {
      reader.Fail(openai::BadRequest("missing_required_parameter", "prompt",
                                     "Missing required parameter: 'prompt' or 'messages'."));
    }
    reader.Describe("prompt", R"({"type":"string"})", /*required=*/true);
    out.request.prompt = std::move(prompt);
    out.request.parse_special = true;
  }
}

// What one answer takes, until it is sent.
class HeldAnswer {
 public:
  HeldAnswer(ServerState& state, Responder& responder)
      : responder_(responder), hold_(std::make_shared<AnswerBudget::Hold>(state.answers)) {
    responder.OnGone([hold = hold_] {});  // the exchange keeps it to its end
  }
  // In all; false after the error was sent.
  bool Takes(int64_t bytes) {
    const AnswerBudget::Verdict verdict = hold_->Grow(std::max<int64_t>(0, bytes - hold_->bytes()));
    if (verdict == AnswerBudget::Verdict::kFits) return true;
    SendError(responder_, AnswerError(verdict));
    return false;
  }

 private:
  Responder& responder_;
  const std::shared_ptr<AnswerBudget::Hold> hold_;
};

void Tokenize(ServerState& state, const RequestPtr& http, Responder& responder, const Json& body,
              const std::shared_ptr<ServedModel>& model) {
  openai::FieldReader reader(body);
  TokenizeFields fields;
  const bool is_chat = reader.Has("messages");
  ReadTokenize(reader, model->limits, is_chat, fields);
  const llm::TextRequest& request = fields.request;
  if (reader.error()) return SendError(responder, *reader.error());
  // A completion of an empty text starts somewhere; the text has no token for that.
  const bool is_empty = !is_chat && std::get<std::string>(request.prompt).empty();
  auto tokenised = is_empty ? model->llm->llm().Tokenize("", request.add_special, true)
                            : model->llm->text().Tokenise(request);
  if (!tokenised.ok()) {
    ApiError error = openai::RequestError(tokenised.status(), http->request_id);
    if (error.http_status == 400) error.param = is_chat ? "messages" : "prompt";
    return SendError(responder, error);
  }
  const std::vector<int32_t> ids = std::move(*tokenised);
  HeldAnswer held(state, responder);
  if (!held.Takes(static_cast<int64_t>(ids.size()) * AnswerBudget::kIdBytes)) return;
  std::string out = fmt::format(R"({{"count":{},"max_model_len":{},"tokens":[{}],"token_strs":)",
                                ids.size(), model->llm->info().max_context, fmt::join(ids, ","));
  if (fields.with_strings) {
    out += '[';
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i) out += ',';
      AppendJsonString(out, model->llm->llm().TokenText(ids[i]));
    }
    out += ']';
  } else {
    out += "null";
  }
  out += '}';
  if (held.Takes(static_cast<int64_t>(out.size()))) SendJson(responder, 200, std::move(out));
}

void ReadDetokenize(openai::FieldReader& reader, const openai::ParseLimits& limits,
                    std::vector<int32_t>& ids) {
  std::string model;
  reader.String("model", 512, model);
  openai::DescribeTokenIds(reader, "tokens", limits.vocab_size, 1u << 20, /*required=*/true);
  const Json* tokens = reader.Find("tokens");
  if (!tokens) {
    reader.Fail(openai::BadRequest("missing_required_parameter", "tokens",
                                   "Missing required parameter: 'tokens'."));
  } else if (!tokens->is_array()) {
    reader.FailType("tokens", "an array of token ids", *tokens);
  } else {
    openai::ReadTokenIds(reader, "tokens", tokens->array(), limits.vocab_size, 1u << 20, ids);
  }
}

void Detokenize(ServerState& state, const RequestPtr&, Responder& responder, const Json& body,
                const std::shared_ptr<ServedModel>& model) {
  openai::FieldReader reader(body);
  std::vector<int32_t> ids;
  ReadDetokenize(reader, model->limits, ids);
  if (reader.error()) return SendError(responder, *reader.error());
  // Before the text is made: what its tokens say. Then what they became, escapes counted.
  HeldAnswer held(state, responder);
  int64_t bytes = 0;
  for (const int32_t id : ids) {
    bytes += static_cast<int64_t>(model->llm->TokenBytes(id).size());
    if (bytes > AnswerBudget::kMaxAnswerBytes) break;
  }
  if (!held.Takes(bytes)) return;
  auto text = model->llm->llm().Detokenize(ids, /*skip_special=*/false);
  if (!text.ok()) return SendError(responder, openai::RequestError(text.status(), ""));
  if (!held.Takes(openai::JsonStringBytes(*text))) return;
  std::string out = R"({"prompt":)";
  AppendJsonString(out, *text);
  out += '}';
  SendJson(responder, 200, std::move(out));
}

void TokenizerInfo(ServerState& state, const HttpRequest& http, Responder& responder) {
  const std::string* name = http.FindQuery("model");
  auto model = FindModel(state, name ? *name : "", responder);
  if (!model) return;
  const llm::ServingModel& llm = *model->llm;
  auto token = [&](std::optional<int32_t> id) {
    return id ? Json(llm.llm().TokenText(*id)) : Json();
  };
  Json out;
  out.Set("tokenizer_class", llm.kind_of_tokenizer());
  out.Set("vocab_size", llm.info().vocab_size);
  out.Set("model_max_length", llm.info().max_context);
  out.Set("bos_token", token(llm.bos_id()));
  out.Set("eos_token", token(llm.eos_id()));
  out.Set("pad_token", token(llm.eos_id()));
  out.Set("bos_token_id", llm.bos_id() ? Json(*llm.bos_id()) : Json());
  out.Set("eos_token_id", llm.eos_id() ? Json(*llm.eos_id()) : Json());
  out.Set("chat_template",
          llm.chat_template_source().empty() ? Json() : Json(llm.chat_template_source()));
  SendJson(responder, 200, out.Dump());
}

// What a parsed body takes in memory is many times its text: one that was parsed on a worker is not
// kept for another turn.
bool IsForThisThread(const HttpRequest& http) {
  return http.body.size() <= kInlineBytes || http.body.size() > kInlineBodyBytes;
}

}  // namespace

void AddTokenize(ServerState& state, std::vector<Route>& routes) {
  auto schema = [&state](bool is_chat) {
    return openai::SchemaOf([&](openai::FieldReader& reader) {
             TokenizeFields fields;
             ReadTokenize(reader, DocumentedLimits(state), is_chat, fields);
           })
        .ToJson();
  };
  using Work = void (*)(ServerState&, const RequestPtr&, Responder&, const Json&,
                        const std::shared_ptr<ServedModel>&);
  auto add = [&](const char* path, Work work, RouteDoc doc) {
    routes.push_back(ModelRoute(
        state, path,
        [&state, work](const RequestPtr& http, const ResponderPtr& responder, const Json& body,
                       const std::shared_ptr<ServedModel>& model) {
          if (IsForThisThread(*http)) return work(state, http, *responder, body, model);
          RunOnWorker(state, *http, responder, [=, &state, body = Json(body)] {
            work(state, http, *responder, body, model);
          });
        },
        std::move(doc)));
  };
  Json either;
  either.Set("anyOf", Json::Array{schema(true), schema(false)});
  add("/tokenize", Tokenize,
      {.summary = "The token ids of a text or a conversation",
       .request = std::move(either),
       .responses = {{200, openai::JsonSchema(R"({"type":"object",
"required":["count","max_model_len","tokens","token_strs"],"properties":{
 "count":{"type":"integer"},"max_model_len":{"type":"integer"},
 "tokens":{"type":"array","items":{"type":"integer"}},
 "token_strs":{"type":["array","null"],"items":{"type":"string"}}}})")}}});
  add("/detokenize", Detokenize,
      {.summary = "The text of token ids",
       .request = openai::SchemaOf([&](openai::FieldReader& reader) {
                    std::vector<int32_t> ids;
                    ReadDetokenize(reader, DocumentedLimits(state), ids);
                  }).ToJson(),
       .responses = {{200, openai::JsonSchema(R"({"type":"object","required":["prompt"],
"properties":{"prompt":{"type":"string"}}})")}}});
  if (state.options.tokenizer_info) {
    routes.push_back(
        {.path = "/tokenizer_info",
         .handler = [&state](RequestPtr http,
                             ResponderPtr responder) { TokenizerInfo(state, *http, *responder); },
         .doc = {.summary = "The tokenizer and the chat template",
                 .responses = {{200, openai::JsonSchema(R"({"type":"object"})")}},
                 .query = {"model"}}});
  }
}

}  // namespace rill::server
