// Rotary frequencies with the published context extensions folded in.
//
//   default   inv_freq[i] = theta^(-2i / dim)                    (Su et al. 2021, arXiv:2104.09864)
//   linear    inv_freq / factor                                  (Chen et al. 2023,
//   arXiv:2306.15595) dynamic   theta grows with the context (NTK-aware)           (bloc97 /
//   emozilla 2023) yarn      per-frequency blend and an attention factor        (Peng et al. 2023,
//   arXiv:2309.00071) llama3    blend by wavelength                                (Llama 3.1 model
//   card) longrope  per-frequency factors, short or long               (Ding et al. 2024,
//   arXiv:2402.13753)
//
// dynamic and longrope depend on the text's length in the original programs, which makes a token's
// result depend on what follows it. Here the context that the load allows decides once: the scaled
// frequencies are used when it exceeds the original context, and then for every text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/decoder_spec.h"
#include "rill/status.h"

namespace rill::model {

enum class RopeScaling : uint8_t { kNone, kLinear, kDynamic, kYarn, kLlama3, kLongRope };

inline constexpr int32_t kMaxRotaryDim = 65536;

struct RopeConfig {
  int32_t rotary_dim = 0;
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  int64_t original_context = 0;
  double attention_factor = 0.0;             // 0: derived as the method says
  double beta_fast = 32.0, beta_slow = 1.0;  // yarn
  double mscale = 0.0, mscale_all_dim = 0.0;
  bool truncate = true;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  std::vector<double> short_factor, long_factor;         // longrope, [rotary_dim / 2]
  std::vector<double> freq_factors;  // divide inv_freq (GGUF rope_freqs.weight); may be empty
};

// Errors: kInvalidArgument when a value makes no finite, positive frequency.
Result<RopeSpec> MakeRope(const RopeConfig& config, int64_t max_context);

// YaRN's attention temperature: 0.1 * mscale * ln(scale) + 1, or 1 when scale <= 1.
double YarnMscale(double scale, double mscale);

}  // namespace rill::model
