#include "ops/reference/kernels.h"
#include "ops/reference/math.h"
#include "ops/reference/weight.h"

namespace rill::ops::reference {

void ReferenceMoeFfn(const MoeFfnArgs& args, Stream&) {
  const ReferenceWeight& gate_up = AsReference(*args.gate_up);
  const ReferenceWeight& down = AsReference(*args.down);
  const int64_t hidden_size = args.y.dim(1);
  const int64_t size = down.cols();
  std::vector<double> gate, up, out, sum;
  std::vector<float> activated(static_cast<size_t>(size));
  for (int64_t t = 0; t < args.y.dim(0); ++t) {
    const float* x = args.x.Row<float>(t);
    sum.assign(static_cast<size_t>(hidden_size), 0.0);
    for (int64_t j = 0; j < args.expert_ids.dim(1); ++j) {
      const int32_t expert = args.expert_ids.Row<int32_t>(t)[j];
      CHECK(expert >= 0 && expert < down.num_experts())
          << "moe_ffn: expert " << expert << " of " << down.num_experts();
      Products(gate_up, expert, {&x, 1}, 0, size, args.ungated ? up : gate);
      if (!args.ungated) Products(gate_up, expert, {&x, 1}, size, size, up);
      for (size_t i = 0; i < activated.size(); ++i) {
        activated[i] = static_cast<float>(args.ungated ? Activate(args.kind, up[i])
                                                       : Activate(args.kind, gate[i]) * up[i]);
      }
      const float* row = activated.data();
      Products(down, expert, {&row, 1}, 0, hidden_size, out);
      const double weight = args.expert_weights.Row<float>(t)[j];
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += weight * out[i];
    }
    float* y = args.y.Row<float>(t);
    const float* residual = args.residual.empty() ? nullptr : args.residual.Row<float>(t);
    for (int64_t i = 0; i < hidden_size; ++i) {
      y[i] = static_cast<float>(sum[static_cast<size_t>(i)] + (residual ? residual[i] : 0));
    }
  }
}

}  // namespace rill::ops::reference
