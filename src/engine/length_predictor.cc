#include "engine/length_predictor.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace rill::engine {
namespace {

// Beyond this many answers a curve halves what it knows: it follows a change of traffic.
constexpr float kWindow = 2048;

// Three levels; '\0' cannot be confused with a name's own bytes as the lengths are in front.
std::string NarrowKey(const LengthQuery& query) {
  return "t" + std::to_string(query.tenant.size()) + ":" + std::string(query.tenant) +
         std::string(query.length_class);
}
std::string ClassKey(const LengthQuery& query) {
  return "c" + std::string(query.length_class);
}
const std::string kAllKey = "a";

}  // namespace

int SurvivalPredictor::BucketOf(int32_t length) {
  if (length <= 16) return std::max(length, 1) - 1;
  const uint32_t value = static_cast<uint32_t>(length - 1);  // bucket bounds are inclusive
  const int octave = std::bit_width(value) - 1;              // >= 4
  const int eighth = static_cast<int>((value >> (octave - 3)) & 7);
  return std::min(16 + (octave - 4) * 8 + eighth, kNumBuckets - 1);
}

int32_t SurvivalPredictor::UpperBound(int bucket) {
  if (bucket < 16) return bucket + 1;
  const int octave = 4 + (bucket - 16) / 8;
  return (9 + (bucket - 16) % 8) << (octave - 3);
}

const SurvivalPredictor::Curve* SurvivalPredictor::FindCurve(const LengthQuery& query) const {
  for (const std::string& key : {NarrowKey(query), ClassKey(query), kAllKey}) {
    const auto found = curves_.find(key);
    if (found != curves_.end() && found->second.total >= kMinSamples) return &found->second;
  }
  return nullptr;
}

LengthForecast SurvivalPredictor::Predict(const LengthQuery& query) const {
  const std::lock_guard lock(mutex_);
  const Curve* curve = FindCurve(query);
  return curve != nullptr ? FromCurve(*curve, query) : Guess(query);
}

LengthForecast SurvivalPredictor::Guess(const LengthQuery& query) const {
  static const Curve kNone;
  const auto all = curves_.find(kAllKey);
  const LengthForecast forecast =
      FromCurve(all != curves_.end() ? all->second : kNone, query, kGuessWeight);
  return {query.max_tokens, forecast.expected_tokens, static_cast<double>(query.max_tokens)};
}

LengthForecast SurvivalPredictor::FromCurve(const Curve& curve, const LengthQuery& query,
                                            double guess_weight) const {
  LengthForecast forecast{query.max_tokens, static_cast<double>(query.max_tokens)};
  if (query.generated >= query.max_tokens) return forecast;
  // At risk in the first bucket that can still bring the end.
  const int first = BucketOf(query.generated + 1);
  double at_risk = curve.total;
  for (int b = 0; b < first; ++b) {
    at_risk -= curve.ended[static_cast<size_t>(b)] + curve.cut_off[static_cast<size_t>(b)];
  }
  double alive = 1.0;
  double mean = query.generated;
  int32_t reached = query.generated;
  bool found = false;
  for (int b = first; b < kNumBuckets && reached < query.max_tokens; ++b) {
    // Too few answers that long to say anything: then it is the worst case.
    if (at_risk + guess_weight < 0.5) break;
    const int32_t bound = std::min(UpperBound(b), query.max_tokens);
    const double before = alive;
    // The guess has so many answers at risk at any length.
    const double guessed = guess_weight * -std::expm1((reached - bound) / kGuessTokens);
    const double ended = curve.ended[static_cast<size_t>(b)] + guessed;
    alive *= 1.0 - std::min(1.0, ended / (std::max(at_risk, 0.0) + guess_weight));
    mean += 0.5 * (before + alive) * (bound - reached);
    reached = bound;
    at_risk -= curve.ended[static_cast<size_t>(b)] + curve.cut_off[static_cast<size_t>(b)];
    if (!found && alive <= 1.0 - quantile_) {
      found = true;
      forecast.reserve_tokens = bound;
    }
  }
  mean += alive * (query.max_tokens - reached);
  forecast.expected_tokens =
      std::clamp(mean, static_cast<double>(query.generated), static_cast<double>(query.max_tokens));
  return forecast;
}

void SurvivalPredictor::Feed(const std::string& key, int32_t length, bool cut_off) {
  if (!curves_.contains(key) && curves_.size() >= kMaxCurves) {
    curves_.erase(std::min_element(
        curves_.begin(), curves_.end(),
        [](const auto& a, const auto& b) { return a.second.last_fed < b.second.last_fed; }));
  }
  Curve& curve = curves_[key];
  curve.last_fed = ++num_fed_;
  const size_t bucket = static_cast<size_t>(BucketOf(length));
  (cut_off ? curve.cut_off : curve.ended)[bucket] += 1;
  curve.total += 1;
  if (curve.total < kWindow) return;
  curve.total = 0;
  for (int b = 0; b < kNumBuckets; ++b) {
    curve.total += curve.ended[static_cast<size_t>(b)] *= 0.5f;
    curve.total += curve.cut_off[static_cast<size_t>(b)] *= 0.5f;
  }
}

size_t SurvivalPredictor::num_curves() const {
  const std::lock_guard lock(mutex_);
  return curves_.size();
}

void SurvivalPredictor::Observe(const LengthQuery& query, bool cut_off) {
  const std::lock_guard lock(mutex_);
  // The narrowest last: when all of them are new it is the one to stay.
  Feed(kAllKey, query.generated, cut_off);
  Feed(ClassKey(query), query.generated, cut_off);
  Feed(NarrowKey(query), query.generated, cut_off);
}

}  // namespace rill::engine
