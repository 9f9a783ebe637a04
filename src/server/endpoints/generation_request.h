// From parsed parameters to a TextRequest and a GenerationJob: what chat and completions share.
#pragma once

#include <memory>
#include <string>

#include "llm/text_service.h"
#include "server/generation.h"
#include "server/openai/answer_writer.h"
#include "server/openai/generation_params.h"

namespace rill::server {

llm::TextRequest MakeTextRequest(const ServerOptions& options, const HttpRequest& http,
                                 const openai::GenerationParams& params);
GenerationJob MakeJob(std::shared_ptr<const HttpRequest> http, std::shared_ptr<Responder> responder,
                      std::shared_ptr<ServedModel> model, const openai::GenerationParams& params);
// With an id of `prefix` and 24 random hex digits.
openai::AnswerOptions MakeAnswerOptions(const ServedModel& model,
                                        const openai::GenerationParams& params,
                                        const std::string& prefix);

}  // namespace rill::server
