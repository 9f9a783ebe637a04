#include "ops/reference/kernels.h"
#include "ops/reference/weight.h"

namespace rill::ops::reference {

void ReferenceEmbedding(const EmbeddingArgs& args, Stream&) {
  const ReferenceWeight& table = AsReference(*args.table);
  const int32_t* token_ids = args.token_ids.As<int32_t>();
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    CHECK(token_ids[t] >= 0 && token_ids[t] < table.rows())
        << "embedding: token id " << token_ids[t] << " of " << table.rows();
    float* y = args.y.Row<float>(t);
    table.DecodeRow(0, token_ids[t], y);
    for (int64_t i = 0; i < args.y.dim(1); ++i) y[i] *= args.scale;
  }
}

}  // namespace rill::ops::reference
