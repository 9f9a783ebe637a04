#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceActivation(const ActivationArgs& args, Stream&) {
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    const float* x = args.x.Row<float>(t);
    float* y = args.y.Row<float>(t);
    for (int64_t i = 0; i < args.y.dim(1); ++i) {
      y[i] = static_cast<float>(Activate(args.kind, x[i]));
    }
  }
}

}  // namespace rill::ops::reference
