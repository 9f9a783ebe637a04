#include "quant/scale_search.h"

#include <algorithm>
#include <cmath>

#include "quant/quantize.h"

namespace rill::quant {
namespace {

// Independent sums, so that the compiler may use vectors without changing an order of addition.
constexpr int kLanes = 8;

float Total(const float (&lanes)[kLanes]) {
  float total = 0;
  for (float lane : lanes) total += lane;
  return total;
}

// Keeps the candidate that leaves the least error: the error of the best scale of given codes is
// sum x^2 - (sum x q)^2 / sum q^2.
struct BestScale {
  ScaleFit fit;
  float gain = 0;

  void Offer(float xq, float qq) {
    if (qq > 0 && xq * xq > gain * qq) {
      gain = xq * xq / qq;
      fit = {.scale = xq / qq, .weight = qq};
    }
  }
};

}  // namespace

void CopyBounded(const float* x, int count, float* out) {
  for (int i = 0; i < count; ++i) out[i] = std::clamp(x[i], -0x1p40f, 0x1p40f);
}

ScaleFit FitScale(const float* x, int count, int low, int high, float step) {
  const float extreme = LargestMagnitude(x, count);
  BestScale best;
  if (!(std::fabs(extreme) > 0)) return best.fit;
  const auto first = static_cast<float>(low - 1);
  const auto last = static_cast<float>(high + 1);
  for (float c = first; c <= last; c += step) {
    const float inverse = c / extreme;
    if (!std::isfinite(inverse)) continue;
    float xq[kLanes] = {}, qq[kLanes] = {};
    for (int i = 0; i < count; i += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const float q =
            RoundTo(x[i + lane] * inverse, static_cast<float>(low), static_cast<float>(high));
        xq[lane] += x[i + lane] * q;
        qq[lane] += q * q;
      }
    }
    best.Offer(Total(xq), Total(qq));
  }
  return best.fit;
}

ScaleMinFit FitScaleMin(const float* x, int count, int high) {
  const auto [low_it, high_it] = std::minmax_element(x, x + count);
  const float min = std::min(*low_it, 0.0f);
  const float range = *high_it - min;
  const auto n = static_cast<float>(count);
  ScaleMinFit best = {.min = -min};
  if (!(range > 0)) return best;
  float total = 0;
  for (int i = 0; i < count; ++i) total += x[i];
  float least = 0;
  for (int i = 0; i < count; ++i) least += (x[i] - min) * (x[i] - min);
  // From a scale that cuts the largest value to one that leaves codes unused.
  const auto codes = static_cast<float>(high);
  const float step = high < 8 ? 0.25f : 1.0f;  // codes of a row that lies on a grid are found again
  for (float c = std::floor(codes * 0.75f); c <= codes * 1.25f; c += step) {
    ScaleMinFit fit = {.scale = range / c, .min = -min};
    constexpr int kPasses = 2;  // codes, then the best scale and minimum of the codes
    for (int pass = 0; pass < kPasses; ++pass) {
      const float inverse = InverseScale(fit.scale);
      float q1[kLanes] = {}, q2[kLanes] = {}, xq[kLanes] = {};
      for (int i = 0; i < count; i += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane) {
          const float q = RoundTo((x[i + lane] + fit.min) * inverse, 0, codes);
          q1[lane] += q;
          q2[lane] += q * q;
          xq[lane] += x[i + lane] * q;
        }
      }
      const float sum_q = Total(q1), sum_qq = Total(q2), sum_xq = Total(xq);
      const float det = n * sum_qq - sum_q * sum_q;
      if (!(sum_qq > 0)) break;
      if (det > 0) {
        fit.scale = (n * sum_xq - total * sum_q) / det;
        fit.min = (fit.scale * sum_q - total) / n;
      }
      // One code for all leaves the minimum open.
      if (!(det > 0) || fit.min < 0) fit = {.scale = sum_xq / sum_qq, .min = 0};
      if (!(fit.scale > 0)) break;
      fit.weight = sum_qq;
    }
    if (!(fit.scale > 0) || !(fit.weight > 0)) continue;
    const float error = Round(x, count, fit.scale, fit.min, 0, high, nullptr);
    if (error < least) {
      least = error;
      best = fit;
    }
  }
  return best;
}

ScaleFit FitTableScale(const float* x, int count, const CodeTable& table) {
  const float extreme = LargestMagnitude(x, count);
  BestScale best;
  if (!(std::fabs(extreme) > 0)) return best.fit;
  // The largest magnitude on, between and somewhat beyond the outer values.
  const float ends[2] = {table.Value(0), table.Value(15)};
  for (const float end : ends) {
    for (int step = 10; step <= 18; step += 2) {
      float inverse = end * static_cast<float>(step) / 16.0f / extreme;
      for (int pass = 0; pass < 2 && std::isfinite(inverse); ++pass) {
        float xq = 0, qq = 0;
        for (int i = 0; i < count; ++i) {
          const float q = table.Value(table.Nearest(x[i] * inverse));
          xq += x[i] * q;
          qq += q * q;
        }
        best.Offer(xq, qq);
        inverse = qq / xq;
      }
    }
  }
  return best.fit;
}

uint16_t FitSuperScale(const float* value, const float* weight, int num_groups, int low, int high,
                       int* s) {
  std::fill_n(s, num_groups, 0);
  const float extreme =
      low < 0 ? LargestMagnitude(value, num_groups) : *std::max_element(value, value + num_groups);
  if (!(std::fabs(extreme) > 0)) return 0;
  uint16_t best_bits = 0;
  float least = 0;
  for (int g = 0; g < num_groups; ++g) least += weight[g] * value[g] * value[g];
  for (int k = high; k >= low; --k) {  // the finest grid first
    if (k == 0) continue;
    const uint16_t bits = F16Scale(extreme / static_cast<float>(k));
    const float scale = F16ToF32(bits);
    const float inverse = InverseScale(scale);
    float error = 0;
    for (int g = 0; g < num_groups; ++g) {
      const float d = value[g] - scale * RoundTo(value[g] * inverse, static_cast<float>(low),
                                                 static_cast<float>(high));
      error += weight[g] * d * d;
    }
    if (error < least) {
      least = error;
      best_bits = bits;
    }
  }
  const float inverse = InverseScale(F16ToF32(best_bits));
  for (int g = 0; g < num_groups; ++g) {
    s[g] = static_cast<int>(
        RoundTo(value[g] * inverse, static_cast<float>(low), static_cast<float>(high)));
  }
  return best_bits;
}

float Round(const float* x, int count, float scale, float min, int low, int high, int8_t* codes) {
  const float inverse = InverseScale(scale);
  float error[kLanes] = {};
  for (int i = 0; i < count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float q =
          RoundTo((x[i + lane] + min) * inverse, static_cast<float>(low), static_cast<float>(high));
      const float d = x[i + lane] + min - scale * q;
      error[lane] += d * d;
      if (codes) codes[i + lane] = static_cast<int8_t>(q);
    }
  }
  return Total(error);
}

float RoundToTable(const float* x, int count, float scale, const CodeTable& table, uint8_t* codes) {
  const float inverse = InverseScale(scale);
  float error = 0;
  for (int i = 0; i < count; ++i) {
    const uint8_t code = table.Nearest(x[i] * inverse);
    const float d = x[i] - scale * table.Value(code);
    error += d * d;
    if (codes) codes[i] = code;
  }
  return error;
}

SuperBlock EncodeSuper(const float* x, int num_groups, int group, int s_low, int s_high, int low,
                       int high, int8_t* codes) {
  float value[16], weight[16];
  const float step = high < 8 ? 0.25f : 1.0f;  // as fine as few codes need
  for (int g = 0; g < num_groups; ++g) {
    const ScaleFit fit = FitScale(x + g * group, group, low, high, step);
    value[g] = fit.scale;
    weight[g] = fit.weight;
  }
  SuperBlock out;
  out.scale = FitSuperScale(value, weight, num_groups, s_low, s_high, out.s);
  const float scale = F16ToF32(out.scale);
  for (int g = 0; g < num_groups; ++g) {
    const float* w = x + g * group;
    // The integer beside may be better than the nearest: codes move with it.
    const int nearest = out.s[g];
    float least = INFINITY;
    for (int s : {nearest, nearest - 1, nearest + 1}) {
      if (s < s_low || s > s_high) continue;
      const float error = Round(w, group, scale * static_cast<float>(s), 0, low, high, nullptr);
      if (error < least) {
        least = error;
        out.s[g] = s;
      }
    }
    Round(w, group, scale * static_cast<float>(out.s[g]), 0, low, high, codes + g * group);
  }
  return out;
}

SuperBlock EncodeSuperMin(const float* x, int num_groups, int group, int s_high, int high,
                          int8_t* codes) {
  float value[16], min[16], weight[16], ones[16];
  for (int g = 0; g < num_groups; ++g) {
    const ScaleMinFit fit = FitScaleMin(x + g * group, group, high);
    value[g] = fit.scale;
    min[g] = fit.min;
    weight[g] = fit.weight;
    ones[g] = 1;
  }
  SuperBlock out;
  out.scale = FitSuperScale(value, weight, num_groups, 0, s_high, out.s);
  out.min_scale = FitSuperScale(min, ones, num_groups, 0, s_high, out.m);
  const float scale = F16ToF32(out.scale);
  const float min_scale = F16ToF32(out.min_scale);
  for (int g = 0; g < num_groups; ++g) {
    const float* w = x + g * group;
    const int nearest_s = out.s[g], nearest_m = out.m[g];
    float least = INFINITY;
    for (int s : {nearest_s, nearest_s - 1, nearest_s + 1}) {
      for (int m : {nearest_m, nearest_m - 1, nearest_m + 1}) {
        if (s < 0 || s > s_high || m < 0 || m > s_high) continue;
        const float error = Round(w, group, scale * static_cast<float>(s),
                                  min_scale * static_cast<float>(m), 0, high, nullptr);
        if (error < least) {
          least = error;
          out.s[g] = s;
          out.m[g] = m;
        }
      }
    }
    Round(w, group, scale * static_cast<float>(out.s[g]), min_scale * static_cast<float>(out.m[g]),
          0, high, codes + g * group);
  }
  return out;
}

}  // namespace rill::quant
