#include "ops/reference/kernels.h"
#include "ops/reference/math.h"

namespace rill::ops::reference {

void ReferenceGlu(const GluArgs& args, Stream&) {
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    const float* gate = args.gate.Row<float>(t);
    const float* up = args.up.Row<float>(t);
    float* y = args.y.Row<float>(t);
    for (int64_t i = 0; i < args.y.dim(1); ++i) {
      y[i] = static_cast<float>(Activate(args.kind, gate[i]) * up[i]);
    }
  }
}

}  // namespace rill::ops::reference
