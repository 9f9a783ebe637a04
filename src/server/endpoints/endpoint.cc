#include "server/endpoints/endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "server/openai/api_error.h"
#include "server/openai/field_reader.h"

namespace rill::server {
namespace {

// A node of the tree takes up to 72 bytes, so max_nodes bounds a request at 72 MB by default,
// whatever its text. Its bytes are bounded before it comes here.
JsonLimits BodyLimits(const ServerOptions& options) {
  return {.max_bytes = static_cast<size_t>(options.max_body_bytes),
          .max_depth = static_cast<size_t>(options.limits.json_depth),
          .max_nodes = static_cast<size_t>(options.limits.json_nodes)};
}

// Members of all objects in `json`. The depth is that of a parsed text: bounded.
int64_t CountKeys(const Json& json) {
  int64_t count = 0;
  if (json.is_object()) {
    for (const auto& [key, value] : json.object()) count += 1 + CountKeys(value);
  } else if (json.is_array()) {
    for (const Json& value : json.array()) count += CountKeys(value);
  }
  return count;
}

bool IsJsonType(const std::string& content_type) {
  std::string type = content_type.substr(0, content_type.find(';'));
  while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.pop_back();
  std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  });
  return type == "application/json" ||
         (type.starts_with("application/") && type.ends_with("+json"));
}

void ParseAndHandle(ServerState& state, const HttpRequest& request, Responder& responder,
                    const JsonHandler& handle) {
  if (state.log->wants_prompts()) {
    state.log->Write(
        LogLine("info", "body").Add("request_id", request.request_id).Add("body", request.body));
  }
  const Result<Json> body = Json::Parse(request.body, "request body", BodyLimits(state.options));
  if (!body.ok()) {
    return SendError(responder, openai::BadRequest("invalid_json", "", body.status().message()));
  }
  if (!body->is_object()) {
    return SendError(responder,
                     openai::BadRequest("invalid_json", "",
                                        fmt::format("request body: expected a JSON object, got {}",
                                                    openai::WordForType(*body))));
  }
  // A member takes at least five bytes of text: "":0 and a comma.
  const int64_t max_keys = state.options.limits.json_keys;
  if (request.body.size() / 5 > static_cast<size_t>(max_keys) && CountKeys(*body) > max_keys) {
    return SendError(
        responder, openai::BadRequest("invalid_json", "",
                                      fmt::format("request body: more than {} members", max_keys)));
  }
  handle(*body);
}

}  // namespace

std::vector<Route> AllRoutes(ServerState& state) {
  std::vector<Route> routes;
#define ENDPOINT(Name) Add##Name(state, routes);
#include "server/endpoint_list.def"
#undef ENDPOINT
  return routes;
}

openai::ParseLimits DocumentedLimits(const ServerState& state) {
  openai::ParseLimits limits = ConfiguredLimits(state.options);
  limits.vocab_size = std::numeric_limits<int32_t>::max();
  limits.max_context = std::numeric_limits<int32_t>::max();
  // What the models run at once: a smaller step of one of them is not in the document.
  limits.max_choices = std::min(state.options.max_choices, state.options.load.max_sequences);
  limits.max_top_logprobs = state.options.max_logprobs;
  return limits;
}

void SendJson(Responder& responder, int status, std::string body) {
  responder.Send(status, {{"content-type", "application/json"}}, std::move(body));
}

void SendError(Responder& responder, const ApiError& error) {
  std::vector<Header> headers = {{"content-type", "application/json"}};
  if (error.http_status == 503) headers.push_back({"retry-after", "1"});
  responder.Send(error.http_status, std::move(headers), error.Body());
}

void WithJsonBody(ServerState& state, const RequestPtr& request, const ResponderPtr& responder,
                  JsonHandler handle) {
  const std::string* type = request->FindHeader("content-type");
  if (type && !IsJsonType(*type)) {
    return SendError(*responder, openai::BadRequest("invalid_content_type", "",
                                                    "Content-Type: expected application/json"));
  }
  if (request->body.size() <= kInlineBodyBytes) {
    return ParseAndHandle(state, *request, *responder, handle);
  }
  RunOnWorker(state, *request, responder, [&state, request, responder, handle = std::move(handle)] {
    if (!responder->gone()) ParseAndHandle(state, *request, *responder, handle);
  });
}

void RunOnWorker(ServerState& state, const HttpRequest& request, const ResponderPtr& responder,
                 std::function<void()> work) {
  const bool queued = state.workers.Run({.tenant = request.tenant,
                                         .weight = request.weight,
                                         .bytes = static_cast<int64_t>(request.body.size())},
                                        std::move(work));
  if (!queued) {
    SendError(*responder, MakeError(503, "server_overloaded", "too many large requests at once"));
  }
}

std::shared_ptr<ServedModel> FindModel(ServerState& state, const std::string& name,
                                       Responder& responder) {
  auto model = name.empty() ? state.registry.OnlyModel() : state.registry.Find(name);
  if (model) return model;
  if (state.loading) {
    for (const ModelSpec& spec : state.options.models) {
      const bool is_it =
          name.empty() || spec.name == name ||
          std::find(spec.aliases.begin(), spec.aliases.end(), name) != spec.aliases.end();
      if (!is_it) continue;
      SendError(responder, MakeError(503, "model_loading",
                                     fmt::format("The model '{}' is being loaded.", spec.name)));
      return nullptr;
    }
  }
  if (name.empty() && state.registry.List().empty()) {
    ApiError error = MakeError(404, "model_not_found", "No model is loaded on this server.");
    error.param = "model";
    SendError(responder, error);
  } else if (name.empty()) {
    SendError(responder, openai::BadRequest("missing_required_parameter", "model",
                                            "Missing required parameter: 'model'. This server has "
                                            "several; GET /v1/models lists them."));
  } else {
    SendError(responder, openai::ModelNotFound(name));
  }
  return nullptr;
}

Route ModelRoute(ServerState& state, std::string path, ModelHandler handle, RouteDoc doc) {
  return {.method = Method::kPost,
          .path = std::move(path),
          .handler =
              [&state, handle = std::move(handle)](RequestPtr http, ResponderPtr responder) {
                WithJsonBody(state, http, responder,
                             [&state, handle, http, responder](const Json& body) {
                               if (auto model = FindModelOf(state, body, *responder)) {
                                 handle(http, responder, body, model);
                               }
                             });
              },
          .doc = std::move(doc)};
}

std::shared_ptr<ServedModel> FindModelOf(ServerState& state, const Json& body,
                                         Responder& responder) {
  openai::FieldReader reader(body);
  std::string name;
  reader.String("model", 512, name);
  if (reader.error()) {
    SendError(responder, *reader.error());
    return nullptr;
  }
  return FindModel(state, name, responder);
}

}  // namespace rill::server
