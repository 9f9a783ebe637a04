#include "server/answer_budget.h"

#include <fmt/format.h>

namespace rill::server {

ApiError AnswerError(AnswerBudget::Verdict verdict) {
  if (verdict == AnswerBudget::Verdict::kBusy) {
    return MakeError(503, "server_overloaded",
                     "Too many large answers are under way. Try again later.");
  }
  return MakeError(
      400, "answer_too_large",
      fmt::format("The answer would be larger than {} MiB. Ask for fewer prompts, choices, tokens "
                  "or logprobs in one request, or for a stream.",
                  AnswerBudget::kMaxAnswerBytes >> 20));
}

}  // namespace rill::server
