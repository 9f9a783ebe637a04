#include "server/endpoints/generation_request.h"

#include <fmt/format.h>

#include <ctime>
#include <random>

namespace rill::server {
namespace {

std::string RandomId(const std::string& prefix) {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{}{:016x}{:08x}", prefix, generator(), static_cast<uint32_t>(generator()));
}

}  // namespace

llm::TextRequest MakeTextRequest(const ServerOptions& options, const HttpRequest& http,
                                 const openai::GenerationParams& params) {
  llm::TextRequest request;
  request.sampling = params.sampling;
  request.n = params.n;
  const auto objective = options.objectives.find(http.objective);
  request.priority =
      params.priority.value_or(objective == options.objectives.end() ? 0 : objective->second);
  if (!params.stop.empty()) request.stop = std::make_shared<const text::StopStrings>(params.stop);
  request.include_stop_string = params.include_stop_string;
  request.skip_special = params.skip_special;
  request.want_prompt_ids = params.return_token_ids;
  request.prompt_logprobs = params.prompt_logprobs;
  request.tenant = http.tenant;
  request.weight = http.weight;
  request.cache_salt = params.cache_salt;
  request.length_class = http.path;
  return request;
}

GenerationJob MakeJob(std::shared_ptr<const HttpRequest> http, std::shared_ptr<Responder> responder,
                      std::shared_ptr<ServedModel> model, const openai::GenerationParams& params) {
  GenerationJob job;
  job.http = std::move(http);
  job.responder = std::move(responder);
  job.model = std::move(model);
  job.n = params.n;
  job.stream = params.stream;
  job.include_usage = params.include_usage;
  job.wants_prompt_logprobs = params.prompt_logprobs >= 0;
  return job;
}

openai::AnswerOptions MakeAnswerOptions(const ServedModel& model,
                                        const openai::GenerationParams& params,
                                        const std::string& prefix) {
  openai::AnswerOptions options;
  options.id = RandomId(prefix);
  options.created = static_cast<int64_t>(std::time(nullptr));
  options.model = params.model.empty() ? model.id : params.model;
  options.fingerprint = model.fingerprint;
  options.include_usage = params.include_usage;
  options.continuous_usage = params.continuous_usage;
  options.top_logprobs = params.sampling.logprobs;
  options.tokens_as_ids = params.tokens_as_ids;
  options.return_token_ids = params.return_token_ids;
  const llm::ServingModel* llm = model.llm.get();
  options.token_bytes = [llm](int32_t id) { return llm->TokenBytes(id); };
  options.decode = [llm](std::span<const int32_t> ids) { return llm->Decode(ids); };
  options.is_special = [llm](int32_t id) { return llm->IsSpecial(id); };
  options.skip_special = params.skip_special;
  return options;
}

}  // namespace rill::server
