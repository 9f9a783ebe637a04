// Rotation of one head, shared by rope and rope_kv_append.
#pragma once

#include <cmath>
#include <cstdint>

namespace rill::ops::reference {

// In place, f32 exactly as ops/rope.h states. cos_sin: cos_0, sin_0, cos_1, …
inline void RotateHead(float* x, const float* cos_sin, int64_t rotary_dim, bool interleaved) {
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    float& a = x[interleaved ? 2 * i : i];
    float& b = x[interleaved ? 2 * i + 1 : i + rotary_dim / 2];
    const float cos = cos_sin[2 * i];
    const float sin = cos_sin[2 * i + 1];
    const float rotated_a = std::fma(a, cos, -(b * sin));
    const float rotated_b = std::fma(b, cos, a * sin);
    a = rotated_a;
    b = rotated_b;
  }
}

}  // namespace rill::ops::reference
