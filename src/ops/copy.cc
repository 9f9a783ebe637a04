#include "ops/copy.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& CopySchema() {
  using A = CopyArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kCopy, "copy", "Strided copy")
          .Formula("y[t, h, i] = x[t, h, i]")
          .Tags({"memory"})
          .In("x", &A::x, "num_tokens, num_heads, size", "source; strides may be 0")
          .Out("y", &A::y, "num_tokens, num_heads, size", "destination")
          .Build();
  return schema;
}

}  // namespace rill::ops
