#include "llm/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "llm/memory_error.h"

namespace rill::llm {
namespace {

// Logit rows held at once: 64 rows of a 150k vocabulary are 38 MB.
constexpr int32_t kMaxLogitRows = 64;

}  // namespace

Evaluator::Evaluator(model::Model& model, KvLayout layout, int32_t max_step_tokens,
                     int32_t max_tokens)
    : model_(model),
      layout_(layout),
      max_step_tokens_(max_step_tokens),
      max_tokens_(max_tokens),
      width_(model.config().is_encoder ? model.config().hidden_size : model.config().vocab_size),
      max_rows_(std::min(max_step_tokens, kMaxLogitRows)) {}

Result<std::unique_ptr<Evaluator>> Evaluator::Create(model::Model& model, ops::Backend& backend,
                                                     quant::KvFormat kv_dtype, int32_t page_size,
                                                     int32_t max_step_tokens, int32_t max_tokens) {
  const KvLayout layout = model.MakeKvLayout(kv_dtype, page_size);
  std::unique_ptr<Evaluator> out(new Evaluator(model, layout, max_step_tokens, max_tokens));
  const int32_t num_pages = (max_tokens + page_size - 1) / page_size;
  RILL_ASSIGN_OR_RETURN(out->kv_, backend.Allocate(int64_t{num_pages} * layout.page_bytes()));
  out->page_table_.resize(static_cast<size_t>(num_pages));
  std::iota(out->page_table_.begin(), out->page_table_.end(), 0);
  out->logits_.resize(static_cast<size_t>(out->max_rows_) * static_cast<size_t>(out->width_));
  return out;
}

Status Evaluator::Run(std::span<const int32_t> token_ids, int64_t first_wanted_row,
                      const OnRows& on_rows) {
  const auto total = static_cast<int64_t>(token_ids.size());
  if (total > max_tokens_) {
    return ResourceExhausted(
        fmt::format("{} tokens, but the context holds {} positions", total, max_tokens_));
  }
  const int32_t vocab_size = model_.config().vocab_size;
  for (int64_t i = 0; i < total; ++i) {
    const int32_t id = token_ids[static_cast<size_t>(i)];
    if (id < 0 || id >= vocab_size) {
      return InvalidArgument(
          fmt::format("token {} at position {}: expected an id in [0, {})", id, i, vocab_size));
    }
  }
  std::vector<int32_t> positions(static_cast<size_t>(total));
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<int32_t> rows;
  for (int64_t begin = 0; begin < total;) {
    // A chunk with wanted rows is at most max_rows_ long; encoders see everything at once.
    const bool wanted = begin + max_rows_ > first_wanted_row;
    int64_t size = std::min<int64_t>(total - begin, wanted ? max_rows_ : max_step_tokens_);
    if (!wanted) size = std::min(size, first_wanted_row - begin);
    if (model_.config().is_encoder) {
      if (total > max_step_tokens_) {
        return ResourceExhausted(fmt::format("{} tokens, an encoder's step holds {} (--chunk)",
                                             total, max_step_tokens_));
      }
      size = total;
      logits_.resize(static_cast<size_t>(total * width_));
    }
    rows.clear();
    for (int64_t i = std::max<int64_t>(0, first_wanted_row - begin); i < size; ++i) {
      rows.push_back(static_cast<int32_t>(i));
    }
    const int32_t q_offsets[2] = {0, static_cast<int32_t>(size)};
    const int32_t kv_lens[1] = {static_cast<int32_t>(begin + size)};
    model::StepInput input;
    input.token_ids = token_ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
    input.positions = std::span<const int32_t>(positions).subspan(static_cast<size_t>(begin),
                                                                  static_cast<size_t>(size));
    input.kv.layout = layout_;
    input.kv.base = kv_->data();
    input.kv.num_pages = static_cast<int32_t>(page_table_.size());
    input.kv.num_seqs = 1;
    input.kv.max_pages = static_cast<int32_t>(page_table_.size());
    input.kv.page_table = page_table_.data();
    input.kv.q_offsets = q_offsets;
    input.kv.kv_lens = kv_lens;
    input.logit_rows = rows;
    const auto num_rows = static_cast<int64_t>(rows.size());
    RILL_RETURN_IF_ERROR(MemoryError(model_.Forward(
        input, MutableTensorView(logits_.data(), DType::kF32, Shape{num_rows, width_}))));
    if (num_rows > 0) {
      RILL_RETURN_IF_ERROR(on_rows(begin + rows.front(), num_rows, logits_.data()));
    }
    begin += size;
  }
  return OkStatus();
}

double NegativeLogLikelihood(const float* logits, int64_t size, int32_t target) {
  const float top = *std::max_element(logits, logits + size);
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += std::exp(static_cast<double>(logits[i] - top));
  return std::log(sum) - static_cast<double>(logits[target] - top);
}

}  // namespace rill::llm
