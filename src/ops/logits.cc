#include "ops/logits.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& LogitsSchema() {
  using A = LogitsArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kLogits, "logits", "Logits of rows, or of each row only the largest")
          .Formula(
              "l[t, n] = scale * (sum_k x[t, k] * w[n, k] + bias[n])\n"
              "wanted[t] != 0:  y[t] = l[t], best_id[t] = -1, best[t] = 0\n"
              "wanted[t] == 0:  y[t] is not touched, best[t] = l[t, best_id[t]], best_id[t] = the\n"
              "                 first n where l[t, n] is NaN or infinite, else where it is "
              "largest")
          .Tags({"matmul", "fusion"})
          .Macs("num_tokens*vocab_size*in_features")
          .In("x", &A::x, "num_tokens, in_features", "activations")
          .In("w", &A::w, "vocab_size, in_features", "weight")
          .In("bias", &A::bias, "vocab_size", "added to the product")
          .Optional()
          .In("wanted", &A::wanted, "num_tokens", "not 0: all logits of the row are written")
          .DTypes({DType::kI32})
          .Out("y", &A::y, "num_tokens, vocab_size", "logits of the rows that are wanted")
          .Out("best_id", &A::best_id, "num_tokens", "place of the largest logit, or of a bad one")
          .DTypes({DType::kI32})
          .Out("best", &A::best, "num_tokens", "that logit")
          .Attribute("scale", &A::scale, "factor of product and bias")
          .Build();
  return schema;
}

}  // namespace rill::ops
