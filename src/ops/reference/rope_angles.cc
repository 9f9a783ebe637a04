#include <cmath>

#include "ops/reference/kernels.h"

namespace rill::ops::reference {

void ReferenceRopeAngles(const RopeAnglesArgs& args, Stream&) {
  const int32_t* positions = args.positions.As<int32_t>();
  const float* inv_freq = args.inv_freq.As<float>();
  for (int64_t t = 0; t < args.cos_sin.dim(0); ++t) {
    float* row = args.cos_sin.Row<float>(t);
    for (int64_t i = 0; i < args.inv_freq.dim(0); ++i) {
      const float angle = static_cast<float>(positions[t]) * inv_freq[i];
      row[2 * i] = static_cast<float>(double{args.magnitude} * std::cos(double{angle}));
      row[2 * i + 1] = static_cast<float>(double{args.magnitude} * std::sin(double{angle}));
    }
  }
}

}  // namespace rill::ops::reference
