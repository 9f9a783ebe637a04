#include "ops/reference/kernels.h"

namespace rill::ops::reference {

void ReferenceClamp(const ClampArgs& args, Stream&) {
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    const float* x = args.x.Row<float>(t);
    float* y = args.y.Row<float>(t);
    for (int64_t i = 0; i < args.y.dim(1); ++i) {
      y[i] = x[i] < -args.limit ? -args.limit : x[i] > args.limit ? args.limit : x[i];
    }
  }
}

}  // namespace rill::ops::reference
