#include "ops/reference/kernels.h"
#include "ops/reference/weight.h"

namespace rill::ops::reference {

void ReferencePositionEmbedding(const PositionEmbeddingArgs& args, Stream&) {
  const ReferenceWeight& table = AsReference(*args.table);
  std::vector<float> row(static_cast<size_t>(table.cols()));
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    const int64_t index = int64_t{args.positions.As<int32_t>()[t]} + args.offset;
    CHECK(index >= 0 && index < table.rows())
        << "position_embedding: row " << index << " of " << table.rows();
    table.DecodeRow(0, index, row.data());
    const float* x = args.x.Row<float>(t);
    float* y = args.y.Row<float>(t);
    for (int64_t i = 0; i < args.y.dim(1); ++i) y[i] = x[i] + row[static_cast<size_t>(i)];
  }
}

}  // namespace rill::ops::reference
