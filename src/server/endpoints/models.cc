// GET /v1/models, GET /v1/models/{id}
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "server/endpoints/endpoint.h"
#include "server/openai/api_error.h"
#include "server/openai/field_reader.h"

namespace rill::server {
namespace {

constexpr std::string_view kModelSchema = R"({"type":"object",
"required":["id","object","created","owned_by"],"properties":{"id":{"type":"string"},
"object":{"const":"model"},"created":{"type":"integer"},"owned_by":{"type":"string"},
"root":{"type":"string"},"parent":{"type":"null"},"max_model_len":{"type":"integer"}}})";

void AppendModel(std::string& out, const std::string& id, int64_t created, const std::string& root,
                 int32_t max_context) {
  out += R"({"id":)";
  AppendJsonString(out, id);
  fmt::format_to(std::back_inserter(out),
                 R"(,"object":"model","created":{},"owned_by":"rill","root":)", created);
  AppendJsonString(out, root);
  out += R"(,"parent":null)";
  if (max_context > 0)
    fmt::format_to(std::back_inserter(out), R"(,"max_model_len":{})", max_context);
  out += '}';
}

// Models of the command line that are still to come.
std::vector<const ModelSpec*> ComingModels(const ServerState& state) {
  std::vector<const ModelSpec*> out;
  if (!state.loading) return out;
  const auto loaded = state.registry.List();
  for (const ModelSpec& spec : state.options.models) {
    // Not Find: with any_model_name it knows every name.
    const bool is_there = std::any_of(loaded.begin(), loaded.end(),
                                      [&](const auto& model) { return model->Answers(spec.name); });
    if (!is_there) out.push_back(&spec);
  }
  return out;
}

std::string ListModels(ServerState& state) {
  std::string out = R"({"object":"list","data":[)";
  bool is_first = true;
  auto add = [&](const std::string& id, int64_t created, const std::string& root,
                 int32_t max_context) {
    if (!is_first) out += ',';
    is_first = false;
    AppendModel(out, id, created, root, max_context);
  };
  for (const auto& model : state.registry.List()) {
    const int32_t max_context = model->llm->info().max_context;
    add(model->id, model->created, model->id, max_context);
    for (const std::string& alias : model->aliases) {
      add(alias, model->created, model->id, max_context);
    }
  }
  // Known, and soon here: clients that ask for the list at their start should not miss them.
  for (const ModelSpec* spec : ComingModels(state)) {
    add(spec->name, 0, spec->name, 0);
    for (const std::string& alias : spec->aliases) add(alias, 0, spec->name, 0);
  }
  out += "]}";
  return out;
}

}  // namespace

void AddModels(ServerState& state, std::vector<Route>& routes) {
  routes.push_back({.path = "/v1/models",
                    .handler =
                        [&state](RequestPtr, ResponderPtr responder) {
                          SendJson(*responder, 200, ListModels(state));
                        },
                    .while_draining = true,
                    .doc = {.summary = "The models of this server and their other names",
                            .responses = {{200, openai::JsonSchema(
                                                    R"({"type":"object",
                            "required":["object","data"],"properties":{"object":{"const":"list"},
                            "data":{"type":"array","items":)" +
                                                    std::string(kModelSchema) + "}}}")}}}});
  routes.push_back(
      {.path = "/v1/models/{id*}",
       .handler =
           [&state](RequestPtr request, ResponderPtr responder) {
             const std::string name = *request->FindParam("id");
             for (const auto& model : state.registry.List()) {
               if (!model->Answers(name)) continue;
               std::string out;
               AppendModel(out, name, model->created, model->id, model->llm->info().max_context);
               return SendJson(*responder, 200, std::move(out));
             }
             for (const ModelSpec* spec : ComingModels(state)) {
               if (spec->name != name && std::find(spec->aliases.begin(), spec->aliases.end(),
                                                   name) == spec->aliases.end()) {
                 continue;
               }
               std::string out;
               AppendModel(out, name, 0, spec->name, 0);
               return SendJson(*responder, 200, std::move(out));
             }
             SendError(*responder, openai::ModelNotFound(name));
           },
       .while_draining = true,
       .doc = {.summary = "One model", .responses = {{200, openai::JsonSchema(kModelSchema)}}}});
}

}  // namespace rill::server
