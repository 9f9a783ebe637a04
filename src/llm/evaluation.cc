// Llm's evaluation calls: logits, perplexity, fingerprint.

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "llm/llm_impl.h"

namespace rill {

int64_t Llm::logits_width() const {
  return impl_->info.is_encoder ? impl_->info.hidden_size : impl_->info.vocab_size;
}

Status Llm::EvalLogits(std::span<const int32_t> token_ids, const OnRows& on_rows) {
  if (token_ids.empty()) return InvalidArgument("no token ids");
  RILL_ASSIGN_OR_RETURN(auto evaluator,
                        impl_->MakeEvaluator(static_cast<int32_t>(token_ids.size())));
  return evaluator->Run(token_ids, 0, on_rows);
}

Result<PerplexityResult> Llm::EvalPerplexity(std::string_view text, int32_t window, int32_t stride,
                                             const OnPosition& on_position) {
  const auto start = std::chrono::steady_clock::now();
  if (impl_->info.is_encoder) return Unsupported("perplexity: the model is an encoder");
  if (window < 2)
    return InvalidArgument(fmt::format("window: expected at least 2, got {}", window));
  if (stride < 1 || stride > window) {
    return InvalidArgument(fmt::format("stride: expected [1, window={}], got {}", window, stride));
  }
  // As transformers' documentation does it: the text as one string, with the tokenizer's own
  // special tokens in front.
  RILL_ASSIGN_OR_RETURN(const auto ids, Tokenize(text, true, false));
  const auto total = static_cast<int64_t>(ids.size());
  if (total < 2) return InvalidArgument("perplexity: the text has fewer than two tokens");
  RILL_ASSIGN_OR_RETURN(
      auto evaluator, impl_->MakeEvaluator(static_cast<int32_t>(std::min<int64_t>(window, total))));
  PerplexityResult result;
  result.num_tokens = total;
  double nll = 0;
  int64_t predicted_to = 1;  // tokens [1, predicted_to) have their prediction
  for (int64_t begin = 0; begin < total && predicted_to < total; begin += stride) {
    const int64_t end = std::min<int64_t>(begin + window, total);
    const auto chunk = std::span<const int32_t>(ids).subspan(static_cast<size_t>(begin),
                                                             static_cast<size_t>(end - begin));
    // Row r predicts token begin + r + 1; the first wanted one is predicted_to. A token that begins
    // a window has nothing before it there, so it is skipped when windows do not overlap.
    const int64_t first_target = std::max(predicted_to, begin + 1);
    const int64_t first_row = first_target - 1 - begin;
    RILL_RETURN_IF_ERROR(evaluator->Run(
        chunk, first_row, [&](int64_t row, int64_t num_rows, const float* logits) -> Status {
          for (int64_t i = 0; i < num_rows; ++i) {
            const int64_t target = begin + row + i + 1;
            if (target >= end) break;
            const double term =
                llm::NegativeLogLikelihood(logits + i * evaluator->width(), evaluator->width(),
                                           ids[static_cast<size_t>(target)]);
            if (!std::isfinite(term)) {
              return Internal(fmt::format("non-finite logits at token {}", target - 1));
            }
            nll += term;
            ++result.num_predicted;
          }
          if (on_position && !on_position(begin + row + num_rows, total)) {
            return Cancelled("interrupted");
          }
          return OkStatus();
        }));
    predicted_to = end;
  }
  result.mean_nll = nll / static_cast<double>(result.num_predicted);
  result.perplexity = std::exp(result.mean_nll);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

Result<uint64_t> Llm::Fingerprint() {
  // 48 ids spread over any vocabulary: long enough for three strips of keys and a second chunk of
  // most kernels, short enough for the slowest path.
  if (!impl_->model) return FailedPrecondition(impl_->info.path + ": opened for text only");
  const int32_t length = std::min(kFingerprintTokens, impl_->model->config().max_context);
  std::vector<int32_t> ids;
  uint64_t state = 0x9E3779B97F4A7C15ull;
  for (int32_t i = 0; i < length; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    ids.push_back(
        static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(impl_->info.vocab_size)));
  }
  XXH64_state_t* hash = XXH64_createState();
  XXH64_reset(hash, 0);
  const int64_t width = logits_width();
  const Status status = EvalLogits(ids, [&](int64_t row, int64_t num_rows, const float* logits) {
    for (int64_t i = 0; i < num_rows * width; ++i) {
      if (std::isfinite(logits[i])) continue;
      return FailedPrecondition(
          fmt::format("{}: no fingerprint: the logit of token {} after {} is {}", impl_->info.path,
                      i % width, row + i / width + 1, logits[i]));
    }
    XXH64_update(hash, logits, static_cast<size_t>(num_rows * width) * sizeof(float));
    return OkStatus();
  });
  const uint64_t digest = XXH64_digest(hash);
  XXH64_freeState(hash);
  if (!status.ok()) return status;
  return digest;
}

}  // namespace rill
