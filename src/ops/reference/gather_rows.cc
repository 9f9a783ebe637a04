#include <algorithm>

#include "ops/reference/kernels.h"

namespace rill::ops::reference {

void ReferenceGatherRows(const GatherRowsArgs& args, Stream&) {
  const int32_t* rows = args.rows.As<int32_t>();
  for (int64_t r = 0; r < args.y.dim(0); ++r) {
    CHECK(rows[r] >= 0 && rows[r] < args.x.dim(0))
        << "gather_rows: row " << rows[r] << " of " << args.x.dim(0);
    std::copy_n(args.x.Row<float>(rows[r]), args.y.dim(1), args.y.Row<float>(r));
  }
}

}  // namespace rill::ops::reference
