// Driver for the Python tokenizer tests: JSON lines on stdin, JSON lines on stdout.
//
//   tokenizer_tool PATH
//   {"op": "encode", "text": …, "add_special": false, "parse_special": true} -> {"ids": […]}
//   {"op": "encode_many", "texts": […], …}                 -> {"ids": [[…], …]}
//   {"op": "encode_marked", "parts": [[text, trusted], …], "add_special": …} -> {"ids": […]}
//   {"op": "decode", "ids": […], "skip_special": false}    -> {"text": …}
//   {"op": "decode_many", "ids": [[…], …]}                 -> {"texts": […]}
//   {"op": "stream", "ids": […]}                           -> {"pieces": […]}
//   {"op": "info"}  -> {"kind", "vocab_size", "bos", "eos", "stop", "load_ms"}
//   {"op": "tokens", "ids": […]} -> {"text": […], "special": […]}
//   {"op": "time", "char": "a", "bytes": 1000000} -> {"ms", "tokens"}
// A tokenizer that does not load prints {"error": …} and exits with 1.

#include <chrono>
#include <iostream>
#include <string>

#include "base/json.h"
#include "text/tokenizer.h"

namespace rill::text {
namespace {

double NowMs() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void AppendIds(const std::vector<int32_t>& ids, std::string& out) {
  out += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(ids[i]);
  }
  out += ']';
}

std::vector<int32_t> ReadIds(const Json& json) {
  std::vector<int32_t> ids;
  for (const Json& id : json.array()) ids.push_back(static_cast<int32_t>(id.int_value()));
  return ids;
}

bool Flag(const Json& request, std::string_view key, bool fallback) {
  return request.GetBool(key, fallback).value();
}

std::string Answer(const std::shared_ptr<const Tokenizer>& tokenizer, const Json& request,
                   double load_ms) {
  const std::string op = request.GetString("op", "").value();
  const EncodeOptions encode{Flag(request, "add_special", false),
                             Flag(request, "parse_special", true)};
  const DecodeOptions decode{Flag(request, "skip_special", false)};
  std::string out;
  if (op == "encode") {
    out = "{\"ids\":";
    AppendIds(tokenizer->Encode(request.Find("text")->string_value(), encode), out);
  } else if (op == "encode_many") {
    out = "{\"ids\":[";
    bool first = true;
    for (const Json& text : request.Find("texts")->array()) {
      if (!first) out += ',';
      first = false;
      AppendIds(tokenizer->Encode(text.string_value(), encode), out);
    }
    out += ']';
  } else if (op == "encode_marked") {
    MarkedText marked;
    for (const Json& part : request.Find("parts")->array()) {
      const std::string& text = part.array()[0].string_value();
      const size_t begin = marked.text.size();
      marked.text += text;
      if (!part.array()[1].bool_value() || text.empty()) continue;
      if (!marked.trusted.empty() && marked.trusted.back().end == begin) {
        marked.trusted.back().end = marked.text.size();
      } else {
        marked.trusted.push_back({begin, marked.text.size()});
      }
    }
    out = "{\"ids\":";
    AppendIds(tokenizer->Encode(marked, encode.add_special), out);
  } else if (op == "decode") {
    out = "{\"text\":";
    AppendJsonString(out, tokenizer->Decode(ReadIds(*request.Find("ids")), decode));
  } else if (op == "decode_many") {
    out = "{\"texts\":[";
    bool first = true;
    for (const Json& ids : request.Find("ids")->array()) {
      if (!first) out += ',';
      first = false;
      AppendJsonString(out, tokenizer->Decode(ReadIds(ids), decode));
    }
    out += ']';
  } else if (op == "stream") {
    out = "{\"pieces\":[";
    IncrementalDetokenizer detokenizer(tokenizer, decode);
    for (const int32_t id : ReadIds(*request.Find("ids"))) {
      AppendJsonString(out, detokenizer.Push(id));
      out += ',';
    }
    AppendJsonString(out, detokenizer.Finish());
    out += ']';
  } else if (op == "info") {
    out = "{\"kind\":";
    AppendJsonString(out, tokenizer->kind());
    out += ",\"vocab_size\":" + std::to_string(tokenizer->vocab_size());
    out += ",\"bos\":" + (tokenizer->bos_id() ? std::to_string(*tokenizer->bos_id()) : "null");
    out += ",\"eos\":" + (tokenizer->eos_id() ? std::to_string(*tokenizer->eos_id()) : "null");
    out += ",\"stop\":";
    AppendIds({tokenizer->stop_ids().begin(), tokenizer->stop_ids().end()}, out);
    out += ",\"load_ms\":" + std::to_string(load_ms);
  } else if (op == "tokens") {
    std::string special;
    out = "{\"text\":[";
    for (const int32_t id : ReadIds(*request.Find("ids"))) {
      if (!special.empty()) {
        out += ',';
        special += ',';
      }
      AppendJsonString(out, tokenizer->TokenText(id));
      special += tokenizer->IsSpecial(id) ? "true" : "false";
    }
    out += "],\"special\":[" + special + "]";
  } else if (op == "time") {
    const std::string unit = request.Find("char")->string_value();
    const auto bytes = static_cast<size_t>(request.Find("bytes")->int_value());
    std::string text;
    while (text.size() < bytes) text += unit;
    const double start = NowMs();
    const size_t tokens = tokenizer->Encode(text, encode).size();
    out = "{\"ms\":" + std::to_string(NowMs() - start) + ",\"tokens\":" + std::to_string(tokens);
  } else {
    out = "{\"error\":\"unknown op\"";
  }
  return out + "}";
}

int Main(const std::string& path) {
  const double start = NowMs();
  auto tokenizer = LoadTokenizerFile(path);
  if (!tokenizer.ok()) {
    std::string out = "{\"error\":";
    AppendJsonString(out, tokenizer.status().ToString());
    std::cout << out << "}" << std::endl;
    return 1;
  }
  const double load_ms = NowMs() - start;
  for (std::string line; std::getline(std::cin, line);) {
    auto request = Json::Parse(line, "stdin");
    if (!request.ok()) {
      std::cout << "{\"error\":\"request is not JSON\"}" << std::endl;
      continue;
    }
    std::cout << Answer(*tokenizer, *request, load_ms) << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace rill::text

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenizer_tool PATH\n";
    return 2;
  }
  return rill::text::Main(argv[1]);
}
