#include <cmath>

#include "ops/reference/kernels.h"

namespace rill::ops::reference {

void ReferenceAdd(const AddArgs& args, Stream&) {
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    const float* a = args.a.Row<float>(t);
    const float* b = args.b.Row<float>(t);
    float* y = args.y.Row<float>(t);
    for (int64_t i = 0; i < args.y.dim(1); ++i) y[i] = std::fma(args.b_scale, b[i], a[i]);
  }
}

}  // namespace rill::ops::reference
