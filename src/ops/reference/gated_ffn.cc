#include "ops/reference/kernels.h"
#include "ops/reference/math.h"
#include "ops/reference/weight.h"

namespace rill::ops::reference {

void ReferenceGatedFfn(const GatedFfnArgs& args, Stream&) {
  const NormedRows rows(args.norm, args.x, args.norm_weight, args.norm_bias, args.eps,
                        args.weight_bias);
  const int64_t hidden_size = args.y.dim(1), size = args.down->cols();
  std::vector<double> gate, up, products;
  Products(AsReference(*args.gate_up), 0, rows.pointers(), 0, size, gate);
  Products(AsReference(*args.gate_up), 0, rows.pointers(), size, size, up);
  std::vector<float> inner(gate.size());
  std::vector<const float*> inner_rows;
  const float* bias = args.gate_up_bias.empty() ? nullptr : args.gate_up_bias.As<float>();
  for (size_t t = 0; t < rows.pointers().size(); ++t) {
    float* row = inner.data() + t * static_cast<size_t>(size);
    for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
      const double g = gate[t * static_cast<size_t>(size) + i] + (bias ? bias[i] : 0);
      const double u =
          up[t * static_cast<size_t>(size) + i] + (bias ? bias[static_cast<size_t>(size) + i] : 0);
      row[i] = static_cast<float>(Activate(args.kind, g) * u);
    }
    inner_rows.push_back(row);
  }
  Products(AsReference(*args.down), 0, inner_rows, 0, hidden_size, products);
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    float* y = args.y.Row<float>(t);
    const float* residual = args.residual.empty() ? nullptr : args.residual.Row<float>(t);
    for (int64_t n = 0; n < hidden_size; ++n) {
      const double product = products[static_cast<size_t>(t * hidden_size + n)];
      const double scaled =
          args.scale * (product + (args.down_bias.empty() ? 0 : args.down_bias.As<float>()[n]));
      y[n] = static_cast<float>(residual ? residual[n] + scaled : scaled);
    }
  }
}

}  // namespace rill::ops::reference
