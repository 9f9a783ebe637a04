// What the request parsers make of bytes: stdin holds JSON lines {"hex":…,"step":n}; each answers
// one line {"requests":[{method,target,version,fields,body,keep_alive}…],"end":"done"|"need_more"|
// "fault","status":n,"message":…}. Bytes are written as Latin-1 text.
#include <cstdio>
#include <iostream>

#include "base/json.h"
#include "read_request.h"

namespace {

// One code point a byte, so that any bytes are valid JSON text.
std::string Latin1(std::string_view bytes) {
  std::string out;
  for (char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xc0 | byte >> 6);
      out += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return out;
}

std::string FromHex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return out;
}

}  // namespace

int main() {
  using rill::Json;
  using rill::server::ReadResult;
  std::string line;
  while (std::getline(std::cin, line)) {
    auto parsed = Json::Parse(line, "stdin");
    if (!parsed.ok()) return 1;
    const std::string bytes = FromHex(parsed->Find("hex")->string_value());
    const auto step = static_cast<size_t>(*parsed->GetInt("step", 1 << 20));
    std::string_view rest = bytes;
    Json requests{Json::Array{}};
    Json out{Json::Object{}};
    std::string end = "done";
    while (!rest.empty()) {
      const ReadResult result = rill::server::ReadRequest(rest, step);
      if (result.state == ReadResult::State::kNeedMore) {
        end = "need_more";
        break;
      }
      if (result.state == ReadResult::State::kFault) {
        end = "fault";
        out.Set("status", static_cast<int64_t>(result.fault.status));
        out.Set("message", result.fault.message);
        break;
      }
      Json fields{Json::Array{}};
      for (const auto& field : result.head.fields) {
        fields.mutable_array().push_back(
            Json(Json::Array{Json(Latin1(field.name)), Json(Latin1(field.value))}));
      }
      requests.mutable_array().push_back(
          Json(Json::Object{{"method", result.head.method_text},
                            {"target", result.head.target},
                            {"version", static_cast<int64_t>(result.head.minor_version)},
                            {"fields", std::move(fields)},
                            {"body", Latin1(result.body)},
                            {"keep_alive", result.head.keep_alive}}));
      rest.remove_prefix(result.consumed);
      if (!result.head.keep_alive) break;  // the connection ends: what follows is not read
    }
    out.Set("requests", std::move(requests));
    out.Set("end", end);
    std::printf("%s\n", out.Dump().c_str());
  }
  return 0;
}
