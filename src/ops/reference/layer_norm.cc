#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceLayerNorm(const LayerNormArgs& args, Stream&) {
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    for (int64_t g = 0; g < args.y.dim(1); ++g) {
      LayerNormRow(RowOf(args.x, t, g), GroupRow(args.weight, g), GroupRow(args.bias, g),
                   args.y.dim(2), args.eps, RowOf(args.y, t, g));
    }
  }
}

}  // namespace rill::ops::reference
