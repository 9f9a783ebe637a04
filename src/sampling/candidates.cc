#include "sampling/candidates.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "sampling/argmax.h"
#include "sampling/boundary.h"

namespace rill::sampling {
namespace {

// ceil(fraction * total), at least 1.
uint64_t MassTarget(double fraction, uint64_t total) {
  const double target = std::ceil(fraction * static_cast<double>(total));
  if (!(target < static_cast<double>(total))) return total;
  return std::max<uint64_t>(1, static_cast<uint64_t>(target));
}

}  // namespace

std::span<float> Candidates::Edit() {
  if (!edited_) {
    workspace_.logits.assign(logits_.begin(), logits_.end());
    logits_ = workspace_.logits;
    edited_ = true;
  }
  return workspace_.logits;
}

bool Candidates::BeginFilters(double temperature) {
  max_ = static_cast<double>(MaxOf(logits_));
  inv_temperature_ = 1.0 / temperature;
  return max_ > static_cast<double>(kForbiddenLogit);
}

int32_t Candidates::size() const {
  return static_cast<int32_t>(listed_ ? workspace_.ids.size() : logits_.size());
}

std::span<const uint64_t> Candidates::Weights() {
  const size_t count = static_cast<size_t>(size());
  if (!weighed_) {
    workspace_.weights.resize(count);
    if (listed_) {
      for (size_t i = 0; i < count; ++i) {
        workspace_.weights[i] = ExpWeight(logit(static_cast<int32_t>(i)), max_, inv_temperature_);
      }
    } else {
      ExpWeights(logits_, max_, inv_temperature_, workspace_.weights.data());
    }
    weighed_ = true;
  }
  return {workspace_.weights.data(), count};
}

uint64_t Candidates::TotalWeight() {
  uint64_t total = 0;
  for (uint64_t weight : Weights()) total += weight;
  return total;
}

template <typename Fn>
void Candidates::WithLogits(Fn fn) const {
  const float* logits = logits_.data();
  if (listed_) {
    const int32_t* ids = workspace_.ids.data();
    fn([=](int32_t i) { return logits[ids[i]]; });
  } else {
    fn([=](int32_t i) { return logits[i]; });
  }
}

template <typename Keep>
void Candidates::Filter(Keep keep) {
  const int32_t count = size();
  const bool listed = listed_;
  if (!listed) workspace_.ids.resize(static_cast<size_t>(count));
  int32_t* ids = workspace_.ids.data();
  uint64_t* weights = workspace_.weights.data();
  size_t kept = 0;
  for (int32_t i = 0; i < count; ++i) {
    if (!keep(i)) continue;
    ids[kept] = listed ? ids[i] : i;
    if (weighed_) weights[kept] = weights[i];
    ++kept;
  }
  workspace_.ids.resize(kept);
  if (weighed_) workspace_.weights.resize(kept);
  listed_ = true;
}

float Candidates::SmallestAllowed(int32_t& allowed) const {
  float smallest = static_cast<float>(max_);
  int32_t count = 0;
  WithLogits([&](auto logit_of) {
    for (int32_t i = 0; i < size(); ++i) {
      const float value = logit_of(i);
      if (value == kForbiddenLogit) continue;
      ++count;
      smallest = value < smallest ? value : smallest;
    }
  });
  allowed = count;
  return smallest;
}

void Candidates::KeepLargest(int32_t k) {
  if (k >= size()) return;
  int32_t allowed = 0;
  const float range = static_cast<float>(max_) - SmallestAllowed(allowed);
  const float scale = kBoundaryBuckets / std::max(range, 1e-30f);
  const uint64_t target = static_cast<uint64_t>(std::min(k, allowed));
  WithLogits([&](auto logit_of) {
    const auto key = [=](int32_t i) { return -logit_of(i); };
    const Boundary boundary = FindBoundary(
        size(), key, [](int32_t) { return uint64_t{1}; }, target, -static_cast<float>(max_), scale,
        workspace_);
    Filter([=](int32_t i) { return boundary.Keeps(key(i), i); });
  });
}

void Candidates::KeepMass(double fraction) {
  const uint64_t target = MassTarget(fraction, TotalWeight());
  const uint64_t* weights = workspace_.weights.data();
  int32_t allowed = 0;
  // Beyond 40 nats below the maximum there is no mass.
  const double range = std::min(max_ - static_cast<double>(SmallestAllowed(allowed)),
                                40.0 / std::min(inv_temperature_, 1e9));
  const float scale = static_cast<float>(kBoundaryBuckets / std::max(range, 1e-30));
  WithLogits([&](auto logit_of) {
    const auto key = [=](int32_t i) { return -logit_of(i); };
    const Boundary boundary = FindBoundary(
        size(), key, [=](int32_t i) { return weights[i]; }, target, -static_cast<float>(max_),
        scale, workspace_);
    Filter([=](int32_t i) { return boundary.Keeps(key(i), i); });
  });
}

void Candidates::KeepMassByKey(std::span<const float> keys, double fraction) {
  CHECK(static_cast<int32_t>(keys.size()) == size()) << keys.size();
  const uint64_t target = MassTarget(fraction, TotalWeight());
  const uint64_t* weights = workspace_.weights.data();
  const float first = *std::min_element(keys.begin(), keys.end());
  const Boundary boundary = FindBoundary(
      size(), [keys](int32_t i) { return keys[static_cast<size_t>(i)]; },
      [weights](int32_t i) { return weights[i]; }, target, first, kBoundaryBuckets / 40.0f,
      workspace_);
  Filter([&](int32_t i) { return boundary.Keeps(keys[static_cast<size_t>(i)], i); });
}

void Candidates::KeepRelative(double fraction) {
  const auto weights = Weights();
  const uint64_t largest = *std::max_element(weights.begin(), weights.end());
  const double limit = fraction * static_cast<double>(largest);
  Filter([&](int32_t i) {
    const uint64_t weight = workspace_.weights[static_cast<size_t>(i)];
    return weight > 0 && static_cast<double>(weight) >= limit;
  });
}

int32_t Candidates::Draw(uint64_t random_bits) {
  const auto weights = Weights();
  const unsigned __int128 product = static_cast<unsigned __int128>(TotalWeight()) * random_bits;
  const uint64_t place = static_cast<uint64_t>(product >> 64);
  uint64_t sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    sum += weights[i];
    if (sum > place) return id(static_cast<int32_t>(i));
  }
  CHECK(false) << "no token has weight";
  return -1;
}

}  // namespace rill::sampling
