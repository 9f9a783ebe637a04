#include "ops/reference/kernels.h"
#include "ops/reference/math.h"
#include "ops/reference/weight.h"

namespace rill::ops::reference {

void ReferenceNormLinear(const NormLinearArgs& args, Stream&) {
  const NormedRows rows(args.norm, args.x, args.norm_weight, args.norm_bias, args.eps,
                        args.weight_bias);
  const int64_t out_features = args.y.dim(1);
  std::vector<double> products;
  Products(AsReference(*args.w), 0, rows.pointers(), 0, out_features, products);
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    float* y = args.y.Row<float>(t);
    for (int64_t n = 0; n < out_features; ++n) {
      y[n] = static_cast<float>(products[static_cast<size_t>(t * out_features + n)] +
                                (args.bias.empty() ? 0 : args.bias.As<float>()[n]));
    }
  }
}

}  // namespace rill::ops::reference
