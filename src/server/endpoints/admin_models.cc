// POST /admin/models {"path", "name", "aliases"}: load; DELETE /admin/models/{id}: unload.
// A load that fails changes nothing; an unload lets requests under way end.
#include <fmt/format.h>

#include <algorithm>

#include "rill/model_store.h"
#include "server/endpoints/endpoint.h"
#include "server/openai/api_error.h"
#include "server/openai/field_reader.h"

namespace rill::server {
namespace {

void AnswerStatus(ServerState& state, Responder& responder, const Status& status,
                  const std::string& what, const std::string& name, std::string_view param) {
  if (status.ok()) {
    state.log->Notice("admin", fmt::format("{} {}", what, name));
    Json out;
    out.Set("id", name);
    out.Set("status", what);
    return SendJson(responder, 200, out.Dump());
  }
  state.log->Error("admin", fmt::format("{}: {}", name, status.message()));
  int http = 400;
  if (status.code() == StatusCode::kNotFound) http = 404;
  if (status.code() == StatusCode::kInternal || status.code() == StatusCode::kDataLoss) http = 500;
  ApiError error =
      MakeError(http, http == 404 ? "model_not_found" : "model_load_failed", status.message());
  error.param = param;
  SendError(responder, error);
}

// True, with the answer sent, while the models of the command line load: they have been promised
// their names and their memory.
bool RefuseWhileLoading(const ServerState& state, Responder& responder) {
  if (!state.loading) return false;
  SendError(responder, MakeError(503, "model_loading",
                                 "The models of the command line are being loaded; their names and "
                                 "their memory are not known yet."));
  return true;
}

void SendBusy(Responder& responder) {
  SendError(responder, MakeError(503, "server_overloaded", "too many loads and unloads waiting"));
}

constexpr std::string_view kDoneSchema = R"({"type":"object","required":["id","status"],
"properties":{"id":{"type":"string"},"status":{"enum":["loaded","unloaded"]}}})";

void ReadLoad(openai::FieldReader& reader, std::string& wanted, ModelSpec& spec) {
  reader.String("path", 4096, wanted);
  reader.String("name", 256, spec.name);
  if (reader.ok() && wanted.empty()) {
    reader.Fail(openai::BadRequest("missing_required_parameter", "path",
                                   "Missing required parameter: 'path'."));
  }
  reader.Describe("aliases", R"({"type":"array","maxItems":64,)"
                             R"("items":{"type":"string","minLength":1,"maxLength":256}})");
  if (const Json* aliases = reader.Find("aliases")) {
    if (!aliases->is_array() || aliases->array().size() > 64) {
      reader.FailType("aliases", "an array of at most 64 strings", *aliases);
    } else {
      for (const Json& alias : aliases->array()) {
        if (!alias.is_string() || alias.string_value().empty() ||
            alias.string_value().size() > 256) {
          reader.FailValue("aliases", "expected strings of 1 to 256 bytes.");
          break;
        }
        spec.aliases.push_back(alias.string_value());
      }
    }
  }
}

void LoadModel(ServerState& state, const ResponderPtr& responder, const Json& body) {
  openai::FieldReader reader(body);
  std::string wanted;
  ModelSpec spec;
  ReadLoad(reader, wanted, spec);
  if (reader.error()) return SendError(*responder, *reader.error());
  const bool is_named = !spec.name.empty();
  if (!is_named) spec.name = ModelNameOf(wanted);
  if (RefuseWhileLoading(state, *responder)) return;
  if (const Status names = CheckModelNames({spec}); !names.ok()) {
    const char* culprit = !CheckModelNames({{.path = "", .name = spec.name, .aliases = {}}}).ok()
                              ? (is_named ? "name" : "path")
                              : "aliases";
    return SendError(*responder, openai::BadRequest("invalid_value", culprit, names.message()));
  }
  // The work takes seconds: on a thread of its own, one load or unload at a time.
  const bool queued = state.admin.Run({}, [&state, responder, wanted, spec]() mutable {
    for (const auto& model : state.registry.List()) {
      const bool by_name = model->Answers(spec.name);
      const auto alias =
          std::find_if(spec.aliases.begin(), spec.aliases.end(),
                       [&](const std::string& name) { return model->Answers(name); });
      if (!by_name && alias == spec.aliases.end()) continue;
      const std::string& taken = by_name ? spec.name : *alias;
      const Status in_use = InvalidArgument(
          fmt::format("the name '{}' is in use by the model '{}'", taken, model->id));
      return AnswerStatus(state, *responder, in_use, "loaded", spec.name,
                          by_name ? "name" : "aliases");
    }
    auto path = ResolveModel(wanted);
    Status status = path.status();
    if (status.ok()) {
      spec.path = *path;
      status = state.registry.LoadWithinBudget(spec);
      const auto model = status.ok() ? state.registry.Find(spec.name) : nullptr;
      if (model) {
        for (const std::string& warning : model->llm->info().warnings) {
          state.log->Write(
              LogLine("warning", "model").Add("model", model->id).Add("message", warning));
        }
      }
    }
    AnswerStatus(state, *responder, status, "loaded", spec.name, "path");
  });
  if (!queued) SendBusy(*responder);
}

}  // namespace

void AddAdminModels(ServerState& state, std::vector<Route>& routes) {
  routes.push_back({.method = Method::kPost,
                    .path = "/admin/models",
                    .access = Access::kAdmin,
                    .handler =
                        [&state](RequestPtr http, ResponderPtr responder) {
                          WithJsonBody(state, http, responder,
                                       [&state, responder](const Json& body) {
                                         LoadModel(state, responder, body);
                                       });
                        },
                    .doc = {.summary = "Load a model",
                            .request = openai::SchemaOf([](openai::FieldReader& reader) {
                                         std::string wanted;
                                         ModelSpec spec;
                                         ReadLoad(reader, wanted, spec);
                                       }).ToJson(),
                            .responses = {{200, openai::JsonSchema(kDoneSchema)}}}});
  routes.push_back({.method = Method::kDelete,
                    .path = "/admin/models/{id*}",
                    .access = Access::kAdmin,
                    .handler =
                        [&state](RequestPtr http, ResponderPtr responder) {
                          if (RefuseWhileLoading(state, *responder)) return;
                          const std::string name = *http->FindParam("id");
                          const bool queued = state.admin.Run({}, [&state, responder, name] {
                            AnswerStatus(state, *responder, state.registry.Unload(name), "unloaded",
                                         name, "model");
                          });
                          if (!queued) SendBusy(*responder);
                        },
                    .doc = {.summary = "Unload a model once its requests have ended",
                            .responses = {{200, openai::JsonSchema(kDoneSchema)}}}});
}

}  // namespace rill::server
