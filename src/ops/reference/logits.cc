#include <algorithm>
#include <cmath>

#include "ops/reference/kernels.h"

namespace rill::ops::reference {

// The whole product, and then a look at each row that is not wanted.
void ReferenceLogits(const LogitsArgs& args, Stream& stream) {
  const int64_t num_tokens = args.y.dim(0), vocab_size = args.y.dim(1);
  std::vector<float> logits(static_cast<size_t>(num_tokens * vocab_size));
  LinearArgs linear;
  linear.x = args.x;
  linear.w = args.w;
  linear.bias = args.bias;
  linear.y = MutableTensorView(logits.data(), DType::kF32, {num_tokens, vocab_size});
  linear.scale = args.scale;
  ReferenceLinear(linear, stream);
  for (int64_t t = 0; t < num_tokens; ++t) {
    const float* row = logits.data() + t * vocab_size;
    int32_t& id = args.best_id.As<int32_t>()[t];
    float& best = args.best.As<float>()[t];
    if (args.wanted.As<int32_t>()[t] != 0) {
      std::copy_n(row, vocab_size, args.y.Row<float>(t));
      id = -1;
      best = 0;
      continue;
    }
    id = 0;
    for (int32_t n = 1; n < vocab_size && std::isfinite(row[id]); ++n) {
      if (!std::isfinite(row[n]) || row[n] > row[id]) id = n;
    }
    best = row[id];
  }
}

}  // namespace rill::ops::reference
