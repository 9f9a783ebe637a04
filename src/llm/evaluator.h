// Evaluator: a model run over given tokens, for numbers rather than for text.
//
// Owner thread: one at a time. Holds KV memory for one sequence of up to max_tokens positions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "model/model.h"
#include "ops/backend.h"
#include "rill/status.h"

namespace rill::llm {

class Evaluator {
 public:
  // The model and the backend must outlive the evaluator.
  static Result<std::unique_ptr<Evaluator>> Create(model::Model& model, ops::Backend& backend,
                                                   quant::KvFormat kv_dtype, int32_t page_size,
                                                   int32_t max_step_tokens, int32_t max_tokens);

  // on_rows(first_row, num_rows, logits): logits [num_rows, width] f32, rows in order.
  using OnRows = std::function<Status(int64_t first_row, int64_t num_rows, const float* logits)>;
  // Runs `token_ids` from position 0 in chunks and hands out the logits of rows
  // [first_wanted_row, size). Errors: kResourceExhausted beyond max_tokens, kInvalidArgument for an
  // id outside the vocabulary.
  Status Run(std::span<const int32_t> token_ids, int64_t first_wanted_row, const OnRows& on_rows);

  // Floats per row: vocab_size, or hidden_size for an encoder.
  int64_t width() const { return width_; }

 private:
  Evaluator(model::Model& model, KvLayout layout, int32_t max_step_tokens, int32_t max_tokens);

  model::Model& model_;
  KvLayout layout_;
  int32_t max_step_tokens_;
  int32_t max_tokens_;
  int64_t width_;
  std::unique_ptr<ops::Buffer> kv_;
  std::vector<int32_t> page_table_;
  std::vector<float> logits_;  // [max_step_rows, width]
  int32_t max_rows_;
};

// Negative log-likelihood (nats) of `target` under logits [size]: log(sum exp(x - max)) - (x_t -
// max) in f64, terms in ascending order.
double NegativeLogLikelihood(const float* logits, int64_t size, int32_t target);

}  // namespace rill::llm
