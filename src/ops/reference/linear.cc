#include "ops/reference/kernels.h"
#include "ops/reference/weight.h"

namespace rill::ops::reference {

void ReferenceLinear(const LinearArgs& args, Stream&) {
  const int64_t num_tokens = args.y.dim(0);
  const int64_t out_features = args.y.dim(1);
  std::vector<const float*> x;
  for (int64_t t = 0; t < num_tokens; ++t) x.push_back(args.x.Row<float>(t));
  std::vector<double> products;
  Products(AsReference(*args.w), 0, x, 0, out_features, products);
  const float* bias = args.bias.empty() ? nullptr : args.bias.As<float>();
  for (int64_t t = 0; t < num_tokens; ++t) {
    const float* residual = args.residual.empty() ? nullptr : args.residual.Row<float>(t);
    float* y = args.y.Row<float>(t);
    for (int64_t n = 0; n < out_features; ++n) {
      const double product = products[static_cast<size_t>(t * out_features + n)];
      const double scaled = args.scale * (product + (bias ? bias[n] : 0));
      y[n] = static_cast<float>(residual ? residual[n] + scaled : scaled);
    }
  }
}

}  // namespace rill::ops::reference
