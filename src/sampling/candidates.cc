#include "sampling/candidates.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "sampling/row_passes.h"

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
      total_ = 0;
      for (size_t i = 0; i < count; ++i) {
        total_ += workspace_.weights[i] =
            ExpWeight(logit(static_cast<int32_t>(i)), max_, inv_temperature_);
      }
    } else {
      total_ = ExpWeights(logits_, max_, inv_temperature_, workspace_.weights.data());
    }
    weighed_ = true;
  }
  return {workspace_.weights.data(), count};
}

uint64_t Candidates::TotalWeight() {
  (void)Weights();
  return total_;
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
  // Written always and counted when kept: no branch to mispredict.
  if (weighed_) {
    uint64_t total = 0;
    for (int32_t i = 0; i < count; ++i) {
      const bool stays = keep(i);
      const uint64_t weight = weights[i];
      ids[kept] = listed ? ids[i] : i;
      weights[kept] = weight;
      total += stays ? weight : 0;
      kept += stays;
    }
    total_ = total;
  } else {
    for (int32_t i = 0; i < count; ++i) {
      const bool stays = keep(i);
      ids[kept] = listed ? ids[i] : i;
      kept += stays;
    }
  }
  workspace_.ids.resize(kept);
  if (weighed_) workspace_.weights.resize(kept);
  listed_ = true;
}

float Candidates::SmallestAllowed() const {
  float smallest = static_cast<float>(max_);
  if (!listed_) return SmallestFinite(logits_, smallest);
  WithLogits([&](auto logit_of) {
    for (int32_t i = 0; i < size(); ++i) {
      const float value = logit_of(i);
      if (value > kForbiddenLogit && value < smallest) smallest = value;
    }
  });
  return smallest;
}

template <typename MassOf, typename MassAt>
Boundary Candidates::Halve(MassOf mass_of, MassAt mass_at, float lowest, uint64_t target) {
  // The boundary is in [low, high): Mass of high < target <= Mass of low.
  float low = lowest, high = std::nextafter(static_cast<float>(max_), HUGE_VALF);
  Mass at_low = mass_of(low), at_high;
  if (at_low.mass < target) {  // `lowest` was a guess
    low = kForbiddenLogit;
    at_low.count = static_cast<int64_t>(logits_.size());
  }
  while (at_low.count - at_high.count > 2048 && low > kForbiddenLogit) {
    const float middle = low + (high - low) / 2;
    if (!(middle > low && middle < high)) break;  // one value, many times
    const Mass at = mass_of(middle);
    (at.mass >= target ? low : high) = middle;
    (at.mass >= target ? at_low : at_high) = at;
  }
  workspace_.places.resize(logits_.size());
  workspace_.places.resize(
      static_cast<size_t>(PlacesBetween(logits_, low, high, workspace_.places.data())));
  const float* logits = logits_.data();
  return SelectBoundary(
      workspace_.places, [logits](int32_t i) { return -logits[i]; }, mass_at, at_high.mass, target);
}

// Keeps what the boundary keeps of the whole row.
void Candidates::FilterRow(const Boundary& boundary) {
  auto& ids = workspace_.ids;
  ids.resize(logits_.size());
  const float limit = -boundary.key;
  ids.resize(static_cast<size_t>(PlacesBetween(logits_, limit, HUGE_VALF, ids.data())));
  // Of those that equal the limit, the higher ids are behind it.
  const auto rest = std::upper_bound(ids.begin(), ids.end(), boundary.place);
  ids.erase(std::remove_if(rest, ids.end(),
                           [&](int32_t id) { return logits_[static_cast<size_t>(id)] == limit; }),
            ids.end());
  listed_ = true;
  if (!weighed_) return;
  auto& weights = workspace_.kept_weights;
  weights.resize(ids.size());
  total_ = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    total_ += weights[i] = workspace_.weights[static_cast<size_t>(ids[i])];
  }
  workspace_.weights.swap(weights);
}

void Candidates::KeepLargest(int32_t k) {
  if (k >= size()) return;
  const auto one = [](int32_t) { return uint64_t{1}; };
  const float smallest = SmallestAllowed();
  if (!listed_) {
    const int64_t allowed = CountAtLeast(logits_, smallest);
    const Boundary boundary = Halve(
        [&](float limit) {
          const int64_t count = CountAtLeast(logits_, limit);
          return Mass{static_cast<uint64_t>(count), count};
        },
        one, smallest, static_cast<uint64_t>(std::min<int64_t>(k, allowed)));
    FilterRow(boundary);
    return;
  }
  const float scale = kBoundaryBuckets / std::max(static_cast<float>(max_) - smallest, 1e-30f);
  WithLogits([&](auto logit_of) {
    int32_t allowed = 0;
    for (int32_t i = 0; i < size(); ++i) allowed += logit_of(i) > kForbiddenLogit;
    const auto key = [=](int32_t i) { return -logit_of(i); };
    const Boundary boundary =
        FindBoundary(size(), key, one, static_cast<uint64_t>(std::min(k, allowed)),
                     -static_cast<float>(max_), scale, workspace_);
    Filter([=](int32_t i) { return boundary.Keeps(key(i), i); });
  });
}

void Candidates::KeepMass(double fraction) {
  const uint64_t target = MassTarget(fraction, TotalWeight());
  const uint64_t* weights = workspace_.weights.data();
  const auto mass = [=](int32_t i) { return weights[i]; };
  // Beyond 40 nats below the maximum there is no mass.
  const double range = std::min(max_ - static_cast<double>(SmallestAllowed()),
                                40.0 / std::min(inv_temperature_, 1e9));
  if (!listed_) {
    const Boundary boundary =
        Halve([&](float limit) { return MassAtLeast(logits_, weights, limit); }, mass,
              static_cast<float>(max_ - range), target);
    FilterRow(boundary);
    return;
  }
  const float scale = static_cast<float>(kBoundaryBuckets / std::max(range, 1e-30));
  WithLogits([&](auto logit_of) {
    const auto key = [=](int32_t i) { return -logit_of(i); };
    const Boundary boundary =
        FindBoundary(size(), key, mass, target, -static_cast<float>(max_), scale, workspace_);
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
