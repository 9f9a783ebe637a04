// What one op call costs at least: bytes and multiply-adds, from its schema (OpSchema::macs and the
// shapes) and its arguments. For profiles, and for the "% of limit" of a benchmark or a server.
#pragma once

#include "ops/op_schema.h"
#include "rill/hardware.h"

namespace rill::ops {

// Weights count once; of a mixture, the experts that are chosen (expert_ids is read when its memory
// is there, else the expected number of distinct experts of an even choice counts). Tables that
// are read row by row (no macs in the schema) count their rows. KV: the visible positions of each
// sequence, once for all its queries. Products are integer or f32 as PackedWeight says of the rows
// of each weight. Unknown sizes count as 0.
StepCost CostOf(const OpSchema& schema, const void* args);

// Distinct experts that `num_tokens` even, independent choices of `top_k` among `num_experts` hit
// on average.
double ExpectedExperts(double num_experts, double top_k, double num_tokens);

// Of one layer's attention in a step, summed over its sequences.
struct AttentionWork {
  double pairs = 0;      // (query, visible position)
  double positions = 0;  // positions that at least one query sees
};
AttentionWork AttentionWorkOf(int32_t num_seqs, const int32_t* q_offsets, const int32_t* kv_lens,
                              int32_t window, bool causal);

}  // namespace rill::ops
