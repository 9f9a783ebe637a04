#include "ops/reference/kernels.h"
#include "ops/reference/math.h"
#include "ops/reference/weight.h"

namespace rill::ops::reference {

void ReferenceLinearGlu(const LinearGluArgs& args, Stream&) {
  const int64_t num_tokens = args.y.dim(0);
  const int64_t size = args.y.dim(1);
  const NormedRows rows(args.norm, args.x, args.norm_weight, args.norm_bias, args.eps,
                        args.weight_bias);
  std::vector<double> gate, up;
  Products(AsReference(*args.w), 0, rows.pointers(), 0, size, gate);
  Products(AsReference(*args.w), 0, rows.pointers(), size, size, up);
  const float* bias = args.bias.empty() ? nullptr : args.bias.As<float>();
  for (int64_t t = 0; t < num_tokens; ++t) {
    float* y = args.y.Row<float>(t);
    for (int64_t i = 0; i < size; ++i) {
      const size_t index = static_cast<size_t>(t * size + i);
      const double g = gate[index] + (bias ? bias[i] : 0);
      const double u = up[index] + (bias ? bias[size + i] : 0);
      y[i] = static_cast<float>(Activate(args.kind, g) * u);
    }
  }
}

}  // namespace rill::ops::reference
