// For encoders of formats whose scales are searched rather than read off the extremes: codes and
// scales of least squared error, unweighted. Sums are f32; every count is a multiple of 8.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "base/float_types.h"
#include "quant/block_io.h"

namespace rill::quant {

// The nearest integer in [low, high]; ties to even. |x| far beyond the range is fine, NaN is not.
inline float RoundTo(float x, float low, float high) {
  x = x < low ? low : x > high ? high : x;
  return (x + 0x1.8p23f) - 0x1.8p23f;
}

// Copies `count` values with magnitudes cut to 2^40: no block format with f16 scales reaches
// beyond 2^28, and squares of what is left do not overflow.
void CopyBounded(const float* x, int count, float* out);

// fn(w, block) for each block of x: w are its weights, bounded as above, block is zeros.
template <typename Block, typename Fn>
void EncodeBlocks(const float* x, int64_t num_blocks, uint8_t* blocks, Fn&& fn) {
  float w[Block::kWeights];
  for (int64_t b = 0; b < num_blocks; ++b, x += Block::kWeights) {
    CopyBounded(x, Block::kWeights, w);
    Block block = {};
    fn(w, block);
    StoreBlock(block, blocks, b);
  }
}

// The scale s (of either sign) and what it is worth of w[i] = s q[i], q in [low, high] integers,
// low < 0: the squared error is minimised over candidates that put the value of largest magnitude
// on c = low - 1, low - 1 + step, …, high + 1, each followed by the least-squares scale of its
// codes.
struct ScaleFit {
  float scale = 0;
  float weight = 0;  // sum q^2: error(s) = error(scale) + weight (s - scale)^2
};
ScaleFit FitScale(const float* x, int count, int low, int high, float step);

// The same for w[i] = s q[i] - m, q in [0, high], s >= 0 and m >= 0.
struct ScaleMinFit {
  float scale = 0, min = 0;
  float weight = 0;  // sum q^2
};
ScaleMinFit FitScaleMin(const float* x, int count, int high);

// A table of 16 integers in [-128, 127] as codes; of equal ones the first code is used.
class CodeTable {
 public:
  explicit constexpr CodeTable(const int8_t (&values)[16]) {
    for (int code = 0; code < 16; ++code) values_[static_cast<size_t>(code)] = values[code];
    for (int i = 0; i < 512; ++i) {
      // The half-integers that x in [i / 2 - 128, i / 2 - 127.5) lies between; all midpoints of two
      // values are multiples of 1/2, so the whole of it has one nearest value.
      uint8_t best = 0;
      for (uint8_t code = 1; code < 16; ++code) {
        if (Distance(i, code) < Distance(i, best)) best = code;
      }
      nearest_[static_cast<size_t>(i)] = best;
    }
  }

  // The code of the value nearest to x.
  uint8_t Nearest(float x) const {
    x = x < -128.0f ? -128.0f : x > 127.5f ? 127.5f : x;
    return nearest_[static_cast<size_t>(static_cast<int>(2.0f * x + 256.0f))];
  }
  float Value(uint8_t code) const { return static_cast<float>(values_[code]); }

 private:
  // Of the middle of interval i, times 4.
  constexpr int Distance(int i, uint8_t code) const {
    const int d = 2 * i - 511 - 4 * values_[code];
    return d < 0 ? -d : d;
  }

  std::array<int8_t, 16> values_{};
  std::array<uint8_t, 512> nearest_{};
};

// The scale of least squared error of w[i] = s table[q[i]].
ScaleFit FitTableScale(const float* x, int count, const CodeTable& table);

// Groups of a super-block: an f16 scale d and integers s[g] in [low, high] for
// sum weight[g] (value[g] - d s[g])^2 -> min. Candidates put the value of largest magnitude on each
// integer; where d is so small that f16 rounds it coarsely, that is taken into account.
// `low` may be 0: then values are >= 0 (negative ones count as 0). Returns d's bits.
uint16_t FitSuperScale(const float* value, const float* weight, int num_groups, int low, int high,
                       int* s);

// The f16 nearest to a scale, at most the largest finite one.
inline uint16_t F16Scale(float scale) {
  constexpr float kLargest = 65504.0f;
  return F32ToF16(scale < -kLargest ? -kLargest : scale > kLargest ? kLargest : scale);
}

// Codes and squared error of a group with scales as they will be decoded.
//   w[i] = scale q[i] - min, q in [low, high];  `codes` may be null.
float Round(const float* x, int count, float scale, float min, int low, int high, int8_t* codes);
//   w[i] = scale table[q[i]]
float RoundToTable(const float* x, int count, float scale, const CodeTable& table, uint8_t* codes);

// Super-blocks of the two kinds that K-quants have. `codes` gets num_groups * group codes.
struct SuperBlock {
  uint16_t scale = 0, min_scale = 0;  // f16 bits
  int s[16] = {};                     // integer scale of each group
  int m[16] = {};                     // integer minimum of each group
};
//   w[i] = (scale * s[g]) * q[i], s in [s_low, s_high], q in [low, high]
SuperBlock EncodeSuper(const float* x, int num_groups, int group, int s_low, int s_high, int low,
                       int high, int8_t* codes);
//   w[i] = (scale * s[g]) * q[i] - min_scale * m[g], s and m in [0, s_high], q in [0, high]
SuperBlock EncodeSuperMin(const float* x, int num_groups, int group, int s_high, int high,
                          int8_t* codes);

}  // namespace rill::quant
