#include "ops/gather_rows.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& GatherRowsSchema() {
  using A = GatherRowsArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kGatherRows, "gather_rows", "Row selection")
          .Formula("y[r, :] = x[rows[r], :]")
          .Tags({"memory"})
          .In("x", &A::x, "num_tokens, size", "source")
          .In("rows", &A::rows, "num_rows", "rows of x, each in [0, num_tokens)")
          .DTypes({DType::kI32})
          .Out("y", &A::y, "num_rows, size", "selected rows")
          .Build();
  return schema;
}

}  // namespace rill::ops
