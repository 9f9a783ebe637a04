#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceCopy(const CopyArgs& args, Stream&) {
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    for (int64_t h = 0; h < args.y.dim(1); ++h) {
      const float* x = RowOf(args.x, t, h);
      float* y = RowOf(args.y, t, h);
      for (int64_t i = 0; i < args.y.dim(2); ++i) y[i] = x[i];
    }
  }
}

}  // namespace rill::ops::reference
