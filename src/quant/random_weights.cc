#include "quant/random_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/float_types.h"
#include "quant/dequant.h"
#include "quant/grouped.h"
#include "quant/scale_fields.h"

namespace rill::quant {
namespace {

constexpr int64_t kPoolBlocks = 512;
constexpr int64_t kPlainRun = 64;  // elements of a plain "block"

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435769u + 88172645463325252u) {}
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }
  // Sum of 4 uniform numbers: near enough to a Gaussian, variance 1.
  float NextGaussian() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(Next() >> 40) / (1 << 24) - 0.5f;
    return sum * std::sqrt(3.0f);
  }

 private:
  uint64_t state_;
};

void PutField(uint8_t* block, const ScaleField& field, float value) {
  if (field.type == ScaleType::kF16) {
    const uint16_t bits = F32ToF16(value);
    std::memcpy(block + field.offset, &bits, sizeof bits);
  } else if (field.type == ScaleType::kF32) {
    std::memcpy(block + field.offset, &value, sizeof value);
  } else {
    const int e = value > 0 ? static_cast<int>(std::lround(std::log2(value))) + 127 : 0;
    block[field.offset] = static_cast<uint8_t>(std::clamp(e, 0, 254));
  }
}

double MeanOf(const std::vector<float>& x) {
  double sum = 0;
  for (float v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

// A block of random integers whose scales are then chosen so that mean and size come out.
void RandomBlock(DType dtype, float rms, Random& random, uint8_t* block, std::vector<float>& x) {
  const DTypeTraits& traits = Traits(dtype);
  const auto fields = ScaleFieldsOf(dtype);
  for (int i = 0; i < traits.block_bytes; ++i) block[i] = static_cast<uint8_t>(random.Next() >> 32);
  if (dtype == DType::kTQ2_0) {  // 3 is no ternary digit: it becomes 1, which is zero
    for (int i = 0; i < traits.block_bytes; ++i) {
      block[i] = static_cast<uint8_t>(block[i] & ~((block[i] & block[i] >> 1 & 0x55) << 1));
    }
  }
  if (const GroupedFormat grouped = GroupedFormatOf(dtype); grouped.bits > 0) {
    // Behind the scale, and not any 16 bits: it is a code, here of the middle half of them.
    const int codes = 1 << grouped.bits;
    const auto zero =
        static_cast<int16_t>(codes / 4 + static_cast<int>((random.Next() >> 32) % (codes / 2)));
    std::memcpy(block + sizeof(uint16_t), &zero, sizeof zero);
  }
  const auto decode = [&](float scale, float minimum) {
    PutField(block, fields[0], scale);
    if (fields.size() > 1) PutField(block, fields[1], minimum);
    (void)DequantizeRow(dtype, block, traits.block_weights, x.data());
  };
  float ratio = 0;  // minimum / scale
  if (fields.size() > 1) {
    decode(1, 0);
    const double from_scale = MeanOf(x);
    decode(0, 1);
    const double from_minimum = MeanOf(x);
    if (from_minimum != 0) ratio = static_cast<float>(-from_scale / from_minimum);
  }
  decode(1, ratio);
  double squares = 0;
  for (float v : x) squares += static_cast<double>(v) * v;
  const double size = std::sqrt(squares / static_cast<double>(x.size()));
  const float scale = size > 0 ? static_cast<float>(rms / size) : 0.0f;
  decode(scale, ratio * scale);
}

}  // namespace

bool CanFill(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         !ScaleFieldsOf(dtype).empty();
}

Status FillRandom(DType dtype, int64_t num_elements, float rms, uint64_t seed, void* out) {
  if (!CanFill(dtype)) {
    std::string list;
    for (int i = 0; i < kNumDTypes; ++i) {
      if (CanFill(static_cast<DType>(i))) {
        list += " " + std::string(DTypeName(static_cast<DType>(i)));
      }
    }
    return Unsupported("random weights: no " + std::string(DTypeName(dtype)) +
                       "; there are:" + list);
  }
  const DTypeTraits& traits = Traits(dtype);
  if (num_elements < 0 || num_elements % traits.block_weights != 0) {
    return InvalidArgument("random weights: " + std::to_string(num_elements) + " elements of " +
                           std::string(traits.name) + ", expected a multiple of " +
                           std::to_string(traits.block_weights));
  }
  Random random(seed);
  const int64_t run = traits.block_weights == 1 ? kPlainRun : 1;  // blocks copied at once
  const int64_t bytes = run * traits.block_bytes;
  std::vector<uint8_t> pool(static_cast<size_t>(kPoolBlocks * bytes));
  std::vector<float> x(static_cast<size_t>(traits.block_weights));
  for (int64_t i = 0; i < kPoolBlocks; ++i) {
    uint8_t* block = pool.data() + i * bytes;
    if (traits.block_weights > 1) {
      RandomBlock(dtype, rms, random, block, x);
      continue;
    }
    for (int64_t j = 0; j < run; ++j) {
      const float value = rms * random.NextGaussian();
      if (dtype == DType::kF32) {
        std::memcpy(block + j * 4, &value, 4);
      } else {
        const uint16_t bits = dtype == DType::kF16 ? F32ToF16(value) : F32ToBf16(value);
        std::memcpy(block + j * 2, &bits, 2);
      }
    }
  }
  auto* to = static_cast<uint8_t*>(out);
  int64_t left = num_elements / traits.block_weights;
  for (; left >= run; left -= run, to += bytes) {
    std::memcpy(to, pool.data() + static_cast<int64_t>(random.Next() % kPoolBlocks) * bytes,
                static_cast<size_t>(bytes));
  }
  std::memcpy(to, pool.data(), static_cast<size_t>(left * traits.block_bytes));
  return OkStatus();
}

}  // namespace rill::quant
