#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceRmsNorm(const RmsNormArgs& args, Stream&) {
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    for (int64_t g = 0; g < args.y.dim(1); ++g) {
      RmsNormRow(RowOf(args.x, t, g), GroupRow(args.weight, g), args.y.dim(2), args.eps,
                 args.weight_bias, RowOf(args.y, t, g));
    }
  }
}

}  // namespace rill::ops::reference
