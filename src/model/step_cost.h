// StepCostModel: what a step of a loaded model costs at least, from its sizes alone. Cheap enough
// for every step of a server: a few products, and one pass over the step's sequences.
//
// Equals the sum of ops::CostOf over the program's nodes, less activations and tables read by row;
// for mixtures with the expected number of distinct experts. Immutable, thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "model/program.h"
#include "quant/paged_kv_view.h"
#include "rill/hardware.h"

namespace rill::model {

class StepCostModel {
 public:
  StepCostModel() = default;
  StepCostModel(const Program& program, const KvLayout& layout);

  // q_offsets [num_seqs + 1] and kv_lens [num_seqs] as in PagedKvView.
  StepCost Of(int64_t num_tokens, int64_t num_logit_rows, int32_t num_seqs,
              const int32_t* q_offsets, const int32_t* kv_lens) const;
  // Bytes of all weights that a step with logits reads, each once.
  double weight_bytes() const;

 private:
  struct Rows {  // of the whole step, or of its logit rows
    double weight_bytes = 0, int8_macs = 0, f32_macs = 0;  // macs: of one row
  };
  struct Mixture {
    double weight_bytes = 0, num_experts = 0, top_k = 0;
    bool of_logits = false;  // meets logit rows only
  };
  struct Attention {  // of all layers with this window
    int32_t window = 0;
    bool causal = true;
    double macs_per_pair = 0;
    int32_t num_layers = 0;
  };

  Rows tokens_, logits_;
  std::vector<Mixture> mixtures_;
  std::vector<Attention> attention_;
  double position_bytes_ = 0;  // keys and values of one position, one layer
  int32_t num_appends_ = 0;
};

}  // namespace rill::model
