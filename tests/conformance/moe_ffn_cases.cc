#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> MoeFfnCases() {
  std::vector<Case> cases;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kQ4_0, DType::kQ8_0, DType::kMXFP4,
                      DType::kI8, DType::kU4G32}) {
    for (bool ungated : {false, true}) {
      for (int64_t tokens : {1, 5}) {
        const int64_t hidden = 64, size = 32, experts = 4;
        WeightSpec up{{{dtype, size}, {dtype, size}}, hidden, experts};
        up.paired = !ungated;
        // As experts of a GPTQ checkpoint: each has an order of its own.
        up.act_order = dtype == DType::kU4G32;
        if (ungated) up.parts.pop_back();
        WeightSpec down{{{dtype, hidden}}, size, experts};
        down.act_order = up.act_order;
        std::vector<int32_t> ids = {3, 1, 0, 2, 1, 3, 2, 2, 0, 1};
        ids.resize(static_cast<size_t>(tokens) * 2);
        Case c(OpId::kMoeFfn, std::string(DTypeName(dtype)) + (ungated ? " ungated " : " gated ") +
                                  std::to_string(tokens));
        c.T("x", {tokens, hidden}, Fill::kUniform, 4)
            .I("expert_ids", {tokens, 2}, ids)
            .T("expert_weights", {tokens, 2});
        c.W("gate_up", up).W("down", down).A("ungated", ungated).A("kind", ungated ? 4 : 0);
        if (tokens == 5) {
          c.T("residual", {tokens, hidden}).Alias("y", "residual");
        } else {
          c.T("y", {tokens, hidden});
        }
        cases.push_back(c);
      }
    }
  }
  return cases;
}

}  // namespace rill::conformance
