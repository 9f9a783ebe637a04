// StepPlan: one forward pass as plain data. What the scheduler decided; computes nothing.
//
// Packed and unpadded: sequences one after another, decodes (one token each) first, then prefill
// chunks. Sequence s owns rows [q_offsets[s], q_offsets[s + 1]).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/step_time.h"
#include "kv/page_table.h"
#include "rill/request.h"

namespace rill::engine {

struct PlannedSequence {
  RequestId request_id = 0;
  int32_t choice = 0;      // a prefill is always choice 0
  int32_t logit_row = -1;  // row of the logits, -1 when this chunk does not end its prompt
  // Rows of the logits from first_prompt_row on: of this chunk's first num_prompt_rows positions.
  int32_t first_prompt_row = -1;
  int32_t num_prompt_rows = 0;  // > 0 only with GenerateRequest::prompt_logprobs
};

struct StepPlan {
  int64_t step = 0;                        // counts from 1
  std::vector<kv::PageCopy> copies;        // whole pages, copied before the forward, in this order
  int32_t num_decodes = 0;                 // the first sequences; the others are prefill chunks
  std::vector<PlannedSequence> sequences;  // [num_seqs]
  std::vector<int32_t> token_ids;          // [num_tokens]
  std::vector<int32_t> positions;          // [num_tokens]
  std::vector<int32_t> q_offsets;          // [num_seqs + 1]
  std::vector<int32_t> kv_lens;            // [num_seqs] positions after this step
  int32_t max_pages = 0;                   // row length of page_table
  std::vector<int32_t> page_table;         // [num_seqs, max_pages], -1 beyond a sequence's pages
  std::vector<int32_t> logit_rows;         // [num_rows] rows of the step whose logits are wanted
  std::vector<int32_t> wanted;  // [num_rows] 0: the largest logit is enough; the engine's

  StepSize size;  // for StepTime

  bool empty() const { return sequences.empty(); }
  int32_t num_seqs() const { return static_cast<int32_t>(sequences.size()); }
  int32_t num_tokens() const { return static_cast<int32_t>(token_ids.size()); }
  int32_t num_rows() const { return static_cast<int32_t>(logit_rows.size()); }
};

}  // namespace rill::engine
