// Requests of OpenAI's API: what is taken, what is refused, and which field is blamed.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <ctime>

#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"

namespace rill::server::openai {
namespace {

ParseLimits Limits() {
  ParseLimits limits;
  limits.vocab_size = 1000;
  limits.max_context = 128;
  limits.template_variables = {"enable_thinking", "messages", "tools"};
  return limits;
}

Json Parse(const std::string& text) {
  auto json = Json::Parse(text, "test");
  EXPECT_TRUE(json.ok()) << json.status().ToString() << "\n" << text;
  return json.ok() ? *json : Json(Json::Object{});
}

struct ChatOutcome {
  std::optional<ApiError> error;
  ChatRequest request;
};

ChatOutcome Chat(const std::string& extra,
                 const std::string& messages = R"([{"role":"user","content":"Hi"}])") {
  ChatOutcome out;
  out.error = ParseChatRequest(
      Parse(R"({"model":"m","messages":)" + messages + (extra.empty() ? "" : "," + extra) + "}"),
      Limits(), out.request);
  return out;
}

struct CompletionOutcome {
  std::optional<ApiError> error;
  CompletionRequest request;
};

CompletionOutcome Complete(const std::string& extra, const std::string& prompt = R"("Hi")") {
  CompletionOutcome out;
  out.error = ParseCompletionRequest(
      Parse(R"({"model":"m","prompt":)" + prompt + (extra.empty() ? "" : "," + extra) + "}"),
      Limits(), out.request);
  return out;
}

TEST(ChatRequest, Defaults_AreOpenAis) {
  const ChatOutcome out = Chat("");
  ASSERT_FALSE(out.error) << out.error->message;
  EXPECT_EQ(out.request.params.model, "m");
  EXPECT_EQ(out.request.params.sampling.temperature, 1.0f);
  EXPECT_EQ(out.request.params.sampling.top_p, 1.0f);
  EXPECT_EQ(out.request.params.sampling.logprobs, -1);
  EXPECT_EQ(out.request.params.n, 1);
  EXPECT_FALSE(out.request.params.has_max_tokens);
  EXPECT_FALSE(out.request.params.stream);
  EXPECT_TRUE(out.request.chat.add_generation_prompt);
}

TEST(CompletionRequest, Defaults_AreOpenAis) {
  const CompletionOutcome out = Complete("");
  ASSERT_FALSE(out.error);
  EXPECT_EQ(out.request.params.sampling.max_tokens, 16);
  EXPECT_EQ(out.request.best_of, 1);
  EXPECT_FALSE(out.request.echo);
  EXPECT_FALSE(out.request.logprobs);
}

// Every numeric field at and beyond its bounds, and with each wrong type (threat C1).
struct Bounds {
  const char* field;
  const char* low;
  const char* below;
  const char* high;
  const char* above;
  bool is_integer;
};

class NumericFields : public ::testing::TestWithParam<Bounds> {};

TEST_P(NumericFields, InsideTaken_OutsideAndWrongTypesBlameTheField) {
  const Bounds& b = GetParam();
  auto with = [&](const char* value) { return fmt::format(R"("{}":{})", b.field, value); };
  for (const char* good : {b.low, b.high, "null"}) {
    const ChatOutcome out = Chat(with(good));
    EXPECT_FALSE(out.error) << b.field << "=" << good << ": " << out.error->message;
  }
  std::vector<const char*> bad = {b.below, b.above,  "\"1\"", "true", "[]",  "{}",
                                  "1e400", "-1e300", "1e300", "[1]",  "\"\""};
  if (b.is_integer) bad.push_back("1.5");
  for (const char* value : bad) {
    if (!value) continue;
    auto parsed = Json::Parse(with(value).insert(0, "{") + "}", "test");
    if (!parsed.ok()) continue;  // 1e400 is no JSON number here: 400 before this parser
    const ChatOutcome out = Chat(with(value));
    ASSERT_TRUE(out.error) << b.field << "=" << value;
    EXPECT_EQ(out.error->http_status, 400);
    EXPECT_EQ(out.error->param, b.field) << value;
    EXPECT_EQ(out.error->type, "invalid_request_error");
    EXPECT_TRUE(out.error->code);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, NumericFields,
    ::testing::Values(
        Bounds{"temperature", "0", "-0.001", "2", "2.001", false},
        Bounds{"top_p", "0", "-0.001", "1", "1.001", false},
        Bounds{"min_p", "0", "-0.001", "1", "1.001", false},
        Bounds{"top_k", "-1", "-2", "9223372036854775807", "9223372036854775808", true},
        Bounds{"repetition_penalty", "0.01", "0", "100", "100.1", false},
        Bounds{"presence_penalty", "-2", "-2.001", "2", "2.001", false},
        Bounds{"frequency_penalty", "-2", "-2.001", "2", "2.001", false},
        Bounds{"seed", "-9223372036854775808", nullptr, "9223372036854775807",
               "9223372036854775808", true},
        Bounds{"n", "1", "0", "16", "17", true},
        Bounds{"max_tokens", "1", "0", "2147483647", "2147483648", true},
        Bounds{"max_completion_tokens", "1", "-1", "2147483647", "2147483648", true},
        Bounds{"min_tokens", "0", "-1", "2147483647", "2147483648", true},
        Bounds{"priority", "-2147483647", "-2147483648", "2147483647", "2147483648", true},
        Bounds{"prompt_logprobs", "0", "-1", "20", "21", true}),
    [](const auto& info) { return std::string(info.param.field); });

TEST(ChatRequest, WrongTypes_BlameTheField) {
  for (const char* field :
       {"stream", "logprobs", "ignore_eos", "skip_special_tokens", "include_stop_str_in_output",
        "return_token_ids", "add_generation_prompt", "continue_final_message"}) {
    for (const char* value : {"1", "\"true\"", "[]", "{}"}) {
      const ChatOutcome out = Chat(fmt::format(R"("{}":{})", field, value));
      ASSERT_TRUE(out.error) << field << "=" << value;
      EXPECT_EQ(out.error->param, field);
      EXPECT_EQ(out.error->code, "invalid_type");
    }
  }
}

// Threat C2: numbers that would cost memory or time.
TEST(CompletionRequest, HugeNumbers_AreRefusedWithTheField) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("n":1000000)", "n"},
      {R"("best_of":1000000)", "best_of"},
      {R"("top_k":-5)", "top_k"},
      {R"("logprobs":1000000)", "logprobs"},
      {R"("n":3,"best_of":2)", "best_of"},
      {R"("best_of":4,"stream":true)", "best_of"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("min_tokens":17)", "min_tokens"},
      {R"("echo":true,"logprobs":1,"stream":true)", "echo"},
      {R"("suffix":"end")", "suffix"},
  };
  for (const auto& [extra, param] : cases) {
    const CompletionOutcome out = Complete(extra);
    ASSERT_TRUE(out.error) << extra;
    EXPECT_EQ(out.error->http_status, 400);
    EXPECT_EQ(out.error->param, param) << extra;
  }
  EXPECT_FALSE(Complete(R"("seed":-9223372036854775808)").error);
  EXPECT_FALSE(Complete(R"("max_tokens":1000000000)").error);  // the context's check comes later
  EXPECT_FALSE(Complete(R"("max_tokens":0,"echo":true)").error);
  EXPECT_FALSE(Complete(R"("suffix":"")").error);
}

// Threat C3.
TEST(CompletionRequest, TokenIdsOutsideTheVocabulary_AreRefused) {
  for (const char* ids :
       {"[-1]", "[1000]", "[1,2,2147483648]", "[1.5]", "[1,\"2\"]", "[[1],[1000]]", "[[]]", "[]",
        "[[1],\"a\"]", "[\"a\",[1]]", "[[[1]]]", "[null]", "{}", "5", "[9223372036854775808]"}) {
    const CompletionOutcome out = Complete("", ids);
    ASSERT_TRUE(out.error) << ids;
    EXPECT_EQ(out.error->param, "prompt") << ids;
  }
  for (const char* extra :
       {R"("logit_bias":{"1000":1})", R"("logit_bias":{"-1":1})", R"("logit_bias":{"-0":1})",
        R"("logit_bias":{"+1":1})", R"("logit_bias":{"4294967296":1})", R"("logit_bias":{"x":1})",
        R"("logit_bias":{"1":101})", R"("logit_bias":{"1":"2"})", R"("logit_bias":{"1":1,"01":2})",
        R"("logit_bias":{"":1})", R"("logit_bias":{"1 ":1})", R"("logit_bias":[1])"}) {
    const CompletionOutcome out = Complete(extra);
    ASSERT_TRUE(out.error) << extra;
    EXPECT_EQ(out.error->param, "logit_bias") << extra;
  }
  for (const char* extra : {R"("stop_token_ids":[1000])", R"("stop_token_ids":[-1])",
                            R"("stop_token_ids":5)", R"("stop_token_ids":["5"])"}) {
    const CompletionOutcome out = Complete(extra);
    ASSERT_TRUE(out.error) << extra;
    EXPECT_EQ(out.error->param, "stop_token_ids") << extra;
  }
}

TEST(CompletionRequest, Prompts_AllFourForms) {
  EXPECT_EQ(Complete("", R"("a")").request.prompts.size(), 1u);
  EXPECT_EQ(Complete("", R"(["a","b"])").request.prompts.size(), 2u);
  const CompletionOutcome ids = Complete("", "[1,2,3]");
  ASSERT_EQ(ids.request.prompts.size(), 1u);
  EXPECT_EQ(std::get<std::vector<int32_t>>(ids.request.prompts[0]),
            (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(Complete("", "[[1],[2,3]]").request.prompts.size(), 2u);
}

// Threat C4: OpenAI's code and words.
TEST(CompletionRequest, TooManyIds_AreContextLengthExceeded) {
  std::string ids = "[1";
  for (int i = 1; i < 128; ++i) ids += ",1";
  EXPECT_FALSE(Complete("", ids + "]").error);  // the answer's part is looked at with the model's
  const CompletionOutcome out = Complete("", ids + ",1]");
  ASSERT_TRUE(out.error);
  EXPECT_EQ(out.error->code, "context_length_exceeded");
  EXPECT_NE(out.error->message.find("maximum context length is 128 tokens"), std::string::npos);
}

TEST(ChatRequest, Stop_StringsAndLists) {
  EXPECT_EQ(Chat(R"("stop":"a")").request.params.stop, std::vector<std::string>{"a"});
  EXPECT_EQ(Chat(R"("stop":["a","b"])").request.params.stop.size(), 2u);
  EXPECT_FALSE(Chat(R"("stop":null)").error);
  std::string many = "\"stop\":[\"0\"";
  for (int i = 1; i < 16; ++i) many += fmt::format(",\"{}\"", i);
  EXPECT_FALSE(Chat(many + "]").error);
  for (const std::string& bad :
       {many + ",\"17\"]", std::string(R"("stop":"")"), std::string(R"("stop":[""])"),
        std::string(R"("stop":[1])"), std::string(R"("stop":{})")}) {
    const ChatOutcome out = Chat(bad);
    ASSERT_TRUE(out.error) << bad;
    EXPECT_EQ(out.error->param, "stop");
  }
}

TEST(ChatRequest, Messages_WhatIsTakenAndWhatItBecomes) {
  const ChatOutcome parts = Chat(
      "",
      R"([{"role":"developer","content":[{"type":"text","text":"A"},{"type":"text","text":"B"}]},
                   {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
                     "function":{"name":"f","arguments":"{\"x\":1}"}}]},
                   {"role":"tool","tool_call_id":"c1","content":"3"},
                   {"role":"user","content":"Hi","name":"Ann"}])");
  ASSERT_FALSE(parts.error) << parts.error->message;
  const Json::Array& messages = parts.request.chat.messages.array();
  EXPECT_EQ(messages[0].Find("role")->string_value(), "system");
  EXPECT_EQ(messages[0].Find("content")->string_value(), "A\nB");
  const Json& call = messages[1].Find("tool_calls")->array()[0];
  EXPECT_EQ(call.Find("function")->Find("arguments")->Find("x")->int_value(), 1);
  EXPECT_EQ(messages[3].Find("name")->string_value(), "Ann");

  const std::vector<std::pair<std::string, std::string>> bad = {
      {"[]", "messages"},
      {"{}", "messages"},
      {"null", "messages"},
      {"[1]", "messages[0]"},
      {R"([{"content":"x"}])", "messages[0].role"},
      {R"([{"role":"robot","content":"x"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":null}])", "messages[0].content"},
      {R"([{"role":"user","content":5}])", "messages[0].content"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
       "messages[0].content"},
      {R"([{"role":"user","content":"x","name":5}])", "messages[0].name"},
      {R"([{"role":"assistant","tool_calls":5}])", "messages[0].tool_calls"},
      {R"([{"role":"assistant","tool_calls":[{"function":{}}]}])", "messages[0].tool_calls"},
  };
  for (const auto& [text, param] : bad) {
    const ChatOutcome out = Chat("", text);
    ASSERT_TRUE(out.error) << text;
    EXPECT_EQ(out.error->param, param) << text;
  }
}

// Threat C5. A search among them for each took 12 s of CPU.
TEST(ChatRequest, MembersOfAMessage_TakeLinearTime) {
  constexpr int kMembers = 100'000;
  std::string messages = R"([{"role":"assistant","content":null,"tool_calls":[])";
  for (int i = 0; i < kMembers; ++i) messages += fmt::format(R"(,"x{}":{})", i, i);
  const Json body = Parse(R"({"messages":)" + messages + R"(,"name":"Ann"}]})");
  ChatRequest request;
  const std::clock_t begin = std::clock();
  const auto error = ParseChatRequest(body, Limits(), request);
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  ASSERT_FALSE(error) << error->message;
  EXPECT_LT(seconds, 2.0);
  const Json::Object& message = request.chat.messages.array()[0].object();
  ASSERT_EQ(message.size(), size_t{kMembers + 3});
  EXPECT_EQ(message[0].first, "role");
  EXPECT_EQ(message[1].first, "content");
  EXPECT_EQ(message[1].second.string_value(), "");
  EXPECT_EQ(message[kMembers + 1].first, fmt::format("x{}", kMembers - 1));
  EXPECT_EQ(message[kMembers + 1].second.int_value(), kMembers - 1);
  EXPECT_EQ(message.back().first, "name");
}

TEST(ChatRequest, ArgumentsOfToolCalls_ShareTheRequestsNodes) {
  auto parse = [](int calls, int64_t json_nodes) {
    std::string list;
    for (int i = 0; i < calls; ++i) {
      list +=
          std::string(i ? "," : "") +
          R"({"type":"function","function":{"name":"f","arguments":"{\"a\":[1,2,3,4,5,6,7]}"}})";
    }
    ParseLimits limits = Limits();
    limits.json_nodes = json_nodes;
    ChatRequest request;
    return ParseChatRequest(
        Parse(R"({"messages":[{"role":"assistant","content":"","tool_calls":[)" + list + "]}]}"),
        limits, request);
  };
  // A call has 9 nodes itself and 10 in its arguments; 8 stand around the calls.
  EXPECT_FALSE(parse(2, 46));
  const auto error = parse(3, 46);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->http_status, 400);
  EXPECT_EQ(error->code, "invalid_json");
  EXPECT_EQ(error->param, "messages[0].tool_calls");
  EXPECT_FALSE(parse(3, 65));
}

// Threat C8: no templates from requests; only scalars, and only variables that the template reads.
TEST(ChatRequest, TemplateArguments_OnlyDeclaredScalars) {
  const ChatOutcome out =
      Chat(R"("chat_template_kwargs":{"enable_thinking":false,"not_in_template":"x"})");
  ASSERT_FALSE(out.error);
  ASSERT_TRUE(out.request.chat.untrusted_extra.Find("enable_thinking"));
  EXPECT_FALSE(out.request.chat.untrusted_extra.Find("not_in_template"));
  EXPECT_TRUE(out.request.chat.extra.is_null());
  for (const char* bad :
       {R"("chat_template":"{{ 1 }}")", R"("chat_template_kwargs":{"messages":"x"})",
        R"("chat_template_kwargs":{"tokenize":true})",
        R"("chat_template_kwargs":{"enable_thinking":[1]})",
        R"("chat_template_kwargs":{"enable_thinking":{}})", R"("chat_template_kwargs":[])"}) {
    const ChatOutcome refused = Chat(bad);
    ASSERT_TRUE(refused.error) << bad;
    EXPECT_EQ(refused.error->param->substr(0, 13), "chat_template") << bad;
  }
  // A long name is cut between two characters.
  for (const size_t ascii : {60u, 61u, 62u, 63u}) {
    const std::string key = std::string(ascii, 'k') + "\xF0\x9F\x8E\x89" + std::string(9, 'e');
    const ChatOutcome refused = Chat("\"chat_template_kwargs\":{\"" + key + "\":[]}");
    ASSERT_TRUE(refused.error);
    EXPECT_EQ(*refused.error->param,
              "chat_template_kwargs." + key.substr(0, std::max<size_t>(64, ascii + 4)) + "…");
  }
  EXPECT_EQ(TemplateWords("{{ a.b }}{% if x1 %}"),
            (std::vector<std::string>{"a", "b", "if", "x1"}));
}

// Threat C9: the published table of docs/server.md.
TEST(ChatRequest, FieldsThatAreNotDone_AreIgnoredOrRefusedByMeaning) {
  for (const char* harmless :
       {R"("user":"u")", R"("metadata":{"a":"b"})", R"("store":true)", R"("service_tier":"auto")",
        R"("prompt_cache_key":"k")", R"("safety_identifier":"s")", R"("parallel_tool_calls":true)",
        R"("tool_choice":"auto")", R"("tools":[])", R"("response_format":{"type":"text"})",
        R"("modalities":["text"])", R"("reasoning_effort":"low")", R"("no_such_field":1)",
        R"("stream":true,"stream_options":{"include_usage":true})", R"("guided_json":null)",
        R"("guided_new":null)", R"("unguided_json":1)", R"("structural_tag":null)",
        R"("length_penalty":1.0)", R"("thinking_token_budget":null)", R"("vllm_xargs":{})",
        R"("best_of":1)", R"("n":3,"best_of":3)", R"("add_special_tokens":false)",
        // What clients of llama-server send with all of its samplers off.
        R"("repeat_penalty":1,"mirostat":0,"dry_multiplier":0.0,"xtc_probability":0,"samplers":null,
           "top_n_sigma":-1.0,"dynatemp_range":0,"lora":[],"mirostat_tau":5.0,"mirostat_eta":0.1,
           "dry_base":1.75,"dry_allowed_length":2,"dry_penalty_last_n":-1,"xtc_threshold":0.1,
           "dynatemp_exponent":1,"repeat_last_n":64,"cache_prompt":true,"timings_per_token":true)"}) {
    const ChatOutcome out = Chat(harmless);
    EXPECT_FALSE(out.error) << harmless << ": " << out.error->message;
  }
  const std::vector<std::pair<std::string, std::string>> refused = {
      {R"("tools":[{"type":"function"}])", "tools"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("functions":[{}])", "functions"},
      {R"("response_format":{"type":"json_object"})", "response_format"},
      {R"("response_format":{"type":"json_schema","json_schema":{}})", "response_format"},
      {R"("audio":{"voice":"x"})", "audio"},
      {R"("modalities":["audio"])", "modalities"},
      {R"("web_search_options":{})", "web_search_options"},
      {R"("guided_json":{})", "guided_json"},
      {R"("guided_choice":[])", "guided_choice"},
      {R"("guided_whitespace_pattern":"x")", "guided_whitespace_pattern"},
      {R"("guided_decoding_backend":"auto")", "guided_decoding_backend"},
      {R"("guided_tomorrow":false)", "guided_tomorrow"},
      {R"("structural_tag":"x")", "structural_tag"},
      {R"("length_penalty":2.0)", "length_penalty"},
      {R"("thinking_token_budget":2)", "thinking_token_budget"},
      {R"("repetition_detection":{"min_count":2})", "repetition_detection"},
      {R"("vllm_xargs":{"a":1})", "vllm_xargs"},
      {R"("best_of":3)", "best_of"},
      {R"("n":3,"best_of":1)", "best_of"},
      {R"("repeat_penalty":1.1)", "repeat_penalty"},
      {R"("repeat_penalty":"1")", "repeat_penalty"},
      {R"("mirostat":2)", "mirostat"},
      {R"("mirostat":false)", "mirostat"},
      {R"("dry_multiplier":0.8)", "dry_multiplier"},
      {R"("xtc_probability":0.5)", "xtc_probability"},
      {R"("top_n_sigma":1)", "top_n_sigma"},
      {R"("dynatemp_range":0.5)", "dynatemp_range"},
      {R"("samplers":["top_k"])", "samplers"},
      {R"("lora":[{"id":0,"scale":1.0}])", "lora"},
      {R"("structured_outputs":{"regex":"a"})", "structured_outputs"},
      {R"("prompt_embeds":"AAAA")", "prompt_embeds"},
      {R"("use_beam_search":true)", "use_beam_search"},
      {R"("echo":true)", "echo"},
      {R"("suffix":"end")", "suffix"},
  };
  for (const auto& [extra, param] : refused) {
    const ChatOutcome out = Chat(extra);
    ASSERT_TRUE(out.error) << extra;
    EXPECT_EQ(out.error->http_status, 400);
    EXPECT_EQ(out.error->code, "unsupported_parameter") << extra;
    EXPECT_EQ(out.error->param, param) << extra;
  }
  // Of both endpoints; there best_of is done.
  for (const char* extra : {R"("tools":[{}])", R"("functions":[{}])", R"("tool_choice":"required")",
                            R"("function_call":"auto")", R"("audio":{})",
                            R"("modalities":["audio"])", R"("web_search_options":{})"}) {
    const auto out = Complete(extra);
    ASSERT_TRUE(out.error) << extra;
    EXPECT_EQ(out.error->code, "unsupported_parameter") << extra;
  }
  EXPECT_FALSE(Complete(R"("tools":[],"tool_choice":"auto","modalities":["text"])").error);
  EXPECT_EQ(Complete(R"("guided_new":1)").error->param, "guided_new");
  EXPECT_EQ(Complete(R"("mirostat":1)").error->param, "mirostat");
  EXPECT_FALSE(Complete(R"("best_of":3)").error);
  // A name as long as the request is not told back.
  EXPECT_LT(Chat("\"guided_" + std::string(100'000, 'x') + "\":1").error->message.size(), 300u);

  const ChatOutcome lone = Chat(R"("stream_options":{"include_usage":true})");
  ASSERT_TRUE(lone.error);
  EXPECT_EQ(lone.error->param, "stream_options");
}

TEST(ChatRequest, SpecialTokens_OnlyTheTemplatesUnlessAskedFor) {
  EXPECT_FALSE(Chat("").request.add_special);
  EXPECT_TRUE(Chat(R"("add_special_tokens":true)").request.add_special);
  const ChatOutcome bad = Chat(R"("add_special_tokens":"x")");
  ASSERT_TRUE(bad.error);
  EXPECT_EQ(bad.error->code, "invalid_type");
  EXPECT_EQ(bad.error->param, "add_special_tokens");
  EXPECT_TRUE(Complete("").request.add_special);
}

TEST(ChatRequest, Logprobs_TopNeedsThem) {
  EXPECT_EQ(Chat(R"("logprobs":true)").request.params.sampling.logprobs, 0);
  EXPECT_EQ(Chat(R"("logprobs":true,"top_logprobs":5)").request.params.sampling.logprobs, 5);
  EXPECT_EQ(Chat(R"("logprobs":false)").request.params.sampling.logprobs, -1);
  EXPECT_EQ(Chat(R"("top_logprobs":5)").error->param, "top_logprobs");
  EXPECT_EQ(Chat(R"("logprobs":true,"top_logprobs":21)").error->param, "top_logprobs");
}

TEST(ChatRequest, Coercions_AreTheDocumentedOnes) {
  const ChatOutcome out = Chat(R"("max_tokens":16.0,"top_p":0,"top_k":5000,"seed":-1)");
  ASSERT_FALSE(out.error);
  EXPECT_EQ(out.request.params.sampling.max_tokens, 16);
  EXPECT_GT(out.request.params.sampling.top_p, 0.0f);
  EXPECT_EQ(out.request.params.sampling.top_k, 0);  // all of the vocabulary
  EXPECT_EQ(out.request.params.sampling.seed, ~uint64_t{0});
  // The newer name wins.
  EXPECT_EQ(Chat(R"("max_tokens":5,"max_completion_tokens":7)").request.params.sampling.max_tokens,
            7);
}

// A field that a parser reads without saying what it takes would be missing in /openapi.json.
TEST(RequestSchema, EveryFieldThatIsRead_IsDescribed) {
  const FieldSchema chat = SchemaOf([](FieldReader& reader) {
    ChatRequest request;
    ReadChatRequest(reader, Limits(), request);
  });
  const FieldSchema completion = SchemaOf([](FieldReader& reader) {
    CompletionRequest request;
    ReadCompletionRequest(reader, Limits(), request);
  });
  for (const FieldSchema* schema : {&chat, &completion}) {
    EXPECT_EQ(schema->undescribed(), std::vector<std::string>{});
    const Json json = schema->ToJson();
    EXPECT_GT(json.Find("properties")->object().size(), 40u);
    EXPECT_EQ(json.Find("required")->array().size(), 1u);
    EXPECT_TRUE(json.Find("patternProperties")->Find("^guided_"));
    EXPECT_EQ(json.Find("properties")->Find("mirostat")->Dump(),
              R"({"type":["number","null"],"maximum":0,)"
              R"("description":"Not supported: this sampler is not supported."})");
  }
  const Json json = completion.ToJson();
  const Json* temperature = json.Find("properties")->Find("temperature");
  EXPECT_EQ(temperature->Dump(), R"({"type":["number","null"],"minimum":0,"maximum":2})");
  EXPECT_EQ(SchemaOf([](FieldReader& reader) { reader.Has("new"); }).undescribed(),
            std::vector<std::string>{"new"});
}

}  // namespace
}  // namespace rill::server::openai
