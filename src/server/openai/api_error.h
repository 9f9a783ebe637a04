// Errors of requests, in OpenAI's words (the form itself is server/errors.h).
//
// openai-python and its kin choose their exception by the HTTP status, frameworks look at `code`
// and at the words "maximum context length". Status 422 is never used; 401, 404, 408 and 429 mean
// exactly what they say, because routers take a server out of service for them.
#pragma once

#include <string>
#include <string_view>

#include "rill/status.h"
#include "server/errors.h"

namespace rill::server::openai {

// 400 with a code and the field that is wrong.
ApiError BadRequest(std::string code, std::string param, std::string message);
ApiError InvalidValue(std::string param, std::string message);
ApiError UnsupportedParameter(std::string param, std::string message);
ApiError ModelNotFound(std::string_view model);

// An error of the engine or the text service. kInvalidArgument, kResourceExhausted, kUnsupported
// and kFailedPrecondition are the request's fault (400), but for a deadline that is over (504);
// kUnavailable is 503; all others are 500, whose message names nothing but the request id.
ApiError RequestError(const Status& status, std::string_view request_id);

}  // namespace rill::server::openai
