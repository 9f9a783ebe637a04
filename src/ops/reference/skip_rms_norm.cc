#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceSkipRmsNorm(const SkipRmsNormArgs& args, Stream&) {
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    float* h = args.h.Row<float>(t);
    const float* x = args.x.Row<float>(t);
    const float* skip = args.skip.Row<float>(t);
    for (int64_t i = 0; i < args.h.dim(1); ++i) h[i] = x[i] + skip[i];
    RmsNormRow(h, GroupRow(args.weight, 0), args.h.dim(1), args.eps, args.weight_bias,
               args.y.Row<float>(t));
  }
}

}  // namespace rill::ops::reference
