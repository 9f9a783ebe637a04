// How rows are normed where they enter a fused operator (norm_linear.h, linear_glu.h, gated_ffn.h).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace rill::ops {

enum class InputNorm : int32_t {
  kNone,
  kRms,   // rms_norm.h, one group
  kLayer  // layer_norm.h, one group
};

// Names of InputNorm, in order.
inline std::vector<std::string_view> InputNormNames() {
  return {"none", "rms", "layer"};
}

}  // namespace rill::ops
