// GET /openapi.json: what every route takes and gives, as OpenAPI 3.1. Made once from the routes
// before this one, which is the last of the list, and itself; the schemas of requests are written
// by their parsers (openai/field_reader.h).
#include <algorithm>
#include <cctype>

#include "server/endpoints/endpoint.h"
#include "server/openai/field_reader.h"

namespace rill::server {
namespace {

constexpr std::string_view kComponents = R"({
"securitySchemes":{"key":{"type":"http","scheme":"bearer"}},
"schemas":{
 "Error":{"type":"object","required":["error"],"properties":{"error":{"type":"object",
  "required":["message","type","param","code"],"properties":{"message":{"type":"string"},
  "type":{"type":"string"},"param":{"type":["string","null"]},"code":{"type":["string","null"]}}}}},
 "Usage":{"type":"object","required":["prompt_tokens","completion_tokens","total_tokens"],
  "properties":{"prompt_tokens":{"type":"integer","minimum":0},
   "completion_tokens":{"type":"integer","minimum":0},"total_tokens":{"type":"integer","minimum":0},
   "prompt_tokens_details":{"type":"object","properties":{"cached_tokens":{"type":"integer"}}},
   "completion_tokens_details":{"type":"object",
    "properties":{"reasoning_tokens":{"type":"integer"}}}}}}})";

Json Content(const char* type, Json schema) {
  Json media, out;
  media.Set("schema", std::move(schema));
  out.Set(type, std::move(media));
  return out;
}

Json Response(const char* description, Json content) {
  Json out;
  out.Set("description", description);
  out.Set("content", std::move(content));
  return out;
}

Json Parameter(const std::string& name, const char* where) {
  Json out;
  out.Set("name", name);
  out.Set("in", where);
  out.Set("required", where == std::string_view("path"));
  out.Set("schema", openai::JsonSchema(R"({"type":"string"})"));
  return out;
}

Json Operation(const Route& route, const std::vector<std::string>& names) {
  const RouteDoc& doc = route.doc;
  Json out;
  out.Set("summary", doc.summary);
  if (route.access == Access::kPublic) out.Set("security", Json::Array{});
  if (route.access == Access::kAdmin) out.Set("tags", Json::Array{"admin"});
  Json::Array parameters;
  for (const std::string& name : names) parameters.push_back(Parameter(name, "path"));
  for (const std::string& name : doc.query) parameters.push_back(Parameter(name, "query"));
  if (!parameters.empty()) out.Set("parameters", std::move(parameters));
  if (!doc.request.is_null()) {
    Json body;
    body.Set("required", true);
    body.Set("content", Content("application/json", doc.request));
    out.Set("requestBody", std::move(body));
  }
  const Json text = openai::JsonSchema(R"({"type":"string"})");
  Json responses;
  for (const auto& [status, schema] : doc.responses) {
    Json content =
        schema.is_null() ? Content("text/plain", text) : Content("application/json", schema);
    if (doc.may_stream && status == 200) {
      // Without a schema: tools take one for that of an event, and OpenAPI 3.1 cannot say it.
      content.Set("text/event-stream", Json::Object{});
    }
    responses.Set(std::to_string(status), Response("Done", std::move(content)));
  }
  Json error;
  error.Set("$ref", "#/components/schemas/Error");
  responses.Set("default",
                Response("What is wrong", Content("application/json", std::move(error))));
  out.Set("responses", std::move(responses));
  return out;
}

// "/v1/models/{id*}" as OpenAPI writes it, and the names in it.
std::string PathOf(std::string path, std::vector<std::string>& names) {
  path.erase(std::remove(path.begin(), path.end(), '*'), path.end());
  for (size_t at = 0; (at = path.find('{', at)) != std::string::npos; ++at) {
    names.push_back(path.substr(at + 1, path.find('}', at) - at - 1));
  }
  return path;
}

Json Document(const std::vector<Route>& routes) {
  Json info;
  info.Set("title", "Rill");
  const Json build = DescribeBuild();
  const Json* version = build.Find("version");
  info.Set("version", version ? *version : Json("unknown"));
  info.Set("description", "OpenAI's chat and completions API, with vLLM's extensions.");
  Json paths{Json::Object{}};
  for (const Route& route : routes) {
    std::vector<std::string> names;
    const std::string path = PathOf(route.path, names);
    Json item = paths.Find(path) ? *paths.Find(path) : Json(Json::Object{});
    std::string method(MethodName(route.method));
    std::transform(method.begin(), method.end(), method.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    item.Set(method, Operation(route, names));
    paths.Set(path, std::move(item));
  }
  Json security;
  security.Set("key", Json::Array{});
  Json out;
  out.Set("openapi", "3.1.0");
  out.Set("info", std::move(info));
  out.Set("security", Json::Array{std::move(security), Json(Json::Object{})});
  out.Set("paths", std::move(paths));
  out.Set("components", openai::JsonSchema(kComponents));
  return out;
}

}  // namespace

void AddOpenapi(ServerState&, std::vector<Route>& routes) {
  routes.push_back({.path = "/openapi.json",
                    .handler = {},  // below: it needs this entry too
                    .doc = {.summary = "This document",
                            .responses = {{200, openai::JsonSchema(R"({"type":"object"})")}}}});
  const auto document = std::make_shared<const std::string>(Document(routes).Dump());
  routes.back().handler = [document](RequestPtr, ResponderPtr responder) {
    SendJson(*responder, 200, *document);
  };
}

}  // namespace rill::server
