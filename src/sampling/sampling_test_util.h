// For the sampling tests: exact distributions by the obvious way (f64, full sorts), chi-square.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "sampling/sampler.h"

namespace rill::sampling::testing {

inline std::vector<float> RandomLogits(int32_t count, uint32_t seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> logits(static_cast<size_t>(count));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

inline Sampler MakeSampler(const SamplingParams& params, uint64_t seed = 1, int32_t choice = 0,
                           std::vector<int32_t> end_ids = {},
                           std::vector<int32_t> prompt_ids = {}) {
  return Sampler(
      std::make_shared<const RequestSampling>(params, seed, std::move(end_ids), prompt_ids), choice,
      nullptr);
}

inline std::vector<double> Softmax(const std::vector<double>& x) {
  const double max = *std::max_element(x.begin(), x.end());
  std::vector<double> p(x.size());
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += p[i] = std::exp(x[i] - max);
  for (double& value : p) value /= sum;
  return p;
}

// Zeroes all but the first places of `order` that reach `mass`, and renormalises.
inline void CutAtMass(std::vector<double>& p, const std::vector<size_t>& order, double mass) {
  double sum = 0;
  size_t kept = 0;
  while (kept < order.size() && sum < mass) sum += p[order[kept++]];
  for (size_t i = kept; i < order.size(); ++i) p[order[i]] = 0;
  for (double& value : p) value /= sum;
}

template <typename Less>
std::vector<size_t> Order(size_t count, Less less) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return less(a, b) || (!less(b, a) && a < b); });
  return order;
}

// What docs/sampling.md says, step by step. Temperature > 0.
inline std::vector<double> ExactDistribution(const std::vector<float>& logits,
                                             const SamplingParams& params,
                                             const std::vector<int32_t>& prompt,
                                             const std::vector<int32_t>& output) {
  std::vector<double> x(logits.begin(), logits.end());
  for (const LogitBias& bias : params.logit_bias)
    x[static_cast<size_t>(bias.token_id)] += bias.bias;
  std::set<int32_t> seen(prompt.begin(), prompt.end());
  seen.insert(output.begin(), output.end());
  for (int32_t id : seen) {
    double& value = x[static_cast<size_t>(id)];
    value = value > 0 ? value / params.repetition_penalty : value * params.repetition_penalty;
  }
  std::map<int32_t, int> counts;
  for (int32_t id : output) ++counts[id];
  for (const auto& [id, count] : counts) {
    x[static_cast<size_t>(id)] -= params.presence_penalty + count * params.frequency_penalty;
  }
  for (double& value : x) value /= params.temperature;
  std::vector<double> p = Softmax(x);
  if (params.top_k > 0 && params.top_k < static_cast<int32_t>(p.size())) {
    const auto order = Order(p.size(), [&](size_t a, size_t b) { return x[a] > x[b]; });
    double sum = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i >= static_cast<size_t>(params.top_k)) p[order[i]] = 0;
      sum += p[order[i]];
    }
    for (double& value : p) value /= sum;
  }
  if (params.typical_p < 1) {
    double entropy = 0;
    for (double value : p) entropy -= value > 0 ? value * std::log(value) : 0;
    const auto key = [&](size_t i) {
      return p[i] > 0 ? std::fabs(-std::log(p[i]) - entropy) : INFINITY;
    };
    CutAtMass(p, Order(p.size(), [&](size_t a, size_t b) { return key(a) < key(b); }),
              params.typical_p);
  }
  if (params.top_p < 1) {
    CutAtMass(p, Order(p.size(), [&](size_t a, size_t b) { return p[a] > p[b]; }), params.top_p);
  }
  if (params.min_p > 0) {
    const double limit = params.min_p * *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& value : p) sum += value = value >= limit ? value : 0;
    for (double& value : p) value /= sum;
  }
  return p;
}

// Pearson's statistic of `counts` against `p`, over cells with an expectation of at least 5 (the
// rest pooled), as a standard normal deviate (Wilson & Hilferty 1931). INFINITY when something
// impossible was drawn.
inline double ChiSquareDeviate(const std::vector<int64_t>& counts, const std::vector<double>& p) {
  const double total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  double statistic = 0, pooled_expected = 0, pooled_count = 0;
  int cells = 0;
  const auto add = [&](double count, double expected) {
    statistic += (count - expected) * (count - expected) / expected;
    ++cells;
  };
  for (size_t i = 0; i < p.size(); ++i) {
    const double count = static_cast<double>(counts[i]);
    if (p[i] == 0 && count > 0) return INFINITY;
    if (p[i] * total >= 5) {
      add(count, p[i] * total);
    } else {
      pooled_count += count;
      pooled_expected += p[i] * total;
    }
  }
  if (pooled_expected >= 5) add(pooled_count, pooled_expected);
  const double df = cells - 1;
  if (df < 1) return 0;
  return (std::cbrt(statistic / df) - (1 - 2 / (9 * df))) / std::sqrt(2 / (9 * df));
}

}  // namespace rill::sampling::testing
