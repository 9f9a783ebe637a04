#include "model/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rill::model {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// theta^(2i / dim), rounded to f32 where transformers rounds.
std::vector<float> PositionFrequencies(double theta, int32_t dim) {
  std::vector<float> out;
  for (int32_t i = 0; i < dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim);
    out.push_back(static_cast<float>(std::pow(theta, static_cast<double>(exponent))));
  }
  return out;
}

void ScaleYarn(const RopeConfig& config, double factor, std::vector<float>& inv_freq) {
  const int32_t dim = config.rotary_dim;
  // The dimension whose wavelength makes `rotations` turns in the original context.
  auto correction_dim = [&](double rotations) {
    return dim * std::log(static_cast<double>(config.original_context) / (rotations * kTwoPi)) /
           (2 * std::log(config.theta));
  };
  double low = correction_dim(config.beta_fast);
  double high = correction_dim(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // a ramp needs some width
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const float ramp =
        std::clamp(static_cast<float>((static_cast<double>(i) - low) / (high - low)), 0.0f, 1.0f);
    const float extrapolation = 1.0f - ramp;
    const float interpolated = inv_freq[i] / static_cast<float>(factor);
    inv_freq[i] = interpolated * (1.0f - extrapolation) + inv_freq[i] * extrapolation;
  }
}

void ScaleLlama3(const RopeConfig& config, std::vector<float>& inv_freq) {
  const double context = static_cast<double>(config.original_context);
  const double low_wavelength = context / config.low_freq_factor;
  const double high_wavelength = context / config.high_freq_factor;
  for (float& freq : inv_freq) {
    const double wavelength = kTwoPi / static_cast<double>(freq);
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      freq = static_cast<float>(freq / config.factor);
      continue;
    }
    const double smooth = (context / wavelength - config.low_freq_factor) /
                          (config.high_freq_factor - config.low_freq_factor);
    freq = static_cast<float>((1 - smooth) * freq / config.factor + smooth * freq);
  }
}

Status CheckFinite(double value, const char* what, bool positive = true) {
  if (!std::isfinite(value) || (positive && value <= 0)) {
    return InvalidArgument(
        fmt::format("rope: {}: expected a finite number > 0, got {}", what, value));
  }
  return OkStatus();
}

Status CheckConfig(const RopeConfig& config) {
  if (config.rotary_dim <= 0 || config.rotary_dim % 2 != 0 || config.rotary_dim > kMaxRotaryDim) {
    return InvalidArgument(
        fmt::format("rope: rotary dimension: expected an even number in [2, {}], got {}",
                    kMaxRotaryDim, config.rotary_dim));
  }
  RILL_RETURN_IF_ERROR(CheckFinite(config.theta, "theta"));
  if (config.scaling == RopeScaling::kNone) return OkStatus();
  if (config.scaling != RopeScaling::kLongRope) {
    RILL_RETURN_IF_ERROR(CheckFinite(config.factor, "factor"));
  }
  if (config.scaling != RopeScaling::kLinear && config.original_context <= 1) {
    return InvalidArgument(fmt::format(
        "rope: original_max_position_embeddings: expected > 1, got {}", config.original_context));
  }
  if (config.scaling == RopeScaling::kDynamic && config.rotary_dim <= 2) {
    return InvalidArgument("rope: dynamic scaling needs a rotary dimension > 2");
  }
  if (config.scaling == RopeScaling::kYarn) {
    RILL_RETURN_IF_ERROR(CheckFinite(config.beta_fast, "beta_fast"));
    RILL_RETURN_IF_ERROR(CheckFinite(config.beta_slow, "beta_slow"));
    if (config.theta == 1.0) return InvalidArgument("rope: theta: yarn needs theta != 1");
  }
  if (config.scaling == RopeScaling::kLlama3) {
    RILL_RETURN_IF_ERROR(CheckFinite(config.low_freq_factor, "low_freq_factor"));
    RILL_RETURN_IF_ERROR(CheckFinite(config.high_freq_factor, "high_freq_factor"));
    if (config.low_freq_factor >= config.high_freq_factor) {
      return InvalidArgument(
          fmt::format("rope: low_freq_factor: expected less than high_freq_factor {}, got {}",
                      config.high_freq_factor, config.low_freq_factor));
    }
  }
  if (config.scaling == RopeScaling::kLongRope) {
    const size_t pairs = static_cast<size_t>(config.rotary_dim) / 2;
    if (config.short_factor.size() != pairs || config.long_factor.size() != pairs) {
      return InvalidArgument(
          fmt::format("rope: short_factor and long_factor: expected {} numbers each, got {} and {}",
                      pairs, config.short_factor.size(), config.long_factor.size()));
    }
    for (double f : config.short_factor) RILL_RETURN_IF_ERROR(CheckFinite(f, "short_factor"));
    for (double f : config.long_factor) RILL_RETURN_IF_ERROR(CheckFinite(f, "long_factor"));
  }
  return OkStatus();
}

}  // namespace

double YarnMscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

Result<RopeSpec> MakeRope(const RopeConfig& config, int64_t max_context) {
  RILL_RETURN_IF_ERROR(CheckConfig(config));
  double theta = config.theta;
  const int32_t dim = config.rotary_dim;
  const bool beyond = max_context > config.original_context;
  if (config.scaling == RopeScaling::kDynamic && beyond) {
    const double stretch = config.factor * static_cast<double>(max_context) /
                               static_cast<double>(config.original_context) -
                           (config.factor - 1);
    theta *= std::pow(stretch, static_cast<double>(dim) / (dim - 2));
  }
  std::vector<float> frequencies = PositionFrequencies(theta, dim);
  RopeSpec rope;
  double magnitude = 1.0;
  if (config.scaling == RopeScaling::kLongRope) {
    const std::vector<double>& factors = beyond ? config.long_factor : config.short_factor;
    for (size_t i = 0; i < frequencies.size(); ++i) {
      frequencies[i] *= static_cast<float>(factors[i]);
    }
    if (config.factor > 1) {
      magnitude = std::sqrt(1 + std::log(config.factor) /
                                    std::log(static_cast<double>(config.original_context)));
    }
  }
  for (float f : frequencies) rope.inv_freq.push_back(1.0f / f);
  switch (config.scaling) {
    case RopeScaling::kLinear:
      for (float& f : rope.inv_freq) f /= static_cast<float>(config.factor);
      break;
    case RopeScaling::kYarn:
      ScaleYarn(config, config.factor, rope.inv_freq);
      if (config.mscale != 0 && config.mscale_all_dim != 0) {
        magnitude = YarnMscale(config.factor, config.mscale) /
                    YarnMscale(config.factor, config.mscale_all_dim);
      } else {
        magnitude = YarnMscale(config.factor, 1.0);
      }
      break;
    case RopeScaling::kLlama3: ScaleLlama3(config, rope.inv_freq); break;
    default: break;
  }
  if (config.attention_factor != 0 && config.scaling != RopeScaling::kNone) {
    magnitude = config.attention_factor;
  }
  if (!config.freq_factors.empty()) {
    if (config.freq_factors.size() < rope.inv_freq.size()) {
      return InvalidArgument(fmt::format("rope_freqs.weight: expected [{}], got [{}]",
                                         rope.inv_freq.size(), config.freq_factors.size()));
    }
    for (size_t i = 0; i < rope.inv_freq.size(); ++i) {
      rope.inv_freq[i] /= static_cast<float>(config.freq_factors[i]);
    }
  }
  rope.magnitude = static_cast<float>(magnitude);
  RILL_RETURN_IF_ERROR(CheckFinite(rope.magnitude, "attention factor"));
  for (float f : rope.inv_freq) {
    if (!std::isfinite(f) || f < 0) {
      return InvalidArgument(
          fmt::format("rope: frequency: expected a finite number >= 0, got {}", f));
    }
  }
  return rope;
}

}  // namespace rill::model
